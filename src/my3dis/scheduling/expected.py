"""What the folder of an earlier run says about a scene: what can be taken over, and why the rest cannot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import my3dis
from my3dis.config import Config
from my3dis.config.fields import value_of
from my3dis.errors import DataError
from my3dis.runs.digest import Stage, StageFingerprint, used_plugins, what_changed
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import Manifest, StageRecord, StageStatus, read_manifest
from my3dis.runs.plan import STAGE_NAMES, load_stage

__all__ = ["SceneState", "StageState", "Wanted", "look_at_scene"]

_NEW = "not made yet"
_ARCHIVE = ".my3dis"
_CHANGED_SINCE = "was changed since"
_KNOWN_INPUTS = frozenset({"my3dis", "proposer", "tracker"})
"""Inputs of a stage that are known without its scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """A stage of a scene.

    Attributes:
        name: of the stage.
        reuse: it is there with these settings.
        why: why it is made, when it is.
        changes: how the settings differ from those that it was made with.
    """

    name: str
    reuse: bool = False
    why: str = ""
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneState:
    """A scene before a sweep.

    Attributes:
        scene, scan: its name and path.
        stages: all of them, in order.
        frames_total: frames that an earlier run found in it, 0 = unknown.
        stop: what its jobs will refuse to go on with until somebody acts, or None.
    """

    scene: str
    scan: Path
    stages: tuple[StageState, ...]
    frames_total: int = 0
    stop: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _WantedStage:
    """What the result of a stage depends on, as far as it is the same for every scene."""

    name: str
    settings: tuple[tuple[str, object], ...]
    inputs: tuple[tuple[str, str], ...]
    upstream: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the stages of every scene should have been made with."""

    stages: tuple[_WantedStage, ...]

    @classmethod
    def of(cls, config: Config) -> Wanted:
        """Return what settings with absolute paths ask for.

        Raises:
            PluginError: if a back end that they name is missing.
        """
        found, makers = [], dict[str, str]()
        for name in STAGE_NAMES:
            stage = load_stage(name)
            upstream = tuple(dict.fromkeys(makers[i] for i in stage.INPUTS if i in makers))
            makers |= dict.fromkeys(stage.OUTPUTS, name)
            found.append(_wanted(stage, config, upstream))
        return cls(tuple(found))


def _wanted(stage: Stage, config: Config, upstream: tuple[str, ...]) -> _WantedStage:
    settings = {key: value_of(config, key) for key in stage.CONFIG_FIELDS}
    # As a manifest gives them back, so that equal settings are equal.
    plain: dict[str, object] = json.loads(json.dumps(settings, default=str))
    inputs = (("my3dis", my3dis.__version__), *used_plugins(stage, config))
    return _WantedStage(name=stage.NAME, settings=tuple(plain.items()), inputs=inputs, upstream=upstream)


def look_at_scene(scan: Path, run_dir: Path, wanted: Wanted) -> SceneState:
    """Return what is there of a scene and what is to be made; reads the manifest and looks at no scan.

    Args:
        scan: folder or video file.
        run_dir: folder of its run; its parent bears the scene's name.
        wanted: what every scene should have been made with.
    """
    layout = RunLayout(run_dir)
    scene = run_dir.parent.name
    try:
        manifest = read_manifest(layout.manifest) if layout.manifest.exists() else None
    except DataError as error:
        why = f"{layout.manifest.name} is damaged"
        planned = tuple(StageState(name=stage.name, why=why) for stage in wanted.stages)
        return SceneState(scene=scene, scan=scan, stages=planned, stop=str(error))
    if manifest is None:
        new = tuple(StageState(name=stage.name, why=_NEW) for stage in wanted.stages)
        return SceneState(scene=scene, scan=scan, stages=new)
    states: list[StageState] = []
    digests: dict[str, str | None] = {}
    stop: str | None = None
    for stage in wanted.stages:
        state = _state(stage, manifest.stage(stage.name), layout, digests)
        states.append(state)
        if state.why.endswith(_CHANGED_SINCE) and _ARCHIVE in state.why:
            stop = f"{layout.root}: {state.why}; delete it (only the stages that need it are repeated)"
    return SceneState(scene=scene, scan=scan, stages=tuple(states), frames_total=_frames(manifest), stop=stop)


def _state(
    wanted: _WantedStage, record: StageRecord | None, layout: RunLayout, digests: dict[str, str | None]
) -> StageState:
    """Return the state of a stage and note the digest that its result will have, None = another than now."""
    digests[wanted.name] = None
    if record is None:
        return StageState(name=wanted.name, why=_NEW)
    changes = _changes(wanted, record)
    had = dict(record.inputs)
    moved = any(
        digests[name] is None or digests[name] != had.get(f"stage {name}") for name in wanted.upstream
    )
    if changes or moved:
        why = "; ".join(changes) or "an earlier stage changed"
        return StageState(name=wanted.name, why=why, changes=changes)
    digests[wanted.name] = record.digest
    if not record.is_complete:
        return StageState(name=wanted.name, why=_unfinished(record.status))
    lost = _lost(record, layout)
    return StageState(name=wanted.name, why=lost) if lost else StageState(name=wanted.name, reuse=True)


def _changes(wanted: _WantedStage, record: StageRecord) -> tuple[str, ...]:
    unknown = tuple((name, value) for name, value in record.inputs if name not in _KNOWN_INPUTS)
    known = tuple((name, value) for name, value in record.inputs if name in _KNOWN_INPUTS)
    if record.settings == wanted.settings and known == wanted.inputs:
        return ()
    return what_changed(record, StageFingerprint("", wanted.settings, (*wanted.inputs, *unknown)))


def _unfinished(status: StageStatus) -> str:
    if status is StageStatus.STALE:
        return "an earlier stage was made again"
    return f"it was {'stopped' if status is StageStatus.RUNNING else status} before its end"


def _lost(record: StageRecord, layout: RunLayout) -> str | None:
    """Return which output of a finished stage is missing or of another size; archives are not opened."""
    for name, size in record.outputs:
        path = layout.root / name
        try:
            found = path.stat()
        except OSError:
            return f"{name} is missing"
        if path.suffix and found.st_size != size and not path.is_dir():
            return f"{name} {_CHANGED_SINCE}"
    return None


def _frames(manifest: Manifest) -> int:
    return manifest.frames_total if isinstance(manifest.frames_total, int) else 0
