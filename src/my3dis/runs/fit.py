"""Look, before the first stage, whether poses, depth, intrinsics and mesh of the scan belong together."""

from __future__ import annotations

import hashlib
import json
import logging
import math

from my3dis.datasets.check import ScanCheck, check_scan
from my3dis.errors import DataError
from my3dis.runs.events import now_utc
from my3dis.runs.manifest import StageRecord, StageStatus
from my3dis.runs.session import RunSession
from my3dis.stages.context import StageWarning

__all__ = ["CHECK_NAME", "check_fit"]

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
    if setting == "off" or not inputs.reader.overview.is_posed_rgbd:
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
        run.events.append("scan_checked", fits=found.fits, message=found.message, **_figures(found))
        if not found.fits and setting == "stop":
            raise DataError(
                f"{inputs.reader.overview.root}: {found.message}. "
                "`--set experiment.check=warn` runs it all the same"
            )
        _finish(run, record, found)


def _finish(run: RunSession, record: StageRecord, found: ScanCheck) -> None:
    warnings: tuple[tuple[str, str, int | None], ...] = ()
    if found.fits:
        _LOG.info("check: %s", found.message)
    else:
        message = f"{found.message}; 3D results may be wrong"
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


def _figures(found: ScanCheck) -> dict[str, float | int | None]:
    """Return the figures with null for what was not judged."""
    figures = {
        "median_error_m": found.median_error_m,
        "agreement": found.agreement,
        "mesh_agreement": found.mesh_agreement,
    }
    known = {name: None if value is None or math.isnan(value) else value for name, value in figures.items()}
    return {**known, "pairs": found.pairs}
