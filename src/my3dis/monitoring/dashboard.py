"""Show a person a sweep: scenes x stages, memory, GPUs and time left on a terminal; lines elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from my3dis.monitoring.board import Board, Cell, clock_text

__all__ = ["Dashboard", "dashboard_for"]

_STATUS_EVERY_S = 30.0
_REFRESH_PER_S = 4
_MEMORY_WIDTH = 40
_OTHER_LINES = 12
"""Of the terminal: head, memory, GPUs, messages, counts."""
_SHOWN_MESSAGES = 4
_MARKS = {
    "reused": ("=", "dim"),
    "waiting": ("·", "dim"),
    "running": (">", "cyan"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "blocked": ("-", "red"),
    "cancelled": ("-", "yellow"),
}
_ENDS = frozenset(("finished", "failed", "requeued", "stopped", "blocked", "cancelled"))
_TOLD = _ENDS | {"started", "admission", "lease", "warning"}
"""Kinds of events that are a line where there is no terminal."""


class Dashboard(Protocol):
    """Shows a sweep while the block runs."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, *error: object) -> None:
        """End, and leave the console clean."""
        ...

    def tell(
        self, kind: str, text: str, job_id: str | None, facts: Sequence[tuple[str, float | int | str]]
    ) -> None:
        """Show an event of the sweep."""
        ...


def dashboard_for(console: Console, board: Board, *, quiet: bool = False) -> Dashboard:
    """Return how a sweep shows itself: bars on a terminal, lines elsewhere, and little with ``quiet``."""
    if quiet:
        return _Quiet(console)
    return _Live(console, board) if console.is_terminal else _Lines(console, board)


class _Quiet:
    """Shows warnings and failures only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        del error

    def tell(
        self, kind: str, text: str, job_id: str | None, facts: Sequence[tuple[str, float | int | str]]
    ) -> None:
        """Show a warning or a failure."""
        del facts
        if kind in ("warning", "failed"):
            _print(self._console, f"{job_id}: {text}" if job_id else text)


class _Lines:
    """A line when a job starts or ends or something is decided, and one about the whole now and then."""

    def __init__(self, console: Console, board: Board, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._board = board
        self._clock = clock
        self._last = clock()

    def __enter__(self) -> Self:
        self._last = self._clock()
        return self

    def __exit__(self, *error: object) -> None:
        del error

    def tell(
        self, kind: str, text: str, job_id: str | None, facts: Sequence[tuple[str, float | int | str]]
    ) -> None:
        """Show an event."""
        self._board.tell(kind, text, job_id, facts)
        if kind in _TOLD:
            _print(self._console, f"{job_id}: {text}" if job_id else text)
        if self._clock() - self._last >= _STATUS_EVERY_S:
            self._last = self._clock()
            _print(self._console, self._board.summary())


class _Live:
    """A picture of the sweep that is drawn anew a few times a second."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console = console
        self._board = board
        self._messages: list[str] = []
        self._lock = threading.Lock()  # the picture is drawn by a thread of its own
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=_REFRESH_PER_S, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        del error
        with contextlib.suppress(BrokenPipeError):
            self._live.stop()

    def tell(
        self, kind: str, text: str, job_id: str | None, facts: Sequence[tuple[str, float | int | str]]
    ) -> None:
        """Take an event into the picture; failures and warnings stay above it."""
        line = f"{job_id}: {text}" if job_id else text
        with self._lock:
            self._board.tell(kind, text, job_id, facts)
        if kind in ("failed", "warning"):
            _print(self._live.console, line)
        elif kind in ("requeued", "stopped", "admission", "lease", "blocked"):
            self._messages = [*self._messages, line][-_SHOWN_MESSAGES:]

    def _render(self) -> RenderableType:
        with self._lock:
            return self._picture()

    def _picture(self) -> RenderableType:
        height = max(3, self._console.height - _OTHER_LINES - len(self._board.gpus))
        parts: list[RenderableType] = [Text(self._board.summary(with_memory=False), style="bold")]
        parts.append(_scenes(self._board, height))
        if self._board.memory:
            parts.append(_memory(self._board))
        parts.extend(_gpu(name, used, total) for name, used, total in self._board.gpus)
        parts.extend(
            Text(message, style="yellow", no_wrap=True, overflow="ellipsis") for message in self._messages
        )
        return Group(*parts)


def _scenes(board: Board, height: int) -> RenderableType:
    """Return the table; where it is too long, what runs or failed comes first and the rest is counted."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("scene", no_wrap=True, overflow="ellipsis", max_width=28)
    for stage in board.stages:
        table.add_column(stage, no_wrap=True, min_width=9)
    order = {"running": 0, "failed": 1, "cancelled": 2, "waiting": 3, "done": 4, "reused": 5}
    states = {scene: board.state_of(scene) for scene in board.scenes}
    ranked = sorted(board.scenes, key=lambda scene: order.get(states[scene], 3))
    shown = set(board.scenes if len(board.scenes) <= height else ranked[: height - 1])
    for scene in board.scenes:
        if scene in shown:
            cells = (_cell(board.cell(scene, stage)) for stage in board.stages)
            table.add_row(scene, *cells)
    hidden = Counter(states[scene] for scene in board.scenes if scene not in shown)
    if not hidden:
        return table
    rest = ", ".join(f"{count} {state}" for state, count in sorted(hidden.items()))
    return Group(table, Text(f"and {hidden.total()} more: {rest}", style="dim"))


def _cell(cell: Cell) -> Text:
    mark, style = _MARKS[cell.state]
    if cell.state == "running" and cell.total:
        return Text(f"{mark} {100 * cell.done // cell.total:>3d} %", style=style)
    if cell.seconds:
        return Text(f"{mark} {clock_text(cell.seconds)}", style=style)
    return Text(mark, style=style)


def _memory(board: Board) -> Text:
    """Return the bar of memory: used, and the marks above which no job starts and the youngest is stopped."""
    memory = board.memory
    capacity = max(memory.get("capacity_mb", 0.0), 1.0)
    used = memory.get("used_mb", 0.0)
    filled = min(_MEMORY_WIDTH, round(_MEMORY_WIDTH * used / capacity))
    soft, hard = (min(_MEMORY_WIDTH - 1, int(_MEMORY_WIDTH * memory.get(name, capacity) / capacity))
                  for name in ("soft_mb", "hard_mb"))  # fmt: skip
    color = "red" if filled > hard else "yellow" if filled > soft else "green"
    bar = Text("memory  ")
    for n in range(_MEMORY_WIDTH):
        if n in (soft, hard):
            bar.append("|", style="yellow" if n == soft else "red")
        else:
            bar.append("█" if n < filled else "░", style=color if n < filled else "dim")
    jobs = memory.get("jobs_mb", 0.0)
    return bar.append(f"  {used / 1024:.1f} of {capacity / 1024:.1f} GiB, {jobs / 1024:.1f} by jobs")


def _gpu(name: str, used_mb: float, total_mb: float) -> Text:
    filled = min(_MEMORY_WIDTH, round(_MEMORY_WIDTH * used_mb / max(total_mb, 1.0)))
    bar = Text(f"{name:<7.7} ")
    bar.append("█" * filled, style="magenta").append("░" * (_MEMORY_WIDTH - filled), style="dim")
    return bar.append(f"  {used_mb / 1024:.1f} of {total_mb / 1024:.1f} GiB")


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
