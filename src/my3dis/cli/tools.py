"""The commands that look around: plugins and check."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.errors import EXIT_OK, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from my3dis.protocols import DatasetPlugin, ExporterPlugin, ProposerPlugin, TrackerPlugin

__all__ = ["add_commands"]


def add_commands(commands: Commands[Parser]) -> None:
    """Add the commands."""
    plugins = add_command(
        commands, "plugins", "list data sets, proposers, trackers and exporters", "my3dis plugins"
    )
    plugins.set_defaults(call=_plugins)

    check = add_command(
        commands,
        "check",
        "see whether a scan's poses, depth, intrinsics and mesh belong together; exits 0 (fits) or 3",
        "my3dis check scans/scene0000_00\nmy3dis check scans/scene0000_00 --frames 0:600:10",
    )
    check.add_argument("scan", metavar="SCAN", type=Path, help="folder or video file of one scan")
    check.add_argument("--dataset", metavar="NAME", default="auto", help="layout of the scan; default auto")
    check.add_argument("--frames", metavar="START:END:STEP", default="::", help="which frames; default all")
    check.set_defaults(call=_check)


def _plugins(arguments: argparse.Namespace, console: Console) -> int:
    del arguments, console
    from my3dis import plugins

    for kind, find in (
        ("datasets", plugins.dataset),
        ("proposers", plugins.proposer),
        ("trackers", plugins.tracker),
        ("exporters", plugins.exporter),
    ):
        print(kind)
        for name in plugins.names(kind):
            plugin: DatasetPlugin | ProposerPlugin | TrackerPlugin | ExporterPlugin = find(name)
            about = [f"version {v}" for v in (getattr(plugin, "version", ""),) if v]
            about += [f"resumable by {r}" for r in (getattr(plugin, "resumable", ""),) if r]
            print(f"  {name:<14} {plugin.summary}{' (' + ', '.join(about) + ')' if about else ''}")
    return EXIT_OK


def _check(arguments: argparse.Namespace, console: Console) -> int:
    del console
    from my3dis.config.load import Option, load_config
    from my3dis.datasets.check import check_scan
    from my3dis.plugins import open_scan
    from my3dis.runs.start import select_frames

    config = load_config(
        options=[Option("experiment.frames", arguments.frames, "--frames")], environment=False
    )
    reader = open_scan(arguments.scan, arguments.dataset)
    overview = reader.overview
    print(f"{overview.scene}: {overview.dataset}, {overview.frame_count} frames")
    for sentence in overview.found:
        print(f"  found    {sentence}")
    for sentence in overview.missing:
        print(f"  missing  {sentence}")
    found = check_scan(reader, select_frames(len(reader), config.experiment.frames))
    print(found.message)
    # What exactly is wrong is not told apart yet.
    print(f"cause: {'none' if found.fits else 'unknown'}")
    return EXIT_OK if found.fits else DataError.exit_code
