"""How two runs differ: settings, what made them, inputs, time, memory, counts and scores.

Figures stand side by side with their difference or ratio; nothing is judged. What is the same is left out
where only differences are of interest (settings, versions, inputs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from my3dis.errors import DataError
from my3dis.runs.comparison import Difference, FigurePair, RunComparison
from my3dis.runs.files import read_json
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import Manifest, read_manifest
from my3dis.runs.overview import RunOverview, read_overview
from my3dis.runs.scores import InstanceScore, Scores, load_scores

__all__ = ["compare_runs", "differences", "pairs", "settings_of", "versions_of"]

_ABSENT = "(absent)"
_FACTS = {"tracks": "tracks", "merges": "merged tracks", "points": "points"}


def compare_runs(a: Path, b: Path) -> RunComparison:
    """Compare two runs.

    Raises:
        DataError: if one is no run or its records are damaged.
    """
    one, two = read_overview(a), read_overview(b)
    manifests = read_manifest(RunLayout(a).manifest), read_manifest(RunLayout(b).manifest)
    return RunComparison(
        a=a,
        b=b,
        statuses=(one.status, two.status),
        settings=differences(settings_of(a, manifests[0]), settings_of(b, manifests[1])),
        versions=differences(versions_of(a, manifests[0]), versions_of(b, manifests[1])),
        inputs=differences(_inputs(manifests[0]), _inputs(manifests[1])),
        seconds=_with_total(pairs(_of_stages(one, "seconds"), _of_stages(two, "seconds"))),
        memory_mb=pairs(_of_stages(one, "peak_rss_mb"), _of_stages(two, "peak_rss_mb")),
        gpu_mb=pairs(_of_stages(one, "peak_gpu_mb"), _of_stages(two, "peak_gpu_mb")),
        counts=pairs(_counts(one), _counts(two)),
        scores=pairs(_scores(a), _scores(b)),
    )


def differences(a: Mapping[str, object], b: Mapping[str, object]) -> tuple[Difference, ...]:
    """Return what is not the same in two mappings, in the order of the keys."""
    keys = list(dict.fromkeys((*a, *b)))
    return tuple(
        Difference(name=key, a=_text(a, key), b=_text(b, key))
        for key in keys
        if a.get(key, _ABSENT) != b.get(key, _ABSENT)
    )


def _text(values: Mapping[str, object], key: str) -> str | None:
    if key not in values:
        return None
    value = values[key]
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def settings_of(run_dir: Path, manifest: Manifest) -> dict[str, object]:
    """Return the resolved settings under dotted keys; those of the stages where there is no config.yaml."""
    import yaml

    path = RunLayout(run_dir).config
    try:
        content = yaml.safe_load(path.read_text("utf-8")) if path.is_file() else None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: expected the settings of a run, found a damaged file ({error})") from error
    if isinstance(content, Mapping):
        return dict(_flat(content))
    return {key: value for stage in manifest.stages for key, value in stage.settings}


def _flat(values: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def versions_of(run_dir: Path, manifest: Manifest) -> dict[str, object]:
    """Return what made a run: package, commit, plug-ins, checkpoints and environment."""
    found: dict[str, object] = {"my3dis": manifest.version, "commit": manifest.commit}
    found |= {f"plug-in {role}": name for role, name in manifest.plugins}
    found |= {f"checkpoint {Path(path).name}": digest[:16] for path, digest in manifest.checkpoints}
    path = RunLayout(run_dir).environment
    content = read_json(path) if path.is_file() else {}
    if isinstance(content, Mapping):
        known = ((key, value) for key, value in content.items() if key not in ("my3dis", "commit"))
        found |= {f"environment {key}": value for key, value in _flat(dict(known))}
    return found


def _inputs(manifest: Manifest) -> dict[str, object]:
    found: dict[str, object] = {
        "scan": manifest.scan,
        "dataset": manifest.dataset,
        "frames": manifest.frame_slice,
        "frames selected": manifest.frames_selected,
        "frames total": manifest.frames_total,
        "levels": " ".join(map(str, manifest.levels)),
    }
    for stage in manifest.stages:
        found |= {f"{stage.name}: {name}": _short(value) for name, value in stage.inputs}
    return found


def _short(value: str) -> str:
    is_digest = len(value) >= 40 and all(letter in "0123456789abcdef" for letter in value)
    return value[:16] if is_digest else value


def _of_stages(run: RunOverview, name: str) -> dict[str, float | None]:
    return {stage.name: getattr(stage, name) for stage in run.stages if getattr(stage, name) is not None}


def _counts(run: RunOverview) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for stage in run.stages:
        if stage.masks_out is not None and stage.name in ("candidates", "filter", "track", "lift"):
            what = "instances" if stage.name == "lift" else f"masks after {stage.name}"
            found[what] = stage.masks_out
        for key, value in stage.facts:
            counted = key in _FACTS or key.startswith(("tracks_level_", "instances at level "))
            if counted and isinstance(value, int | float):
                found[_FACTS.get(key, key.replace("_", " ").replace("tracks level", "tracks at level"))] = (
                    value
                )
    return found


def _scores(run_dir: Path) -> dict[str, float | None]:
    path = RunLayout(run_dir).scores
    if not path.is_file():
        return {}
    scores = load_scores(path)
    found: dict[str, float | None] = {}
    for row in scores.instances:
        if row.scores == "ranked":
            name = f"{row.target}, {_selection(row)}"
            found |= {f"{name}: AP": row.ap, f"{name}: AP50": row.ap50, f"{name}: AP25": row.ap25}
    return found | _other_scores(scores)


def _other_scores(scores: Scores) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    if scores.identity is not None:
        found["identity: IDF1"] = scores.identity.idf1
    if scores.parents is not None:
        found["parts under the right object"] = scores.parents.share
    return found


def _selection(row: InstanceScore) -> str:
    return (
        "best level"
        if row.selection == "best level"
        else ("all levels" if row.level is None else f"level {row.level}")
    )


def pairs(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> tuple[FigurePair, ...]:
    """Return the figures of two mappings side by side, those of one only among them."""
    return tuple(
        FigurePair(name=name, a=_number(a.get(name)), b=_number(b.get(name)))
        for name in dict.fromkeys((*a, *b))
    )


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _with_total(pairs: tuple[FigurePair, ...]) -> tuple[FigurePair, ...]:
    if not pairs:
        return ()
    total = FigurePair(
        name="all", a=round(sum(p.a or 0.0 for p in pairs), 3), b=round(sum(p.b or 0.0 for p in pairs), 3)
    )
    return (*pairs, total)
