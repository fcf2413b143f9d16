"""Recognise the layout of a scan and open it."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from my3dis.errors import DataError, PluginError
from my3dis.protocols import DatasetPlugin, SceneReader

__all__ = ["built_in_plugins", "open_scan"]

_LOG = logging.getLogger(__name__)


def built_in_plugins() -> tuple[tuple[str, DatasetPlugin], ...]:
    """Return the name and plug-in of every data set that comes with the package, sorted by name."""
    package = importlib.import_module("my3dis.datasets")
    found = []
    for info in pkgutil.iter_modules(package.__path__):
        plugin = getattr(importlib.import_module(f"my3dis.datasets.{info.name}"), "PLUGIN", None)
        if isinstance(plugin, DatasetPlugin):
            found.append((info.name, plugin))
    return tuple(sorted(found, key=lambda pair: pair[0]))


def open_scan(
    path: Path, dataset: str = "auto", plugins: Sequence[tuple[str, DatasetPlugin]] | None = None
) -> SceneReader:
    """Open a scan with the reader of its layout.

    Args:
        path: folder or video file of one scan.
        dataset: name of a plug-in, or ``auto`` to try them all, the most specific layouts first.
        plugins: names and plug-ins to choose from; those of this package when None.

    Raises:
        DataError: if the path is missing, unreadable, empty, of no known layout, or its reader refuses it.
        PluginError: if no plug-in has the name given.
    """
    path = Path(path)
    known = tuple(built_in_plugins() if plugins is None else plugins)
    _require_readable(path)
    if dataset != "auto":
        for name, plugin in known:
            if name == dataset:
                return plugin.open(path)
        raise PluginError(
            f"no data set reader is called {dataset!r}; available: auto, {', '.join(n for n, _ in known)}"
        )
    for name, plugin in sorted(known, key=lambda pair: (-pair[1].priority, pair[0])):
        if plugin.detect(path):
            _LOG.debug("%s: recognised as %s", path, name)
            return plugin.open(path)
    layouts = "; ".join(f"{name} ({plugin.summary})" for name, plugin in known)
    raise DataError(
        f"{path}: expected a scan in a known layout, found {_contents(path)}. Known layouts: {layouts}. "
        "Give the folder of one scan, or name its layout with --dataset"
    )


def _require_readable(path: Path) -> None:
    if not path.exists():
        parent = next((p for p in path.absolute().parents if p.exists()), None)
        hint = "" if parent is None else f" ({parent} is there)"
        raise DataError(f"{path}: expected a scan, found nothing at this path{hint}; check the path")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise DataError(
            f"{path}: expected a readable scan, found no right to read it; change its permissions"
        )
    if path.is_dir() and next(path.iterdir(), None) is None:
        raise DataError(f"{path}: expected a scan, found an empty folder; check the path")


def _contents(path: Path) -> str:
    if not path.is_dir():
        return f"a file of type {path.suffix!r}" if path.suffix else "a file without a suffix"
    kinds: Counter[str] = Counter()
    for entry in path.iterdir():
        kinds["folder" if entry.is_dir() else entry.suffix.lower() or "file without suffix"] += 1
    return "a folder with " + ", ".join(f"{n} x {kind}" for kind, n in kinds.most_common(5))
