"""Find back ends, data sets and exporters by name.

A plug-in's name is its module's name below the package of its kind; plug-ins of other distributions come
through the entry-point groups ``my3dis.datasets``, ``my3dis.proposers``, ``my3dis.trackers`` and
``my3dis.exporters``. Nothing is imported before it is asked for, except when all names are listed.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from my3dis.datasets import detect
from my3dis.errors import PluginError
from my3dis.protocols import DatasetPlugin, ExporterPlugin, ProposerPlugin, SceneReader, TrackerPlugin

__all__ = ["PACKAGES", "dataset", "exporter", "names", "open_scan", "proposer", "tracker"]

PACKAGES: dict[str, str] = {
    "datasets": "my3dis.datasets",
    "proposers": "my3dis.backends.proposers",
    "trackers": "my3dis.backends.trackers",
    "exporters": "my3dis.exporters",
}
"""Kind of plug-in → package that holds the built-in ones; a module there without ``PLUGIN`` is none."""

P = TypeVar("P", DatasetPlugin, ProposerPlugin, TrackerPlugin, ExporterPlugin)


def names(kind: str) -> tuple[str, ...]:
    """Return the sorted names of all plug-ins of a kind, built in and installed."""
    package = importlib.import_module(PACKAGES[kind])
    modules = (info.name for info in pkgutil.iter_modules(package.__path__))
    built_in = {m for m in modules if hasattr(importlib.import_module(f"{PACKAGES[kind]}.{m}"), "PLUGIN")}
    return tuple(sorted(built_in | set(entry_points(group=f"my3dis.{kind}").names)))


def dataset(name: str) -> DatasetPlugin:
    """Return the data set plug-in of that name.

    Raises:
        PluginError: if there is none, it cannot be imported or it is of another kind.
    """
    return _find("datasets", name, DatasetPlugin)


def open_scan(path: Path, dataset_name: str = "auto") -> SceneReader:
    """Open a scan with a reader that is built in or installed; see `my3dis.datasets.detect.open_scan`."""
    known = tuple((name, dataset(name)) for name in names("datasets"))
    return detect.open_scan(path, dataset_name, known)


def proposer(name: str) -> ProposerPlugin:
    """Return the proposer plug-in of that name; see `dataset` for errors."""
    return _find("proposers", name, ProposerPlugin)


def tracker(name: str) -> TrackerPlugin:
    """Return the tracker plug-in of that name; see `dataset` for errors."""
    return _find("trackers", name, TrackerPlugin)


def exporter(name: str) -> ExporterPlugin:
    """Return the exporter plug-in of that name; see `dataset` for errors."""
    return _find("exporters", name, ExporterPlugin)


def _find(kind: str, name: str, expected: type[P]) -> P:
    value = _load(kind, name)
    if not isinstance(value, expected):
        raise PluginError(
            f"{kind} plug-in {name!r}: expected PLUGIN to be a {expected.__name__}, "
            f"found {type(value).__name__}; fix the plug-in"
        )
    return value


def _load(kind: str, name: str) -> object:
    try:
        for entry in entry_points(group=f"my3dis.{kind}", name=name):
            loaded: object = entry.load()
            return getattr(loaded, "PLUGIN", loaded) if isinstance(loaded, ModuleType) else loaded
        path = f"{PACKAGES[kind]}.{name}"
        if name.isidentifier() and importlib.util.find_spec(path) is not None:
            value: object = getattr(importlib.import_module(path), "PLUGIN", None)
            if value is not None:
                return value
    except ImportError as error:
        raise PluginError(
            f"{kind} plug-in {name!r} cannot be imported: {error}; install what it needs "
            f"(pip install 'my3dis[{name.replace('_', '-')}]' where such an extra exists)"
        ) from error
    known = names(kind)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise PluginError(
        f"no {kind.removesuffix('s')} is called {name!r} here; {hint}"
        f"available: {', '.join(known)}; others come with packages that offer them"
    )
