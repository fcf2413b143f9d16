"""Look, before the first stage, whether poses, depth, intrinsics and mesh of the scan belong together."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from pathlib import Path

from my3dis.datasets.check import CheckOptions, ScanCheck, can_be_checked, check_scan
from my3dis.datasets.check.pictures import draw_check
from my3dis.errors import DataError
from my3dis.reporting.pictures import encode_jpeg
from my3dis.runs.events import now_utc
from my3dis.runs.files import atomic_write_bytes, make_folder
from my3dis.runs.manifest import StageRecord, StageStatus
from my3dis.runs.session import RunSession
from my3dis.stages.context import StageWarning

__all__ = ["CHECK_NAME", "check_fit", "facts_of", "write_pictures"]

CHECK_NAME = "check"
"""Name of the check in the manifest and in the events; it is no stage, but recorded like one."""

_LOG = logging.getLogger(__name__)


def check_fit(run: RunSession) -> None:
    """Check a posed RGB-D scan as ``experiment.check`` says; what was checked before is not checked again.

    Raises:
        DataError: if the scan does not fit together and the setting is ``stop``.
    """
    inputs = run.inputs
    setting = inputs.config.experiment.check
    if setting == "off" or not can_be_checked(inputs.reader):
        return
    content = json.dumps([setting, inputs.reader.fingerprint(), list(inputs.frames)])
    digest = hashlib.sha256(content.encode()).hexdigest()
    earlier = run.manifest.stage(CHECK_NAME)
    if earlier is not None and earlier.digest == digest and earlier.is_complete:
        run.repeat_warnings(earlier)
        return
    record = StageRecord(
        name=CHECK_NAME,
        status=StageStatus.RUNNING,
        digest=digest,
        settings=(("experiment.check", setting),),
        started=now_utc(),
    )
    run.events.append("stage_started", stage=CHECK_NAME)
    with run.recording_failure(record):
        found = check_scan(inputs.reader, inputs.frames)
        if not found.fits:
            write_pictures(run.inputs.layout.check_pictures, found)
        run.events.append("scan_checked", **facts_of(found))
        if not found.fits and setting == "stop":
            raise DataError(
                f"{inputs.reader.overview.root}: {found.message}. {_advice(found)}; see the pictures in "
                f"{run.inputs.layout.check_pictures}. `--set experiment.check=warn` runs it all the same"
            )
        _finish(run, record, found)


def _advice(found: ScanCheck) -> str:
    """Return what to do about a misfit: the options that correct it, where there are some."""
    if not found.settings:
        return f"Cause: {found.cause}"
    return f"Cause: {found.cause}; add {found.how_to_correct} to correct it"


def write_pictures(folder: Path, found: ScanCheck) -> tuple[Path, ...]:
    """Write the overlays of a check as JPEG files into a folder, which is made; return their paths."""
    if found.evidence is None:
        return ()
    make_folder(folder)
    paths = []
    for picture in draw_check(found.evidence, found.corrections, CheckOptions()):
        path = folder / f"{picture.name}.jpg"
        atomic_write_bytes(path, encode_jpeg(picture.rgb))
        paths.append(path)
    return tuple(paths)


def _finish(run: RunSession, record: StageRecord, found: ScanCheck) -> None:
    warnings: tuple[tuple[str, str, int | None], ...] = ()
    if found.fits:
        _LOG.info("check: %s", found.message)
    else:
        message = f"{found.message}. {_advice(found)}; 3D results may be wrong"
        run.warn(StageWarning(stage=CHECK_NAME, reason="scan_does_not_fit", message=message))
        warnings = (("scan_does_not_fit", message, None),)
    run.save(
        StageRecord(
            name=record.name,
            status=StageStatus.DONE,
            digest=record.digest,
            settings=record.settings,
            started=record.started,
            finished=now_utc(),
            message=found.message,
            warnings=warnings,
        )
    )


def facts_of(found: ScanCheck) -> dict[str, object]:
    """Return the figures as plain data, with null for what was not judged."""

    def known(value: float | None) -> float | None:
        return None if value is None or math.isnan(value) else value

    return {
        "fits": found.fits,
        "cause": found.cause,
        "causes": list(found.causes),
        "message": found.message,
        "settings": dict(found.settings),
        "median_error_m": known(found.median_error_m),
        "agreement": known(found.agreement),
        "mesh_agreement": known(found.mesh_agreement),
        "scale": found.scale,
        "shift_px": None if found.shift_px is None else list(found.shift_px),
        "pairs": found.pairs,
    }
