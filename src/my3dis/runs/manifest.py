"""The manifest: what each stage of a run was made from, and how far the run is."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from my3dis.errors import DataError
from my3dis.runs.files import atomic_write_json, read_json

__all__ = [
    "AS_RECORDED",
    "IMPORTED_FROM",
    "IMPORT_SIZE",
    "Manifest",
    "StageRecord",
    "StageStatus",
    "read_manifest",
    "write_manifest",
]

_FORMAT = 1

IMPORTED_FROM, IMPORT_SIZE = "imported from", "image size"
"""Inputs of stages that were imported: the old run's folder, and the size that masks were brought to."""

AS_RECORDED = "as recorded"
"""The size of masks that were brought to none."""


class StageStatus(enum.StrEnum):
    """How far a stage is; ``stale`` means that something before it was made again on its own."""

    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    STALE = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """One stage of a run.

    Attributes:
        name: of the stage.
        status: how far it is.
        digest: of settings and inputs; the same digest means the same result.
        settings: (dotted key, value) of the settings that it depends on.
        inputs: (name, digest or version) of everything else that it depends on.
        outputs: (path relative to the run's folder, bytes) of the files that it wrote.
        started, finished: UTC times in ISO 8601, or None.
        message: why it was skipped or how it failed, or None.
        warnings: (reason, message, level or None) of the warnings that it gave.
    """

    name: str
    status: StageStatus
    digest: str
    settings: tuple[tuple[str, object], ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, int], ...] = ()
    started: str | None = None
    finished: str | None = None
    message: str | None = None
    warnings: tuple[tuple[str, str, int | None], ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether the stage has nothing left to do for its digest."""
        return self.status in (StageStatus.DONE, StageStatus.SKIPPED)

    @property
    def can_continue(self) -> bool:
        """Whether the stage was stopped on its way, so that what it wrote may be gone on with."""
        return self.status in (StageStatus.RUNNING, StageStatus.FAILED, StageStatus.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a run is made of.

    Attributes:
        status: ``running``, ``finished``, ``failed`` or ``interrupted``.
        scene, scan, dataset: the scan's name, path and reader.
        run_name, tag: as in the settings.
        frame_slice, frames_selected, frames_total: the selection of frames.
        levels: granularities, coarse to fine.
        version, commit: of this package.
        plugins: (role, name and version).
        checkpoints: (path, sha256 of the file).
        started, updated: UTC times in ISO 8601.
        stages: in the order in which they ran.
    """

    status: str
    scene: str
    scan: str
    dataset: str
    run_name: str
    version: str
    started: str
    updated: str
    tag: str | None = None
    frame_slice: str = ""
    frames_selected: int = 0
    frames_total: int = 0
    levels: tuple[int, ...] = ()
    commit: str | None = None
    plugins: tuple[tuple[str, str], ...] = ()
    checkpoints: tuple[tuple[str, str], ...] = ()
    stages: tuple[StageRecord, ...] = ()

    def stage(self, name: str) -> StageRecord | None:
        """Return the record of a stage, or None when it never ran."""
        return next((record for record in self.stages if record.name == name), None)

    def with_stage(self, record: StageRecord) -> Manifest:
        """Return the manifest with one stage's record put in or replaced."""
        if self.stage(record.name) is None:
            return replace(self, stages=(*self.stages, record))
        return replace(self, stages=tuple(record if s.name == record.name else s for s in self.stages))


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest in one step; see `my3dis.runs.files.atomic_path` for errors."""
    plain = {"format": _FORMAT, **asdict(manifest)}
    for name in ("plugins", "checkpoints"):
        plain[name] = dict(plain[name])
    plain["stages"] = {record.name: _plain(record) for record in manifest.stages}
    atomic_write_json(path, plain)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        DataError: if it is missing, broken or of another version.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise DataError(
            f"{path}: expected a run manifest of format {_FORMAT}, found another; run the scan again"
        )
    fields = {name: value[name] for name in Manifest.__dataclass_fields__ if name in value}
    try:
        fields["stages"] = tuple(_record(name, stage) for name, stage in value["stages"].items())
        for name in ("plugins", "checkpoints"):
            fields[name] = tuple(value[name].items())
        fields["levels"] = tuple(value["levels"])
        return Manifest(**fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: the manifest is damaged ({error!r}); delete it and run the scan again"
        ) from error


def _plain(record: StageRecord) -> dict[str, object]:
    plain = asdict(record)
    plain["settings"] = dict(record.settings)
    plain["inputs"] = dict(record.inputs)
    plain["outputs"] = dict(record.outputs)
    plain["warnings"] = [
        {"reason": reason, "message": message, "level": level} for reason, message, level in record.warnings
    ]
    return plain


def _record(name: str, value: Mapping[str, Any]) -> StageRecord:
    fields = {key: value[key] for key in StageRecord.__dataclass_fields__ if key in value}
    fields |= {key: tuple(value[key].items()) for key in ("settings", "inputs", "outputs")}
    fields["warnings"] = tuple((w["reason"], w["message"], w["level"]) for w in value["warnings"])
    fields |= {"name": name, "status": StageStatus(value["status"])}
    return StageRecord(**fields)
