"""Tables of the report made from core types and plain values."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from my3dis.reporting.colors import Color
from my3dis.reporting.model import DropRow, Drops, Figure, InstanceRow, InstanceTable, Setting, WarningRow
from my3dis.reporting.page import format_count
from my3dis.types import InstanceSet

__all__ = [
    "count_figure",
    "drop_table",
    "flat_settings",
    "import_command",
    "instance_table",
    "merged_warnings",
    "run_command",
]

_GIVEN_BY_OPTIONS = (
    "experiment.dataset_root",
    "experiment.scenes",
    "experiment.scene_start",
    "experiment.scene_end",
    "experiment.output_root",
)


def instance_table(instances: InstanceSet, colors: Mapping[int, Color], most: int = 50) -> InstanceTable:
    """List the first instances, coarse levels first, then by score, then by size."""
    sizes = np.diff(instances.point_offsets)
    order = np.lexsort((instances.instance_id, -sizes, -instances.score, instances.level))[:most]
    rows = tuple(
        InstanceRow(
            instance_id=int(instances.instance_id[k]),
            level=int(instances.level[k]),
            points=int(sizes[k]),
            score=float(instances.score[k]),
            parent_id=int(instances.parent_id[k]),
            color=colors[int(instances.instance_id[k])],
        )
        for k in order.tolist()
    )
    return InstanceTable(rows=rows, total=len(instances))


def drop_table(dropped: Iterable[tuple[int, str]], kept: int) -> Drops:
    """Count dropped masks, given as (level, reason), by reason and level, most frequent first.

    Reasons are codes such as ``min_area``; they are shown as words.
    """
    counts = Counter(dropped)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = tuple(
        DropRow(level=level, reason=reason.replace("_", " "), count=n) for (level, reason), n in ordered
    )
    return Drops(rows=rows, kept=kept)


def count_figure(label: str, by_level: Sequence[tuple[int, int]]) -> Figure:
    """Return a key figure of a total with its share at each level."""
    total = sum(n for _, n in by_level)
    notes = tuple(f"level {level}: {format_count(n)}" for level, n in by_level)
    return Figure(label=label, value=format_count(total), notes=notes)


def merged_warnings(warnings: Iterable[WarningRow]) -> tuple[WarningRow, ...]:
    """Join warnings that say the same, at several levels or several times, into one line each."""
    groups: dict[tuple[str, str, str], list[WarningRow]] = {}
    for warning in warnings:
        groups.setdefault((warning.stage, warning.reason, warning.message), []).append(warning)
    merged = []
    for (stage, reason, message), members in groups.items():
        levels = {w.level for w in members}
        level = levels.pop() if len(levels) == 1 else None
        count = max(1, len(members) // max(1, len({w.level for w in members})))
        merged.append(WarningRow(stage=stage, reason=reason, message=message, level=level, count=count))
    return tuple(merged)


def flat_settings(values: Mapping[str, object], defaults: Mapping[str, object]) -> tuple[Setting, ...]:
    """Return every setting under its dotted key, in the order of ``values``, marked where not default."""
    flat, usual = dict(_flatten(values)), dict(_flatten(defaults))
    return tuple(
        Setting(key=key, value=_as_yaml(value), changed=key not in usual or usual[key] != value)
        for key, value in flat.items()
    )


def _flatten(values: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _as_yaml(value: object) -> str:
    """Return a value in YAML's flow style, which JSON is part of; plain words stay bare."""
    bare = isinstance(value, str) and value.replace("_", "").replace("/", "").replace(".", "").isalpha()
    if bare and str(value).lower() not in ("true", "false", "null", "yes", "no", "on", "off", "y", "n"):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def import_command(old_run: str, output: str, scan: str, name: str, *, resize: bool) -> str:
    """Return the command line that imports an old run again."""
    words = ["my3dis", "import-legacy", old_run, output, "--scan", scan, "--name", name]
    return shlex.join([*words, "--resize"] if resize else words)


def run_command(scan: str, output: str, settings: Iterable[Setting]) -> str:
    """Return the command line that makes the run again, with every setting that is not the default."""
    words = ["my3dis", "run", "--scan", scan, "--output", output]
    for setting in settings:
        if setting.changed and setting.key not in _GIVEN_BY_OPTIONS:
            words += ["--set", f"{setting.key}={setting.value}"]
    return shlex.join(words)
