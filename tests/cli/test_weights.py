"""`my3dis weights` teaches without torch, and says what to install where it needs it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from my3dis.backends.torch_models.sources import BACKENDS, SOURCES, setting_of, variable_of
from my3dis.cli.main import main
from my3dis.config import Config
from my3dis.config.fields import value_of
from my3dis.plugins import names

SSAM = "MY3DIS_STAGES__SSAM__CHECKPOINT"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, an empty cache, and no setting from outside."""
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(ImportError):  # part of the model extras
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv(SSAM, raising=False)
    return tmp_path


def test_sources_name_real_back_ends_and_settings() -> None:
    """Every source is of a back end that is there, its setting exists, and names are unique."""
    assert set(BACKENDS) <= set(names("proposers")) | set(names("trackers"))
    for backend in BACKENDS:
        value_of(Config(), setting_of(backend))
        assert (setting_of(backend) == "stages.tracker.checkpoint") == (backend in names("trackers"))
    assert variable_of("semantic_sam") == SSAM
    assert len({source.name for source in SOURCES}) == len(SOURCES)


def test_list_says_where_from_under_which_licence_and_what_is_here(
    empty_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sources are listed; a file that is set is found, and what is set now is said."""
    file = empty_folder / "swint_only_sam_many2many.pth"
    file.touch()
    monkeypatch.setenv(SSAM, str(file))
    assert main(["weights", "list"]) == 0
    text = capsys.readouterr().out
    for source in SOURCES:
        assert source.name in text
        assert source.url in text
    assert "licence: not stated upstream" in text
    assert "licence: SAM License" in text
    assert text.count(f"here: {file}") == 1
    assert f"set now: stages.ssam.checkpoint = {file}" in text


def test_path_prints_the_path_alone_and_why_beside_it(
    empty_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output is fit for scripts; the reason goes to standard error."""
    (empty_folder / "w.pth").touch()
    monkeypatch.setenv(SSAM, "w.pth")
    assert main(["weights", "path", "semantic_sam"]) == 0
    out, err = capsys.readouterr()
    assert out == "w.pth\n"
    assert f"stages.ssam.checkpoint is w.pth by the environment variable {SSAM}" in err


def test_path_with_a_settings_file(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A settings file counts where the environment says nothing."""
    (empty_folder / "model").mkdir()
    (empty_folder / "my.yaml").write_text("stages: {tracker: {checkpoint: model}}\n")
    assert main(["weights", "path", "sam2_video", "--config", "my.yaml"]) == 0
    out, err = capsys.readouterr()
    assert (out, "my.yaml" in err) == ("model\n", True)


@pytest.mark.parametrize(
    ("name", "value", "code", "words"),
    [
        ("sam2_aut", None, 2, "did you mean sam2_auto?"),
        ("semantic_sam", None, 2, f"no checkpoint set; get them from https://github.com.*{SSAM}"),
        ("semantic_sam", "/nowhere.pth", 2, "/nowhere.pth .*which is not there"),
        ("sam2_auto", "somebody/tiny", 4, "would download somebody/tiny"),
        ("sam2.1-tiny", None, 2, "not on this machine; get it from https://huggingface.co/facebook"),
    ],
)
def test_path_that_leads_nowhere(
    name: str,
    value: str | None,
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is missing is told with where to get it and what to set; nothing is downloaded."""
    if value:
        monkeypatch.setenv(SSAM, value)
    assert main(["weights", "path", name]) == code
    assert re.search(words, capsys.readouterr().err, re.DOTALL)


@pytest.mark.parametrize("action", [[], ["lst"], ["convert", "a.pth"]])
def test_wrong_use_is_one_sentence(action: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A missing or misspelt action is a wrong setting and points to the help."""
    assert main(["weights", *action]) == 2
    assert "Try 'my3dis weights" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """The command and its actions show how they are used."""
    assert main(["weights", "--help"]) == 0
    assert "examples:\n  my3dis weights list" in capsys.readouterr().out
    for action in ("list", "path", "convert", "verify"):
        assert main(["weights", action, "--help"]) == 0
        assert f"examples:\n  my3dis weights {action}" in capsys.readouterr().out


def test_convert_asks_for_a_safetensors_target(capsys: pytest.CaptureFixture[str]) -> None:
    """Another ending is refused before anything is read."""
    assert main(["weights", "convert", "a.pth", "b.pth"]) == 2
    assert "ends in .safetensors" in capsys.readouterr().err


WITHOUT_TORCH = """
import sys
for name in ("torch", "safetensors", "transformers", "huggingface_hub"):
    sys.modules[name] = None
from my3dis.cli.main import main
print([main(["weights", "list"]), main(["weights", "path", "sam2_auto"]), main(["plugins"]),
       main(["weights", "verify", "x.pth"]), main(["weights", "convert", "x.pth", "y.safetensors"])])
"""


def test_without_torch(empty_folder: Path) -> None:
    """Listing, finding and the list of plug-ins work without torch; the others say what to install."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 2, 0, 4, 4]"
    assert "pip install 'my3dis[models]'" in done.stderr
    assert "pip install 'my3dis[semantic-sam]'" in done.stderr
