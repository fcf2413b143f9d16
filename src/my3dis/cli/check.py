"""The command that looks whether a scan's parts belong together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.errors import EXIT_OK, DataError, My3DISError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["add_commands"]

_EXAMPLES = """my3dis check scans/scene0000_00
my3dis check scans/scene0000_00 --frames 0:600:10
my3dis check scans/mine --set experiment.correct.poses=[inverse]   does this mend it?"""


def add_commands(commands: Commands[Parser]) -> None:
    """Add the command."""
    check = add_command(
        commands,
        "check",
        "see whether a scan's poses, depth, intrinsics, colour and mesh belong together, and what is wrong "
        "if not; exits 0 (fits) or 3, and the last line names the cause",
        _EXAMPLES,
    )
    check.add_argument("scan", metavar="SCAN", type=Path, help="folder or video file of one scan")
    check.add_argument("--dataset", metavar="NAME", default="auto", help="layout of the scan; default auto")
    check.add_argument("--frames", metavar="START:END:STEP", default="::", help="which frames; default all")
    check.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="a setting, repeatable"
    )
    check.add_argument(
        "--pictures",
        metavar="DIR",
        type=Path,
        default=Path("my3dis-check"),
        help="folder for pictures of what fits and what does not; default ./my3dis-check",
    )
    check.add_argument("--json", metavar="FILE", type=Path, help="write the figures into a file")
    check.set_defaults(call=_check)


def _check(arguments: argparse.Namespace, console: Console) -> int:
    from my3dis.config.load import Option, load_config, option_from_text
    from my3dis.datasets.check import check_scan
    from my3dis.runs.files import atomic_write_json
    from my3dis.runs.fit import facts_of, write_pictures
    from my3dis.runs.start import open_corrected, select_frames

    options = [Option("experiment.frames", arguments.frames, "--frames")]
    config = load_config(options=[*options, *map(option_from_text, arguments.set)], environment=False)
    reader = open_corrected(arguments.scan, arguments.dataset, config)
    overview = reader.overview
    print(f"{overview.scene}: {overview.dataset}, {overview.frame_count} frames")
    for sentence in overview.found:
        print(f"  found    {sentence}")
    for sentence in overview.missing:
        print(f"  missing  {sentence}")
    with console.status("comparing frames"):
        found = check_scan(reader, select_frames(len(reader), config.experiment.frames))
    print(found.message)
    try:
        pictures = write_pictures(arguments.pictures / overview.scene, found)
    except My3DISError as error:  # a folder that cannot be written is no fault of the scan
        print(f"no pictures: {error}")
        pictures = ()
    if pictures:
        print(f"pictures: {pictures[0].parent} (green agrees, red does not; edges of depth in yellow)")
    if arguments.json is not None:
        atomic_write_json(arguments.json, facts_of(found))
    if found.settings:
        print("to correct it, add to the command line or the settings file:")
        for key, value in found.settings:
            print(f"  --set '{key}={value}'")
    if len(found.causes) > 1:
        print(f"several things are wrong: {', '.join(found.causes)}")
    print(f"cause: {found.cause}")
    return EXIT_OK if found.fits else DataError.exit_code
