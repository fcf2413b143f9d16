"""Plug-ins are found by module name or entry point, and what is wrong with one is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from my3dis import plugins
from my3dis.errors import PluginError
from my3dis.protocols import DatasetPlugin, ExporterPlugin, ProposerPlugin, TrackerPlugin

GOOD = """
from my3dis.protocols import ProposerPlugin
PLUGIN = ProposerPlugin(summary="a test", version="7", create=lambda options: None)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another distribution with three proposers: a good one, one that lacks a library, and a wrong one."""
    (tmp_path / "other_good.py").write_text(GOOD)
    (tmp_path / "other_broken.py").write_text("import a_library_that_is_not_there\n")
    (tmp_path / "other_wrong.py").write_text("PLUGIN = 'a string'\n")
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[my3dis.proposers]\n"
        + "".join(f"{m} = {m}\n" for m in ("other_good", "other_broken", "other_wrong"))
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("other_good", "other_broken", "other_wrong"):
        sys.modules.pop(name, None)


def test_built_in_plugins_are_listed_and_load() -> None:
    """Every listed name of every kind loads as a plug-in of that kind with a summary."""
    for kind, find, expected in (
        ("datasets", plugins.dataset, DatasetPlugin),
        ("proposers", plugins.proposer, ProposerPlugin),
        ("trackers", plugins.tracker, TrackerPlugin),
        ("exporters", plugins.exporter, ExporterPlugin),
    ):
        names = plugins.names(kind)
        assert names == tuple(sorted(names))
        for name in names:
            plugin = find(name)
            assert isinstance(plugin, expected)
            assert plugin.summary
    assert {"scannet", "multiscan", "seven_scenes", "images", "video"} <= set(plugins.names("datasets"))
    assert {"watershed", "recorded", "oracle"} <= set(plugins.names("proposers"))
    assert {"warp", "flow", "oracle"} <= set(plugins.names("trackers"))


def test_plugins_of_other_distributions_are_found(installed: Path) -> None:
    """A module named by an entry point is listed and loaded like a built-in one."""
    assert "other_good" in plugins.names("proposers")
    assert plugins.proposer("other_good").version == "7"


def test_a_misspelt_name_gets_the_nearest(installed: Path) -> None:
    """An unknown name is refused with the nearest right one and with all that there are."""
    with pytest.raises(PluginError, match=r"did you mean 'watershed'\?.*other_good, .*recorded"):
        plugins.proposer("watersheds")
    with pytest.raises(PluginError, match=r"no tracker is called 'a\.b' here; available: flow"):
        plugins.tracker("a.b")


def test_broken_plugins_are_explained(installed: Path) -> None:
    """A plug-in that lacks a library or is of the wrong type is an error that says so."""
    with pytest.raises(PluginError, match=r"cannot be imported.*a_library_that_is_not_there"):
        plugins.proposer("other_broken")
    with pytest.raises(PluginError, match="expected PLUGIN to be a ProposerPlugin, found str"):
        plugins.proposer("other_wrong")


def test_a_helper_module_is_no_plugin() -> None:
    """A module of the package without PLUGIN is neither listed nor loaded."""
    assert "detect" not in plugins.names("datasets")
    with pytest.raises(PluginError, match="no dataset is called 'detect'"):
        plugins.dataset("detect")
