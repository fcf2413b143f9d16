"""What a person sees: the console, the log, and the lines at the end of a run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.logging import RichHandler

from my3dis.cli.stopping import STOP, StoppableDisplay
from my3dis.monitoring.board import Board, BoardJob
from my3dis.monitoring.dashboard import Dashboard, dashboard_for
from my3dis.monitoring.display import ConsoleDisplay, Display, SilentDisplay
from my3dis.pipeline import RunResult
from my3dis.runs.plan import STAGE_NAMES
from my3dis.scheduling.jobs import SweepPlan

__all__ = ["dashboard_of", "display_for", "logging_to_stderr", "print_memory", "print_result"]


class _LineFormatter(logging.Formatter):
    """Names the level of a line only where it is more than information."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = super().format(record)
        if record.levelno < logging.WARNING:
            return line
        return line.replace(record.getMessage(), f"{record.levelname.lower()}: {record.getMessage()}", 1)


@contextlib.contextmanager
def logging_to_stderr(arguments: argparse.Namespace) -> Iterator[Console]:
    """Send the package's log to stderr during the block.

    Gives the console that shows it, so that bars and lines of the log do not write over each other.
    """
    console = Console(stderr=True)
    level = logging.WARNING if arguments.quiet else logging.DEBUG if arguments.verbose else logging.INFO
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(
            console=console, show_path=False, show_level=level != logging.INFO, log_time_format="%H:%M:%S"
        )
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_LineFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("my3dis")
    before = (logger.level, logger.propagate)
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield console
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def display_for(arguments: argparse.Namespace, console: Console) -> Display:
    """Return how a run shows itself, not at all with --quiet; it stops at the next frame when asked to."""
    shown = SilentDisplay() if arguments.quiet else ConsoleDisplay(console)
    return StoppableDisplay(shown, STOP)


def dashboard_of(plan: SweepPlan, arguments: argparse.Namespace, console: Console) -> Dashboard:
    """Return how a sweep shows itself: warnings and failures only with --quiet."""
    jobs = [BoardJob(job.id, job.scene, job.stages, job.seconds) for job in plan.jobs]
    return dashboard_for(console, Board(plan.scenes, STAGE_NAMES, jobs), quiet=arguments.quiet)


def print_memory(result: RunResult) -> None:
    """Print the memory of the stages that were made, where it was asked for, and where it is kept."""
    from my3dis.monitoring.profile_view import describe_profile
    from my3dis.runs.layout import RunLayout

    width = max(60, min(100, shutil.get_terminal_size((80, 24)).columns))
    for profile in result.memory:
        print(describe_profile(profile, width=width))
        print()
    if result.memory:
        layout = RunLayout(result.run_dir)
        print(f"curve kept in {layout.memory_profile} and {layout.memory_plot.name}")
        print()


def print_result(result: RunResult) -> None:
    """Print the scores, where there are some, and last the path of the report (or of the run)."""
    if result.scores is not None:
        from my3dis.runs.scores import format_scores, load_scores

        print(format_scores(load_scores(result.scores)))
        print()
    print(result.report or result.run_dir)
