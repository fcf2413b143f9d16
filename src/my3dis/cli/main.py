"""The command ``my3dis``: parse, call, set the exit code."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType

from my3dis import __version__
from my3dis.cli.parser import Parser, make_parser
from my3dis.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, OUT_OF_MEMORY, My3DISError, ResourceError

__all__ = ["build_parser", "main"]

_DESCRIPTION = """\
Instance masks at several granularities, tracked through an indoor scan and lifted to 3D.
Without model weights and without a GPU, in flat memory."""

_EPILOG = """\
start here:
  my3dis demo                                       a built-in scan through all stages, in a minute
  my3dis run --scan scans/scene0000_00 --output runs  your own scan
  my3dis COMMAND --help                             examples for every command

exit codes: 0 ok, 2 settings, 3 data or archive, 4 plug-in, 5 disk or memory, 6 some scenes failed,
130 stopped by Ctrl-C, 1 a bug of ours"""


def build_parser() -> Parser:
    """Return the parser with all commands."""
    from my3dis.cli import check, compare, doctor, legacy, results, run, tools, view, weights

    parser = make_parser(__version__, _DESCRIPTION, _EPILOG)
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", title="commands")
    for group in (run, results, compare, view, check, legacy, tools, weights, doctor):
        group.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; no error of ours shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character must not stop the work
            stream.reconfigure(errors="backslashreplace")
    try:
        with _polite_kill():
            code = _call(arguments)
        sys.stdout.flush()
    except My3DISError as error:
        print(f"my3dis: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            "\nmy3dis: stopped. Finished stages are kept; the same command goes on from there.",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`my3dis ... | head`): nothing is wrong with the work itself.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except MemoryError:
        # Inside a stage it is told as the stage's; here nothing is known but that it was too much.
        print(f"my3dis: error: {OUT_OF_MEMORY}", file=sys.stderr)
        return ResourceError.exit_code
    except Exception:  # noqa: BLE001 (the outermost edge; the traceback is shown in full)
        traceback.print_exc()
        print(
            f"my3dis: this is a bug of ours (version {__version__}). "
            "Please report it with the lines above and the command that you ran.",
            file=sys.stderr,
        )
        return EXIT_BUG
    return code


def _call(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        parsed = parser.parse(arguments)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    if parsed.command is None:
        parser.print_help()
        return EXIT_OK
    from my3dis.cli.console import logging_to_stderr

    with logging_to_stderr(parsed) as console:
        code: int = parsed.call(parsed, console)
    return code


@contextlib.contextmanager
def _polite_kill() -> Iterator[None]:
    """Let SIGTERM stop the work as Ctrl-C does; only a process's main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> None:
    """Treat a polite kill like Ctrl-C, so that the manifest says how the run ended."""
    del number, frame
    raise KeyboardInterrupt
