"""The commands that look around: plugins and check."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command

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
            version = getattr(plugin, "version", "")
            print(f"  {name:<14} {plugin.summary}{f' (version {version})' if version else ''}")
    return 0
