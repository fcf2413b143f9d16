"""Make a run of an old run's folder: its masks and tracks in archives, with a manifest that says so.

An import is a session like any other: every stage is recorded with what it was made from, a killed import
goes on, and a second one finds nothing to do. Stages that an old run lacks are skipped with a reason.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from my3dis.archive import open_archive
from my3dis.archive.legacy import LegacyRun, open_legacy_run
from my3dis.errors import ConfigError
from my3dis.monitoring.display import Display, SilentDisplay
from my3dis.runs.absent_scan import AbsentScan
from my3dis.runs.digest import StageFingerprint
from my3dis.runs.import_frames import ImportSource, misfits
from my3dis.runs.import_inputs import ImportOptions, import_inputs
from my3dis.runs.import_stages import ImportCandidates, ImportFiltered
from my3dis.runs.import_tracks import ImportTracks
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import AS_RECORDED, IMPORT_SIZE, IMPORTED_FROM, Manifest, StageRecord, StageStatus
from my3dis.runs.plan import PlannedStage, RunInputs, stages_after
from my3dis.runs.session import RunSession
from my3dis.runs.start import earlier_manifest, open_session, write_config
from my3dis.runs.summary import record_history, write_summary
from my3dis.stages.context import StageWarning

__all__ = ["ImportOptions", "ImportResult", "import_legacy_run"]

_VERSION = "1"
"""Changes when the same old run gives another result."""

NOT_MADE = "not made yet"
"""What a plan says of a stage that was never made."""

_NO_INSTANCES = "the earlier system made no 3D instances; `my3dis stage lift` makes them of posed RGB-D scans"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What an import left behind.

    Attributes:
        run_dir: the new run's folder.
        masks: (archive, masks, frames) of the archives that were written.
        has_scan: whether the scan's images are there, for the report and later stages.
        fits_scan: whether the masks have the size of those images, as the report needs them.
        did_nothing: whether everything was there already.
        warnings: what a person should know.
    """

    run_dir: Path
    masks: tuple[tuple[str, int, int], ...]
    has_scan: bool
    fits_scan: bool
    did_nothing: bool
    warnings: tuple[StageWarning, ...]


def import_legacy_run(
    old_run: Path, output: Path, options: ImportOptions | None = None, *, display: Display | None = None
) -> ImportResult:
    """Make a run below a folder of all runs from an old run's folder.

    Raises:
        DataError, ArchiveError: if the old run is damaged, hostile, or no old run.
        ConfigError: if the new run's folder holds another run.
        ResourceError: if the disk is full.
    """
    options, display = options or ImportOptions(), display or SilentDisplay()
    run = open_legacy_run(old_run)
    inputs, source = import_inputs(run, output, options)
    earlier = earlier_manifest(inputs.layout)
    _refuse_other(earlier, run, inputs.layout)
    plan = _plan(source, inputs, earlier)
    _introduce(run, inputs, display)
    with open_session(inputs, plan, earlier, display) as session:
        write_config(inputs)
        for planned in plan:
            session.stage(planned.name)
        did_nothing = all(result.status == "reused" for result in session.results)
        if not did_nothing:
            _close(session, run)
    return ImportResult(
        run_dir=inputs.layout.root,
        masks=_written(inputs.layout),
        has_scan=not isinstance(inputs.reader, AbsentScan),
        fits_scan=not misfits(inputs.layout, inputs.reader),
        did_nothing=did_nothing,
        warnings=tuple(session.warnings),
    )


def _refuse_other(earlier: Manifest | None, run: LegacyRun, layout: RunLayout) -> None:
    """Refuse to write over a run that was not imported from this folder.

    Raises:
        ConfigError: saying what is there.
    """
    record = earlier.stage("candidates") if earlier else None
    origin = dict(record.inputs).get(IMPORTED_FROM) if record else None
    if earlier is not None and origin != str(run.root.absolute()):
        raise ConfigError(
            f"expected a new folder at {layout.root}, found a run that was "
            f"{f'imported from {origin}' if origin else 'not imported'}; give this one another --name"
        )


