"""A request to stop is heard even where a library swallows it."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from my3dis.cli.main import main
from my3dis.cli.stopping import STOP, StoppableDisplay, StopRequest
from my3dis.errors import EXIT_INTERRUPTED, PluginError
from my3dis.monitoring.display import SilentDisplay


def swallow_a_signal() -> None:
    """What libraries do that try optional imports."""
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()


def test_a_swallowed_request_is_raised_again_at_the_next_frame() -> None:
    """Before the signal frames pass; after it the first report of progress stops the work."""
    stop = StopRequest()
    display = StoppableDisplay(SilentDisplay(), stop)
    with stop.heard(), display.stage("track") as show:
        show(1, 3)
        swallow_a_signal()
        with pytest.raises(KeyboardInterrupt):
            show(2, 3)
    with stop.heard(), display.stage("track") as show:  # the next command starts afresh
        show(1, 3)


def test_handlers_are_as_before_afterwards() -> None:
    """Listening leaves no handler behind, and an ignored Ctrl-C stays ignored."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with StopRequest().heard():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != before[1]
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("error", [PluginError("half imported"), ImportError("half imported")])
def test_an_error_made_of_a_request_is_no_bug(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a library raises instead ends the command as Ctrl-C does, without a traceback."""

    def call(arguments: object) -> int:
        del arguments
        swallow_a_signal()
        assert STOP.is_made
        raise error

    monkeypatch.setattr("my3dis.cli.main._call", call)
    assert main([]) == EXIT_INTERRUPTED
    said = capsys.readouterr().err
    assert "stopped" in said
    assert "Traceback" not in said
