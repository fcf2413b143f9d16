"""Digests of stages: what a stage's result depends on, and what changed since it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import my3dis
from my3dis import plugins
from my3dis.config import Config
from my3dis.config.fields import value_of
from my3dis.protocols import SceneReader
from my3dis.runs.checkpoints import checkpoint_digest
from my3dis.runs.manifest import StageRecord
from my3dis.runs.provenance import tree_digest
from my3dis.stages.context import StageContext, StageOutcome

__all__ = ["Stage", "StageFingerprint", "fingerprint_of", "used_plugins", "what_changed"]

_ORACLE = "oracle"
_SHOWN = 60
# Setting that says where weights are -> input that says what is in them.
_CHECKPOINTS = {
    "stages.ssam.checkpoint": "ssam checkpoint",
    "stages.tracker.checkpoint": "tracker checkpoint",
}


class Stage(Protocol):
    """A step's module."""

    NAME: str
    CONFIG_FIELDS: tuple[str, ...]
    INPUTS: tuple[str, ...]
    OUTPUTS: tuple[str, ...]

    def run(self, context: StageContext) -> StageOutcome:
        """Do the step."""
        ...


@dataclass(frozen=True, slots=True)
class StageFingerprint:
    """What a stage's result depends on.

    Attributes:
        digest: of all that follows.
        settings: (dotted key, value).
        inputs: (name, digest or version).
    """

    digest: str
    settings: tuple[tuple[str, object], ...]
    inputs: tuple[tuple[str, str], ...]


def fingerprint_of(
    stage: Stage,
    config: Config,
    reader: SceneReader,
    frames: Sequence[int],
    upstream: Mapping[str, str],
) -> StageFingerprint:
    """Return the fingerprint of a stage.

    Args:
        stage: its module.
        config: resolved settings.
        reader: the scan.
        frames: selected frame indices.
        upstream: name of an earlier stage that it reads from → that stage's digest.
    """
    settings = tuple((key, _plain(value_of(config, key))) for key in stage.CONFIG_FIELDS)
    chosen = hashlib.sha256(json.dumps(list(frames)).encode()).hexdigest()
    inputs = {
        "my3dis": my3dis.__version__,
        "scan": f"{reader.overview.dataset} {reader.fingerprint()}",
        "frames": f"{len(frames)} of {len(reader)} {chosen}",
        **dict(used_plugins(stage, config)),
        **dict(_other_files(stage, config, reader)),
        **{f"stage {name}": digest for name, digest in upstream.items()},
    }
    # Weights that are here count by their content: the same ones in another place change nothing.
    compared = [(key, value) for key, value in settings if _CHECKPOINTS.get(key) not in inputs]
    text = json.dumps([stage.NAME, compared, sorted(inputs.items())], sort_keys=True, default=str)
    return StageFingerprint(hashlib.sha256(text.encode()).hexdigest(), settings, tuple(inputs.items()))


def used_plugins(stage: Stage, config: Config) -> tuple[tuple[str, str], ...]:
    """Return (role, name and version) of the back ends that a stage uses."""
    found: list[tuple[str, str]] = []
    if "stages.ssam.proposer" in stage.CONFIG_FIELDS:
        name = config.stages.ssam.proposer
        found.append(("proposer", f"{name} {plugins.proposer(name).version}"))
    if "stages.tracker.propagator" in stage.CONFIG_FIELDS:
        name = config.stages.tracker.propagator
        # `auto` picks one by what the scan has, so a new version of either makes the stage new.
        names = ("flow", "warp") if name == "auto" else (name,)
        versions = ", ".join(f"{n} {plugins.tracker(n).version}" for n in names)
        found.append(("tracker", f"auto: {versions}" if name == "auto" else versions))
    return tuple(found)


def what_changed(old: StageRecord, new: StageFingerprint) -> tuple[str, ...]:
    """Return a sentence per difference, ``key: old -> new``; those of earlier stages are left to them."""
    before, after = dict(old.settings), dict(new.settings)
    changes = [
        f"{key}: {_shown(before.get(key))} -> {_shown(after.get(key))}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]
    had, has = dict(old.inputs), dict(new.inputs)
    changes.extend(
        _input_change(name, had.get(name), has.get(name))
        for name in dict.fromkeys([*had, *has])
        if had.get(name) != has.get(name)
        and not name.startswith("stage ")
        and not (name == "frames" and changes)
    )
    return tuple(changes)


def _input_change(name: str, old: str | None, new: str | None) -> str:
    if name == "scan":
        return "scan: its files changed"
    if name == "frames":
        return (
            f"frames: {_head(old)} -> {_head(new)}" if _head(old) != _head(new) else "frames: others chosen"
        )
    if name in ("my3dis", "proposer", "tracker"):
        return f"{name}: {old or 'none'} -> {new or 'none'}"
    return f"{name}: its files changed"


def _head(text: str | None) -> str:
    return (text or "none").rpartition(" ")[0] or "none"


def _other_files(stage: Stage, config: Config, reader: SceneReader) -> Iterator[tuple[str, str]]:
    """Yield digests of files besides the scan's that a stage reads; names and times, except for weights."""
    for key, name in _CHECKPOINTS.items():
        checkpoint = value_of(config, key) if key in stage.CONFIG_FIELDS else None
        digest = checkpoint_digest(checkpoint if isinstance(checkpoint, str) else None)
        if digest is not None:
            yield name, digest
    if "stages.ssam.recorded_root" in stage.CONFIG_FIELDS and config.stages.ssam.recorded_root is not None:
        yield "recorded_root", tree_digest(config.stages.ssam.recorded_root)
    truth = reader.overview.ground_truth
    if truth is not None and (stage.NAME == "evaluate" or _is_oracle(stage, config)):
        yield "ground truth", tree_digest(truth)


def _is_oracle(stage: Stage, config: Config) -> bool:
    return any(
        field in stage.CONFIG_FIELDS and value_of(config, field) == _ORACLE
        for field in ("stages.ssam.proposer", "stages.tracker.propagator")
    )


def _plain(value: object) -> object:
    plain: object = json.loads(json.dumps(value, default=str))
    return plain


def _shown(value: object) -> str:
    text = "null" if value is None else json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