def _plan(source: ImportSource, inputs: RunInputs, earlier: Manifest | None) -> tuple[PlannedStage, ...]:
    origin = str(source.run.root.absolute())
    files = _digest_of_files(source.run)
    size = "x".join(map(str, source.image_size or ())) or AS_RECORDED
    made_of = ((IMPORTED_FROM, origin), ("old files", files), (IMPORT_SIZE, size), ("importer", _VERSION))
    plan: list[PlannedStage] = []
    for stage in (ImportCandidates(source), ImportFiltered(source), ImportTracks(source)):
        # The last stage compares the masks with the scan, which may have been found since.
        scan = (("scan", str(inputs.reader.overview.root)),) if stage.NAME == "track" else ()
        text = json.dumps([stage.NAME, made_of, scan, inputs.frames])
        fingerprint = StageFingerprint(hashlib.sha256(text.encode()).hexdigest(), (), made_of + scan)
        record = earlier.stage(stage.NAME) if earlier else None
        reuse = record is not None and record.digest == fingerprint.digest and record.is_complete
        reuse = reuse and record is not None and _is_whole(record, inputs.layout)
        why = NOT_MADE if record is None else "the old run or the options changed, or it was stopped"
        plan.append(PlannedStage(stage=stage, fingerprint=fingerprint, reuse=reuse, why=why))
    return tuple(plan)


def _is_whole(record: StageRecord, layout: RunLayout) -> bool:
    paths = [(layout.root / name, size) for name, size in record.outputs]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _digest_of_files(run: LegacyRun) -> str:
    """Return a digest of names, sizes and times of what an import reads; no file is opened."""
    total = hashlib.sha256()
    folders = [run.root / f"level_{level.level}" for level in run.levels]
    for pattern, folder in [("*.json", run.root), ("relations/*.json", run.root)] + [
        (pattern, folder)
        for folder in folders
        for pattern in ("*/*.json", "filtered/*.npy", "raw/*", "tracking/*.npz", "*.npz")
    ]:
        for path in sorted(folder.glob(pattern)):
            found = path.stat()
            total.update(f"{path.relative_to(run.root)}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return total.hexdigest()


def _introduce(run: LegacyRun, inputs: RunInputs, display: Display) -> None:
    display.say("Old run", str(run.root.absolute()))
    display.say("Frames", f"{len(run.manifest.selected_frames) or 'unknown'} selected")
    for level in run.levels:
        parts = (
            ("candidates.json", level.candidates),
            ("raw masks", level.raw),
            ("filtered.json", level.filtered),
            ("tracked masks", level.segments),
        )
        there = ", ".join(name for name, path in parts if path) or "nothing"
        missing = ", ".join(name for name, path in parts if not path)
        display.say(f"Level {level.level}", f"{there}{f'; no {missing}' if missing else ''}")
    for sentence in inputs.reader.overview.missing:
        display.say("Missing", sentence)
    display.say("Output", str(inputs.layout.root))


def _close(session: RunSession, run: LegacyRun) -> None:
    """Record the stages that an old run does not have, and how the import ended."""
    session.mark_stale(stages_after("track"))
    for name in ("lift", "evaluate"):
        record = session.manifest.stage(name)
        if record is None or record.message == _NO_INSTANCES:
            status = StageStatus.SKIPPED
            session.save(StageRecord(name=name, status=status, digest="", message=_NO_INSTANCES))
    session.close_as("finished")
    write_summary(session)
    record_history(session)
    session.events.append("run_imported", source=str(run.root.absolute()))


def _written(layout: RunLayout) -> tuple[tuple[str, int, int], ...]:
    found = []
    for path in (layout.candidates, layout.masks, layout.tracks):
        if path.is_file():
            with open_archive(path) as reader:
                found.append((path.name, reader.count(), len(reader.frames())))
    return tuple(found)
