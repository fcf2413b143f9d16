"""A sweep on the console: what is known of it, and how it is shown with and without a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from my3dis.monitoring.board import Board, BoardJob, clock_text
from my3dis.monitoring.dashboard import _Lines, dashboard_for

STAGES = ("track", "lift")
JOBS = (
    BoardJob("a:track", "a", ("track",), 10.0),
    BoardJob("a:lift", "a", ("lift",), 10.0),
    BoardJob("b:track", "b", STAGES, 20.0),
)
MEMORY = (("used_mb", 2048.0), ("capacity_mb", 8192.0), ("soft_mb", 6144.0), ("hard_mb", 7168.0))


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(("a", "b", "c"), STAGES, JOBS, clock)


def states(board: Board) -> list[list[str]]:
    return [[board.cell(scene, stage).state for stage in STAGES] for scene in board.scenes]


def test_board_follows_stages_through_failure_and_another_attempt(board: Board) -> None:
    """Cells go from waiting over running to their end; what is in no job is there already."""
    assert states(board) == [["waiting", "waiting"], ["waiting", "waiting"], ["reused", "reused"]]
    board.tell("started", "", "a:track", ())
    assert states(board)[0] == ["running", "waiting"]  # before it tells of a stage
    assert board.summary().startswith("3 scenes: 1 unchanged, 1 running, 1 waiting;")
    board.tell("stage", "", "a:track", (("stage", "track"), ("state", "started")))
    board.tell("progress", "", "a:track", (("stage", "track"), ("done", 3), ("total", 12)))
    cell = board.cell("a", "track")
    assert (cell.state, cell.done, cell.total) == ("running", 3, 12)
    board.tell("requeued", "", "a:track", ())
    assert states(board)[0] == ["waiting", "waiting"]
    board.tell("started", "", "a:track", ())
    board.tell("stage", "", "a:track", (("stage", "track"), ("state", "ended"), ("seconds", 4.0)))
    board.tell("finished", "", "a:track", ())
    board.tell("started", "", "b:track", ())
    board.tell("stage", "", "b:track", (("stage", "track"), ("state", "started")))
    board.tell("failed", "", "b:track", ())
    assert states(board) == [["done", "waiting"], ["failed", "blocked"], ["reused", "reused"]]
    assert [board.state_of(scene) for scene in board.scenes] == ["waiting", "failed", "reused"]


def test_time_left_follows_the_pace_and_the_progress(board: Board, clock: Clock) -> None:
    """What took twice as long as expected makes the rest twice as long; a running job tells by its share."""
    assert board.remaining_s() is None
    board.tell("started", "", "a:track", ())
    clock.now += 20.0
    board.tell("finished", "", "a:track", ())
    assert board.remaining_s() == 60.0  # 10 s and 20 s, at half the expected pace, one at a time
    board.tell("started", "", "b:track", ())
    board.tell("progress", "", "b:track", (("stage", "track"), ("done", 1), ("total", 2)))
    clock.now += 15.0  # for a quarter of its two stages: 45 s more, and 20 s for a:lift
    assert board.remaining_s() == 65.0
    assert "about 1:05 left" in board.summary()
    assert "3 scenes: 1 unchanged, 1 running, 1 waiting; 35 s so far" in board.summary()


def test_without_a_terminal_there_are_lines(board: Board, clock: Clock) -> None:
    """A job's start and end and what is decided are a line each; every 30 s one tells of the whole."""
    console = Console(file=io.StringIO(), width=200)
    with _Lines(console, board, clock) as lines:
        lines.tell("started", "started (track)", "a:track", ())
        lines.tell("progress", "", "a:track", (("stage", "track"), ("done", 1), ("total", 2)))
        clock.now += 31.0
        lines.tell("memory", "", None, MEMORY)
        lines.tell("admission", "at most 1 at a time", None, ())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue().splitlines()
    assert shown[0] == "a:track: started (track)"
    assert shown[1].startswith("3 scenes: 1 unchanged, 1 running, 1 waiting")
    assert "memory 2.0 of 8.0 GiB" in shown[1]
    assert shown[2:] == ["at most 1 at a time"]


def test_quiet_shows_warnings_and_failures_only(board: Board) -> None:
    """With --quiet a line is something to act on."""
    console = Console(file=io.StringIO(), width=200)
    with dashboard_for(console, board, quiet=True) as quiet:
        quiet.tell("started", "started", "a:track", ())
        quiet.tell("failed", "failed: no such file", "a:track", ())
        quiet.tell("warning", "memory is watched with less than it should be", None, ())
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "a:track: failed: no such file",
        "memory is watched with less than it should be",
    ]


def test_terminal_shows_scenes_stages_memory_and_gpus(board: Board) -> None:
    """There is a row per scene, a column per stage, bars with the guard's marks, and what was decided."""
    console = Console(file=io.StringIO(), width=120, height=40, force_terminal=True)
    with dashboard_for(console, board) as live:
        live.tell("started", "", "a:track", ())
        live.tell("progress", "", "a:track", (("stage", "track"), ("done", 3), ("total", 12)))
        gpu = (("gpu 0 used_mb", 1024.0), ("gpu 0 total_mb", 4096.0))
        live.tell("memory", "", None, (*MEMORY, *gpu))
        live.tell("stopped", "stopped for want of memory", "b:track", ())
        console.print(live._render())  # type: ignore[attr-defined]
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for expected in (
        "track",
        "lift",
        ">  25 %",
        "2.0 of 8.0 GiB",
        "1.0 of 4.0 GiB",
        "b:track: stopped for want",
    ):
        assert expected in text


def test_many_scenes_fit_the_terminal(clock: Clock) -> None:
    """Of more scenes than lines, those that run or failed are shown and the rest is counted."""
    jobs = [BoardJob(f"s{n}:track", f"s{n}", STAGES, 1.0) for n in range(100)]
    board = Board([f"s{n}" for n in range(100)], STAGES, jobs, clock)
    board.tell("started", "", "s77:track", ())
    board.tell("stage", "", "s77:track", (("stage", "track"), ("state", "started")))
    console = Console(file=io.StringIO(), width=100, height=24, force_terminal=True, color_system=None)
    with dashboard_for(console, board) as live:
        console.print(live._render())  # type: ignore[attr-defined]
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "s77" in text
    assert "more: " in text
    assert "waiting" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.31, "8.3 s"), (42, "42 s"), (245, "4:05"), (7445, "2:04:05")]
)
def test_times_are_written_as_people_read_them(seconds: float, text: str) -> None:
    """Short times have seconds, longer ones minutes and hours."""
    assert clock_text(seconds) == text
