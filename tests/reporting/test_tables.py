"""Tables of the report."""

from __future__ import annotations

import shlex

import yaml

from my3dis.reporting.model import WarningRow
from my3dis.reporting.tables import (
    count_figure,
    drop_table,
    flat_settings,
    instance_table,
    merged_warnings,
    run_command,
)
from tests.reporting.fakes import box_instances, floor_and_box


def test_instances_are_listed_coarse_first_and_bounded() -> None:
    """Rows come by level and score with sizes and parents; the total counts all."""
    instances = box_instances(floor_and_box())
    table = instance_table(instances, {1: (1, 1, 1), 7: (2, 2, 2)})
    assert [(r.instance_id, r.level, r.parent_id, r.points) for r in table.rows] == [
        (1, 2, -1, 64),
        (7, 4, 1, 32),
    ]
    assert len(instance_table(instances, {1: (1, 1, 1), 7: (2, 2, 2)}, most=1).rows) == 1
    assert table.total == 2


def test_drops_are_counted_by_reason_and_level() -> None:
    """The most frequent reason comes first."""
    drops = drop_table([(2, "small"), (4, "small"), (4, "small"), (4, "same")], kept=9)
    assert [(r.level, r.reason, r.count) for r in drops.rows] == [
        (4, "small", 2),
        (2, "small", 1),
        (4, "same", 1),
    ]
    assert (drops.kept, drops.dropped) == (9, 4)


def test_figures_sum_levels() -> None:
    """A key figure has the total and each level's share."""
    figure = count_figure("Masks", ((2, 1200), (4, 34)))
    assert (figure.value, figure.notes) == ("1,234", ("level 2: 1,200", "level 4: 34"))


def test_equal_warnings_are_said_once() -> None:
    """The same sentence for three levels is one line; repeats at one level are counted."""
    rows = [WarningRow(stage="report", reason="r", message="m", level=level) for level in (2, 4, 6)]
    rows += [WarningRow(stage="lift", reason="r", message="n", level=4)] * 2
    merged = merged_warnings(rows)
    assert [(w.message, w.level, w.count) for w in merged] == [("m", None, 1), ("n", 4, 2)]


def test_settings_are_flat_and_marked() -> None:
    """Nested values get dotted keys; what differs from the default is marked."""
    settings = flat_settings(
        {"a": {"b": [1, 2], "c": True}, "d": None}, {"a": {"b": [1], "c": True}, "d": None}
    )
    assert [(s.key, s.value, s.changed) for s in settings] == [
        ("a.b", "[1, 2]", True),
        ("a.c", "true", False),
        ("d", "null", False),
    ]


def test_the_command_makes_the_same_settings() -> None:
    """Every --set of the command reads back as the value that the run had, whatever it holds."""
    values = {
        "x": {"text": "it's: on", "flag": "true", "word": "warp", "list": [2, 4], "none": None, "f": 0.5}
    }
    settings = flat_settings(values, {})
    words = shlex.split(run_command("a scan", "out", settings))
    assert words[:6] == ["my3dis", "run", "--scan", "a scan", "--output", "out"]
    read = {}
    for word in words[7::2]:
        key, _, value = word.partition("=")
        read[key.removeprefix("x.")] = yaml.safe_load(value)
    assert read == values["x"]
    assert run_command("s", "o", flat_settings({"experiment": {"output_root": "q"}}, {})) == (
        "my3dis run --scan s --output o"
    )
