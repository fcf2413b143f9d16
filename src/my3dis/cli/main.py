"""The command ``my3dis``: parse, call, set the exit code."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from my3dis import __version__
from my3dis.cli.stopping import STOP
from my3dis.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, OUT_OF_MEMORY, My3DISError, ResourceError

if TYPE_CHECKING:
    from my3dis.cli.parser import Parser

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
    # Imported here, so that Ctrl-C while they load is answered like any other.
    from my3dis.cli import check, compare, doctor, legacy, results, run, tools, view, weights
    from my3dis.cli.parser import make_parser

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
        with STOP.heard():
            code = _call(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _stopped()
    except BrokenPipeError:
        # The reader of our output has left (`my3dis ... | head`): nothing is wrong with the work itself.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:  # noqa: BLE001 (the outermost edge: each kind of error has its exit code)
        # A library that was stopped while it was being imported may have made an error of that.
        return _stopped() if STOP.is_made else _failed(error)
    return code


def _stopped() -> int:
    print(
        "\nmy3dis: stopped. Finished stages are kept; the same command goes on from there.", file=sys.stderr
    )
    return EXIT_INTERRUPTED


def _failed(error: Exception) -> int:
    """Say what went wrong and return the exit code; only a bug of ours shows its traceback, in full."""
    if isinstance(error, My3DISError):
        print(f"my3dis: error: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, MemoryError):
        # Inside a stage it is told as the stage's; here nothing is known but that it was too much.
        print(f"my3dis: error: {OUT_OF_MEMORY}", file=sys.stderr)
        return ResourceError.exit_code
    traceback.print_exception(error)
    print(
        f"my3dis: this is a bug of ours (version {__version__}). "
        "Please report it with the lines above and the command that you ran.",
        file=sys.stderr,
    )
    return EXIT_BUG


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
