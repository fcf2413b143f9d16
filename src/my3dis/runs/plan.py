"""Decide, before anything starts, which stages of a run are made and which are taken over."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from my3dis.archive import open_archive
from my3dis.config import Config
from my3dis.errors import ArchiveError, ConfigError, StageError
from my3dis.protocols import SceneReader
from my3dis.runs.checkpoints import absolute_checkpoint
from my3dis.runs.digest import Stage, StageFingerprint, fingerprint_of, what_changed
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import Manifest, StageRecord, StageStatus

__all__ = [
    "STAGE_NAMES",
    "PlannedStage",
    "RunInputs",
    "load_stage",
    "output_paths",
    "plan_single",
    "plan_stages",
    "refuse_changes",
    "stages_after",
    "with_absolute_paths",
]

STAGE_NAMES = ("candidates", "filter", "track", "lift", "evaluate", "report")
"""The steps in the order in which they run."""

_ARCHIVE = ".my3dis"
_NEW = "not made yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """What a run is made from, and where it goes."""

    reader: SceneReader
    frames: tuple[int, ...]
    config: Config
    layout: RunLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One step of the plan.

    Attributes:
        stage: its module.
        fingerprint: of settings and inputs.
        reuse: its result is there already.
        changes: how settings and inputs differ from those of the result that is there.
        why: why it is made, when it is.
    """

    stage: Stage
    fingerprint: StageFingerprint
    reuse: bool
    changes: tuple[str, ...] = ()
    why: str = ""

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.NAME

    @property
    def is_first(self) -> bool:
        """Whether the stage was never made before."""
        return self.why == _NEW


def load_stage(name: str) -> Stage:
    """Return the module of a step."""
    return cast("Stage", importlib.import_module(f"my3dis.stages.{name}"))


def output_paths(stage: Stage, layout: RunLayout, config: Config) -> tuple[Path, ...]:
    """Return every file and folder that a stage may write."""
    paths = []
    for name in stage.OUTPUTS:
        value = getattr(layout, name)
        paths.append(value(config.stages.report.name) if callable(value) else value)
    return tuple(paths)


def plan_stages(
    inputs: RunInputs, manifest: Manifest | None, names: Sequence[str] = STAGE_NAMES
) -> tuple[PlannedStage, ...]:
    """Return the plan of a run: what is there with the same digest is taken over.

    Raises:
        ArchiveError: if an archive of a finished stage is damaged or was changed since.
        PluginError: if a back end that the settings name is missing.
    """
    plan: list[PlannedStage] = []
    makers: dict[str, str] = {}
    digests: dict[str, str] = {}
    for name in names:
        stage = load_stage(name)
        upstream = {makers[i]: digests[makers[i]] for i in stage.INPUTS if i in makers}
        fingerprint = fingerprint_of(stage, inputs.config, inputs.reader, inputs.frames, upstream)
        digests[name] = fingerprint.digest
        makers |= dict.fromkeys(stage.OUTPUTS, name)
        record = manifest.stage(name) if manifest else None
        plan.append(_planned(stage, fingerprint, record, inputs.layout))
    return tuple(plan)


def plan_single(inputs: RunInputs, manifest: Manifest, name: str) -> PlannedStage:
    """Return the plan to make one stage of a run again, from what the stages before it left there.

    Raises:
        StageError: if a stage that it reads from is not finished, or what it wrote is not there any more.
        ArchiveError: if an archive that it reads is damaged or was changed since.
    """
    stage = load_stage(name)
    upstream: dict[str, str] = {}
    for earlier in STAGE_NAMES[: STAGE_NAMES.index(name)]:
        if not set(load_stage(earlier).OUTPUTS) & set(stage.INPUTS):
            continue
        record = manifest.stage(earlier)
        if record is None or not record.is_complete:
            raise StageError(
                f"the stage {name} reads what {earlier} writes, but {earlier} is "
                f"{record.status if record else 'not made yet'}; run `my3dis stage {earlier} "
                f"{inputs.layout.root}` or `my3dis run` first"
            )
        # Without its input a stage would find nothing to do, and that would pass for its result.
        lost = _lost(record, inputs.layout)
        if lost:
            raise StageError(
                f"the stage {name} reads what {earlier} writes, but {lost}; run "
                f"`my3dis stage {earlier} {inputs.layout.root}` or `my3dis run` first"
            )
        upstream[earlier] = record.digest
    fingerprint = fingerprint_of(stage, inputs.config, inputs.reader, inputs.frames, upstream)
    return PlannedStage(stage=stage, fingerprint=fingerprint, reuse=False, why="asked for")


