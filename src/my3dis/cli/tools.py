"""The command that lists plug-ins."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.errors import EXIT_OK

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
