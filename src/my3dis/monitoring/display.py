"""Show a person how far a run is: bars on a terminal, lines elsewhere, nothing from Python."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["ConsoleDisplay", "Display", "SilentDisplay"]

_LINE_EVERY_S = 10.0


class Display(Protocol):
    """What a run needs to show itself."""

    def say(self, heading: str, text: str) -> None:
        """Show one line of the overview."""
        ...

    def stage(self, name: str) -> contextlib.AbstractContextManager[Callable[[int, int], None]]:
        """Show a stage while the block runs; gives the function to call with (done, total)."""
        ...


class SilentDisplay:
    """Shows nothing; the log still has a line at the start and the end of every stage."""

    def say(self, heading: str, text: str) -> None:
        """Show nothing."""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Show nothing."""
        del name
        yield lambda _done, _total: None


class ConsoleDisplay:
    """Shows a run on a console: a bar per stage on a terminal, else a line every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, heading: str, text: str) -> None:
        """Print one line of the overview, its heading in a column of its own."""
        self._console.print(f"{heading:<10} {text}", markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Show a stage while the block runs."""
        if not self._console.is_terminal:
            yield self._lines(name)
            return
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(name, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def _lines(self, name: str) -> Callable[[int, int], None]:
        last = time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINE_EVERY_S and done < total:
                last = time.monotonic()
                self._console.print(
                    f"{name}: {done} of {total}", markup=False, highlight=False, soft_wrap=True
                )

        return show