def stages_after(name: str) -> tuple[str, ...]:
    """Return the later stages that read, directly or not, what a stage writes."""
    written = set(load_stage(name).OUTPUTS)
    found = []
    for later in STAGE_NAMES[STAGE_NAMES.index(name) + 1 :]:
        stage = load_stage(later)
        if written & set(stage.INPUTS):
            written |= set(stage.OUTPUTS)
            found.append(later)
    return tuple(found)


def refuse_changes(plan: Sequence[PlannedStage], layout: RunLayout) -> None:
    """Refuse to replace results that were made with other settings.

    Raises:
        ConfigError: saying what changed.
    """
    changes = list(dict.fromkeys(change for planned in plan for change in planned.changes))
    if changes:
        raise ConfigError(
            f"--keep: {layout.root} was made with other settings: {'; '.join(changes)}; "
            "give this run another --name, or leave out --keep"
        )


def with_absolute_paths(config: Config) -> Config:
    """Return the settings with every path made absolute, so that they mean the same from any folder."""
    experiment, ssam, tracker = config.experiment, config.stages.ssam, config.stages.tracker
    root = experiment.dataset_root
    recorded = ssam.recorded_root
    alignment = experiment.correct.alignment
    aligned = {"alignment": alignment.absolute() if alignment else None}
    experiment = experiment.model_copy(
        update={
            "output_root": experiment.output_root.absolute(),
            "dataset_root": root.absolute() if root else None,
            "correct": experiment.correct.model_copy(update=aligned),
        }
    )
    ssam = ssam.model_copy(
        update={
            "recorded_root": recorded.absolute() if recorded else None,
            "checkpoint": absolute_checkpoint(ssam.checkpoint),
        }
    )
    tracker = tracker.model_copy(update={"checkpoint": absolute_checkpoint(tracker.checkpoint)})
    stages = config.stages.model_copy(update={"ssam": ssam, "tracker": tracker})
    return config.model_copy(update={"experiment": experiment, "stages": stages})


def _planned(
    stage: Stage, fingerprint: StageFingerprint, record: StageRecord | None, layout: RunLayout
) -> PlannedStage:
    plan = PlannedStage(stage=stage, fingerprint=fingerprint, reuse=False)
    if record is None:
        return replace(plan, why=_NEW)
    if record.digest != fingerprint.digest:
        changes = what_changed(record, fingerprint)
        return replace(plan, changes=changes, why="; ".join(changes) or "an earlier stage changed")
    if not record.is_complete:
        return replace(plan, why=_unfinished(record.status))
    lost = _lost(record, layout)
    if lost:
        return replace(plan, why=lost)
    return replace(plan, reuse=True)


def _unfinished(status: StageStatus) -> str:
    if status is StageStatus.STALE:
        return "an earlier stage was made again"
    return f"it was {'stopped' if status is StageStatus.RUNNING else status} before its end"


def _lost(record: StageRecord, layout: RunLayout) -> str | None:
    """Return which outputs of a finished stage are missing or no more what it wrote, or None.

    Raises:
        ArchiveError: if an archive is damaged or was changed since; it holds work of hours, so nothing
            replaces it unasked.
    """
    missing = [name for name, _ in record.outputs if not (layout.root / name).exists()]
    if missing:
        return f"{', '.join(missing)} is missing"
    for name, size in record.outputs:
        path = layout.root / name
        if name.endswith(_ARCHIVE):
            _check_archive(path, size)
        elif path.is_file() and path.stat().st_size != size:
            return f"{name} was changed since"
    return None


def _check_archive(path: Path, size: int) -> None:
    with open_archive(path):
        found = path.stat().st_size
    if found != size:
        raise ArchiveError(
            f"{path}: expected the {size} bytes that its stage wrote, found {found}: it was changed or cut "
            "off since; delete it and run again (only the stages that need it are repeated)"
        )
