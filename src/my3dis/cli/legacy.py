"""The command that brings in runs of the earlier system."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.errors import EXIT_OK

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["add_commands"]


def add_commands(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "import-legacy",
        "make a run of an old run's folder: its candidates, kept masks, tracks and relations",
        """
my3dis import-legacy outputs/scene_00065_00/full runs
my3dis import-legacy outputs/scene_00065_00/full runs --scan scans/scene_00065_00

Nothing in the old folder is run, changed or deleted; pickled files are read without unpickling them.
""",
    )
    parser.add_argument("old_run", metavar="OLD_RUN", type=Path, help="folder with level_2, level_4, ...")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for all runs")
    parser.add_argument("--scan", metavar="PATH", type=Path, help="where the scan is now")
    parser.add_argument("--name", metavar="NAME", help="name of the new run; default the old folder's")
    parser.add_argument("--resize", action="store_true", help="bring masks to the size of the scan's images")
    parser.set_defaults(call=_import)


def _import(arguments: argparse.Namespace, console: Console) -> int:
    from my3dis.cli.console import display_for
    from my3dis.runs.import_legacy import ImportOptions, import_legacy_run

    options = ImportOptions(name=arguments.name, scan=arguments.scan, resize=arguments.resize)
    result = import_legacy_run(
        arguments.old_run, arguments.out, options, display=display_for(arguments, console)
    )
    for name, masks, frames in result.masks:
        print(f"{name:<18} {masks:,} masks in {frames:,} frames")
    if not result.fits_scan:
        print("no report yet: masks and images differ in size; import again with --resize")
    elif result.has_scan:
        print(f"my3dis stage report {result.run_dir}   draws the report")
    else:
        print("no report yet: the colour frames are not available; import again with --scan")
    print(result.run_dir)
    return EXIT_OK
