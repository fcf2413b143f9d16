"""The command that shows runs in a browser, or one run in Rerun."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from my3dis.serving.catalog import Catalog

__all__ = ["add_commands"]

_LOG = logging.getLogger(__name__)


def add_commands(commands: Commands[Parser]) -> None:
    """Add the command."""
    view = add_command(
        commands,
        "view",
        "show runs in a browser: an index that sorts and filters, reports, files; for this machine alone",
        """
my3dis view runs                          all runs below the folder, and the page of their sweep
my3dis view runs/scene0000_00/default     the report of one run
my3dis view runs/scene0000_00/default --rerun     in Rerun (pip install 'my3dis[rerun]')
my3dis view runs --no-browser --port 9000
ssh -L 8733:127.0.0.1:8733 HOST my3dis view runs  on another machine; open the address here
""",
    )
    view.add_argument(
        "path", metavar="RUN|OUTPUT_ROOT", type=Path, help="folder of a run, of a sweep, or of all runs"
    )
    view.add_argument("--port", metavar="N", type=int, help="default: the first free one from 8733 on")
    view.add_argument("--no-browser", action="store_true", help="only print the address")
    view.add_argument("--rerun", action="store_true", help="open one run in Rerun instead of a browser")
    view.set_defaults(call=_view)


def _view(arguments: argparse.Namespace, console: Console) -> int:
    from my3dis.serving.catalog import Catalog, open_root

    catalog = Catalog(open_root(arguments.path))
    try:
        return _show_in_rerun(catalog, console) if arguments.rerun else _serve(catalog, arguments)
    except KeyboardInterrupt:  # the way in which a server ends, so nothing is said of stages
        print("\nmy3dis: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED


def _show_in_rerun(catalog: Catalog, console: Console) -> int:
    from my3dis.serving.rerun_window import check_rerun, recording_of, show

    if not catalog.single:
        raise ConfigError(f"--rerun: expected the folder of one run, found one of many: {catalog.root}")
    check_rerun()
    with contextlib.ExitStack() as stack:
        with console.status("writing the recording"):
            recording = stack.enter_context(recording_of(catalog.root))
        show(recording)
    return EXIT_OK


def _serve(catalog: Catalog, arguments: argparse.Namespace) -> int:
    from my3dis.serving.pages import Pages, report_command
    from my3dis.serving.server import listen

    pages = Pages(catalog)
    with listen(pages, arguments.port) as server:
        path = pages.report_address()
        if catalog.single and path == "/":
            _LOG.warning("this run has no report yet; to make one: %s", report_command(catalog.root))
        address = server.address + path
        _LOG.info("serving %s to this machine, for reading; Ctrl-C ends it", catalog.root)
        print(address, flush=True)
        if not arguments.no_browser and sys.stdout.isatty() and _has_browser():
            # In a thread: the browser may ask before this one answers, and some only return when closed.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        server.serve_forever(poll_interval=0.2)
    return EXIT_OK


def _has_browser() -> bool:
    """Return whether a browser has a place to show itself; one inside the terminal is none."""
    return sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
