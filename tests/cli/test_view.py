"""`my3dis view` as a person starts and ends it."""

from __future__ import annotations

import http.client
import importlib.util
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.sweep_page import write_run
from my3dis import plugins
from my3dis.cli.main import main
from my3dis.protocols import ExporterPlugin
from my3dis.serving import rerun_window
from my3dis.serving.server import RunServer

# Tests that run in the background inherit an ignored SIGINT, which Python then leaves ignored.
_CODE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from my3dis.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "room" / "default"
    write_run(folder, "room", 1.0, failed=False)
    return folder


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person presses Ctrl-C at once."""

    def stop(self: RunServer, poll_interval: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunServer, "serve_forever", stop)


def test_serves_until_ctrl_c(run: Path) -> None:
    """It prints the report's address, answers there, and ends at Ctrl-C with 130 and without a traceback."""
    command = [sys.executable, "-c", _CODE, "view", str(run), "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/report\.html)\n", child.stdout.readline())
        assert found
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
        connection.request("GET", found[2])
        assert connection.getresponse().read() == b"<!doctype html>"
        connection.close()
        # A connection that says nothing does not keep it from ending.
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10):
            child.send_signal(signal.SIGINT)
            _, error = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130
    assert error.endswith("my3dis: stopped\n")
    assert "Traceback" not in error


@pytest.mark.usefixtures("stopped")
def test_browser_opens_only_on_a_terminal(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is opened on a terminal with a screen, unless told not to."""
    opened: list[str] = []
    done = threading.Event()

    def browse(address: str) -> bool:
        opened.append(address)
        done.set()
        return True

    monkeypatch.setattr("my3dis.cli.view.webbrowser.open", browse)
    monkeypatch.setenv("DISPLAY", ":0")
    assert main(["view", str(run), "--port", "0"]) == 130
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["view", str(run), "--port", "0", "--no-browser"]) == 130
    assert opened == []
    assert main(["view", str(run.parents[1]), "--port", "0"]) == 130
    assert done.wait(10)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", opened[0])


@pytest.mark.usefixtures("stopped")
def test_run_without_a_report_names_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a report the index is shown, and the command that makes one is told."""
    (run / "report.html").unlink()
    assert main(["view", str(run), "--port", "0"]) == 130
    printed = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", printed.out)
    assert f"my3dis stage report {run}" in printed.err


def test_what_cannot_be_served(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without runs exits 3, a taken or impossible port 2; each says what to do."""
    (tmp_path / "empty").mkdir()
    assert main(["view", str(tmp_path / "empty")]) == 3
    assert "my3dis run --output" in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["view", str(run), "--port", str(taken.getsockname()[1])]) == 2
    assert "leave --port out" in capsys.readouterr().err
    assert main(["view", str(run), "--port", "-1"]) == 2
    assert main(["view", str(run.parents[1]), "--rerun"]) == 2
    assert "expected the folder of one run" in capsys.readouterr().err


def test_rerun_that_is_not_installed(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Rerun the exit code is 4 and the message says how to install it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["view", str(run), "--rerun"]) == 4
    assert "pip install 'my3dis[rerun]'" in capsys.readouterr().err


def test_rerun_gets_a_recording_that_goes_away(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is exported into a temporary file, which the viewer opens and which is deleted afterwards."""
    shown: list[tuple[list[str], str]] = []
    code = 0

    def export(run_dir: Path, out: Path) -> tuple[Path, ...]:
        out.write_text(f"recording of {run_dir.parent.name}")
        return (out,)

    def start(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        assert not check
        shown.append((command, Path(command[-1]).read_text()))
        return subprocess.CompletedProcess(command, code)

    plugin = ExporterPlugin(summary="for the test", export=export)
    monkeypatch.setattr(rerun_window, "check_rerun", lambda: None)
    monkeypatch.setattr(plugins, "exporter", {"rerun": plugin}.__getitem__)
    monkeypatch.setattr(rerun_window.subprocess, "run", start)
    assert main(["view", str(run), "--rerun"]) == 0
    ((command, content),) = shown
    assert command[:6] == [sys.executable, "-P", "-m", "rerun", "--bind", "127.0.0.1"]
    assert content == "recording of room"
    assert not Path(command[-1]).exists()
    code = 1
    assert main(["view", str(run), "--rerun"]) == 4
    assert "needs a screen" in capsys.readouterr().err
