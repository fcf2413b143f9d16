"""The commands over several runs, and --json: one document on stdout and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.sweep_page import write_run
from my3dis.cli.main import main
from tests.scheduling.tiny_scans import SETTINGS, install_plugin, make_tiny


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the arguments of a sweep over one sound scan and one broken one."""
    install_plugin(tmp_path, monkeypatch)
    make_tiny(tmp_path / "scans" / "good")
    make_tiny(tmp_path / "scans" / "bad", **{"raise": True, "times": 9})
    own = {
        "experiment.dataset_root": str(tmp_path / "scans"),
        "experiment.output_root": str(tmp_path / "out"),
    }
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps(SETTINGS | own))
    return ["run", str(file), "-q"]


def test_sweep_as_json(sweep: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep prints its result although a scene failed, the exit code is 6, and its page is there."""
    assert main([*sweep, "--json", "--dry-run"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["kind"], plan["scenes"]) == ("plan", ["bad", "good"])
    assert main([*sweep, "--json"]) == 6
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert {name: scene["status"] for name, scene in result["scenes"].items()} == {
        "bad": "failed",
        "good": "done",
    }
    assert result["scenes"]["good"]["stages"]["track"]["seconds"] > 0
    assert "1 of 2 scenes failed" in shown.err
    assert ">good</th>" in (tmp_path / "out" / "sweep.html").read_text()


@pytest.mark.parametrize("command", [("run", "--scan"), ("report",), ("compare", ".")], ids=" ".join)
def test_errors_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    """An error before there is a result is a document too, with the exit code."""
    assert main([*command, str(tmp_path / "absent"), "--json"]) == 3
    content = json.loads(capsys.readouterr().out)
    assert (content["kind"], content["exit_code"]) == ("error", 3)
    assert content["message"]


def test_report_and_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both work on runs without a sweep, as text and as JSON; what is no run is said and exits 3."""
    for root, length in (("a", 1.0), ("b", 2.0)):
        write_run(tmp_path / root / "room" / "default", "room", length, failed=False)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert main(["report", a]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "a" / "sweep.html"
    assert main(["report", a, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"done": 1}
    assert main(["report", a, "--name", "x"]) == 2
    capsys.readouterr()
    assert main(["compare", a, b]) == 0
    text = capsys.readouterr().out
    assert "1 scene is in both" in text
    assert "settings: the same" in text
    assert any(
        line.split()[:6] == ["room", "finished", "319.0", "638.0", "2.00", "40.0"]
        for line in text.splitlines()
    )
    assert main(["compare", a, b, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scenes"]["room"]["seconds"]["ratio"] == 2.0
    assert main(["compare", a, str(tmp_path / "none")]) == 3
