"""The pages tell the truth: their commands and code run as they stand, in their order."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from my3dis import plugins
from my3dis.cli.main import main
from my3dis.config.load import load_config
from my3dis.protocols import BackendOptions, MaskProposer, ProposerPlugin
from my3dis.types import Frame
from tests.conftest import ROOT

PAGES = (
    "README.md",
    "docs/workflow.md",
    "docs/plugins.md",
    "docs/configuration.md",
    "docs/reading-masks.md",
    "docs/backends.md",
    "docs/evaluation.md",
    "docs/scaling.md",
    "docs/clusters.md",
    "docs/scans.md",
    "docs/index.md",
    "docs/concepts.md",
    "docs/formats.md",
    "docs/troubleshooting.md",
    "docs/exports.md",
)


@pytest.fixture(scope="module")
def workplace(built_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo has put its scan."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(built_in, folder / "my3dis-demo" / "scan" / built_in.name)
    return folder


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


def commands(page: str) -> list[str]:
    lines = "\n".join(blocks(page, "console")).splitlines()
    return [line[2:].strip() for line in lines if line.startswith("$ my3dis")]


def environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MY3DIS_")}
    # The console script lies beside the interpreter that runs the tests.
    return {**own, "PATH": f"{Path(sys.executable).parent}:{own.get('PATH', '')}"}


def run_commands(page: str, workplace: Path) -> None:
    found = commands(page)
    assert found
    for command in found:
        done = subprocess.run(
            shlex.split(command),
            cwd=workplace,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def run_python(code: str, workplace: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workplace,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.extras
@pytest.mark.timeout(480)
def test_pages_about_the_first_run(workplace: Path) -> None:
    """The README and the pages about its run hold, Python included; in one test, since they share it."""
    for page in (
        "docs/index.md",
        "docs/concepts.md",
        "docs/formats.md",
        "docs/troubleshooting.md",
        "README.md",
    ):
        run_commands(page, workplace)
    for page in ("docs/index.md", "docs/formats.md"):
        (code,) = blocks(page, "python")
        assert run_python(code, workplace)
    (code,) = blocks("README.md", "python")
    frames = [int(n) for n in re.findall(r"^(\d+) ", run_python(code, workplace), re.MULTILINE)]
    assert frames == list(range(0, 60, 4))


@pytest.mark.parametrize(
    "page",
    [
        "docs/backends.md",
        "docs/scans.md",
        # Pages whose commands run a scan each are left to `make test-extras`: CI runs both.
        *(
            pytest.param(page, marks=pytest.mark.extras)
            for page in ("docs/workflow.md", "docs/evaluation.md", "docs/scaling.md")
        ),
    ],
)
def test_commands_of_a_page_run(page: str, workplace: Path) -> None:
    """Every `$ my3dis` line of a page succeeds, one after the other."""
    run_commands(page, workplace)


def test_exports_of_the_page_run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the page on exports succeeds; in one process, since there are many."""
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PATH", environment()["PATH"])
    for command in commands("docs/exports.md"):
        assert main(shlex.split(command)[1:]) == 0, command
    for name in ("room.glb", "masks.json", "tracks.json", "davis/living_room.json", "room.ply"):
        assert (workplace / name).is_file()


@pytest.mark.extras
def test_the_rerun_export_of_the_page_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that needs an extra succeeds too, after the one that makes the run."""
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (extra rerun)")
    monkeypatch.chdir(workplace)
    first = commands("docs/exports.md")[0]
    (extra,) = blocks("docs/exports.md", "sh")
    for command in (first, extra.strip()[2:]):
        assert main(shlex.split(command)[1:]) == 0, command


def test_the_table_of_exports_is_complete() -> None:
    """Every format is in the table of the page, and so is every option with its values."""
    text = (ROOT / "docs/exports.md").read_text("utf-8")
    for name in plugins.names("exporters"):
        if "legacy" in name:
            continue
        assert f"| `{name}` |" in text
        for option in plugins.exporter(name).options:
            values = ", ".join(f"`{value}`" for value in option.values)
            values += ", N" if option.whole_numbers else ""
            rows = [line for line in text.splitlines() if f"| `{option.name}` | {values} |" in line]
            assert any(f"`{name}`" in row for row in rows), (name, option.name)


@pytest.mark.extras
def test_reading_masks_runs(workplace: Path) -> None:
    """The examples of the page on reading masks run, in Python, pandas and SQL, on the run that it makes."""
    page = "docs/reading-masks.md"
    for command in commands(page):
        subprocess.run(
            shlex.split(command), cwd=workplace, env=environment(), capture_output=True, check=True
        )
    for code in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=workplace,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") >= 2
    path = workplace / "outputs" / "living_room" / "default" / "tracks.my3dis"
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        for statement in "".join(blocks(page, "sql")).split(";"):
            if statement.strip():
                assert db.execute(statement).fetchall(), statement


def test_plugin_of_the_docs_works() -> None:
    """The proposer of the plug-in page is complete: it cuts a picture into four masks of a quarter each."""
    (code,) = blocks("docs/plugins.md", "python")
    names: dict[str, object] = {}
    exec(compile(code, "docs/plugins.md", "exec"), names)
    plugin = names["PLUGIN"]
    assert isinstance(plugin, ProposerPlugin)
    proposer = plugin.create(BackendOptions())
    assert isinstance(proposer, MaskProposer)
    frame = Frame(index=3, name="3", color=np.zeros((48, 64, 3), np.uint8))
    masks = proposer.propose(frame, (2, 4))
    assert masks.area_px.tolist() == [24 * 32] * 4
    assert (masks.frame, set(masks.level.tolist())) == (3, {2})


def test_no_page_is_forgotten() -> None:
    """Every page in docs/ is one of those that are checked here."""
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} == set(PAGES) - {"README.md"}


def test_yaml_of_the_readme_is_valid(tmp_path: Path) -> None:
    """The README's YAML passes the schema."""
    (text,) = blocks("README.md", "yaml")
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    assert load_config(file, environment=False).experiment.frames.step == 10


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    """Every relative link of a page names a file that is there; what is for the site alone is its test's."""
    text = re.sub(r"<!-- site: .*? -->", "", (ROOT / page).read_text("utf-8"))
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target
