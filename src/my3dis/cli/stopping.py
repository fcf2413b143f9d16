"""Ctrl-C and a polite kill: remembered until the work has stopped, whatever a library makes of them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from my3dis.monitoring.display import Display

__all__ = ["STOP", "StopRequest", "StoppableDisplay"]


class StopRequest:
    """Whether somebody asked this process to stop.

    The signal raises KeyboardInterrupt at once. Libraries that try optional imports may swallow that or turn
    it into an error of their own, so it is raised again at the next frame.
    """

    def __init__(self) -> None:
        self.is_made = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listen for SIGINT and SIGTERM during the block; only a process's main thread may do so."""
        self.is_made = False
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # a shell's background jobs do not hear Ctrl-C
            numbers.append(signal.SIGINT)
        before = {number: signal.signal(number, self._make) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt if the request was made."""
        if self.is_made:
            raise KeyboardInterrupt

    def _make(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.is_made = True
        raise KeyboardInterrupt


STOP = StopRequest()
"""The request to this process: signals are the process's own, so there is one."""


class StoppableDisplay:
    """Shows a run as another display does, and stops it at the next frame when asked to."""

    def __init__(self, display: Display, stop: StopRequest) -> None:
        self._display, self._stop = display, stop

    def say(self, heading: str, text: str) -> None:
        """Show one line of the overview."""
        self._stop.check()
        self._display.say(heading, text)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Show a stage while the block runs."""
        with self._display.stage(name) as show:

            def shown(done: int, total: int) -> None:
                self._stop.check()
                show(done, total)

            self._stop.check()
            yield shown
