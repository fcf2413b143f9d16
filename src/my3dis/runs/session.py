"""Carry out a run: stage by stage, with everything recorded as it happens."""

from __future__ import annotations

import contextlib
import functools
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from my3dis.errors import My3DISError, ResourceError
from my3dis.monitoring.device import DeviceSampler, nvml_library
from my3dis.monitoring.display import Display
from my3dis.monitoring.profile import MemoryProfile, StageProfiler
from my3dis.monitoring.profile_view import keep_profile
from my3dis.monitoring.timings import StageTiming, read_timings, write_timings
from my3dis.runs.events import EventLog, now_utc
from my3dis.runs.files import is_disk_full, translated_os_error
from my3dis.runs.manifest import Manifest, StageRecord, StageStatus, write_manifest
from my3dis.runs.outputs import output_sizes, remove_outdated
from my3dis.runs.plan import STAGE_NAMES, PlannedStage, RunInputs, output_paths
from my3dis.stages.context import StageContext, StageOutcome, StageWarning

__all__ = ["RunSession", "StageResult"]

_LOG = logging.getLogger(__name__)
_FACTS_IN_LOG = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """How a stage of a run ended.

    Attributes:
        name: of the stage.
        status: ``done``, ``skipped``, ``reused`` or ``planned``.
        seconds: wall time in this run; 0 when reused.
        message: why it was skipped, or None.
    """

    name: str
    status: str
    seconds: float = 0.0
    message: str | None = None


class RunSession:
    """The state of a run while it goes on; `my3dis.runs.start.open_session` makes one.

    Attributes:
        inputs: what the run is made from.
        manifest: as written last.
        results: of the stages so far.
        warnings: of the stages so far.
        profile_memory: whether to keep the curve of each stage's memory.
        profiles: those curves, of the stages that were made.
    """

    def __init__(
        self, inputs: RunInputs, plan: tuple[PlannedStage, ...], manifest: Manifest, display: Display
    ) -> None:
        self.inputs = inputs
        self.manifest = manifest
        self.results: list[StageResult] = []
        self.warnings: list[StageWarning] = []
        self.profile_memory = False
        self.profiles: list[MemoryProfile] = []
        self._plan = {planned.name: planned for planned in plan}
        self._display = display
        self.events = EventLog(inputs.layout.events)
        self._timings = {timing.name: timing for timing in read_timings(inputs.layout.timings)}

    def stage(self, name: str) -> None:
        """Take over or make one stage; finished stages stay intact when it fails.

        Raises:
            My3DISError: what the stage raised; ResourceError when memory or the disk ran out.
        """
        planned = self._plan[name]
        if planned.reuse:
            self._reuse(planned)
            return
        remove_outdated(planned, self.manifest.stage(name), self.inputs)
        started = now_utc()
        record = StageRecord(
            name=name,
            status=StageStatus.RUNNING,
            digest=planned.fingerprint.digest,
            settings=planned.fingerprint.settings,
            inputs=planned.fingerprint.inputs,
            started=started,
        )
        self.save(record)
        self.events.append("stage_started", stage=name, why=planned.why)
        _LOG.info("%s started%s", name, "" if planned.is_first else f" again: {planned.why}")
        with self.recording_failure(record):
            outcome, timing = self._measured(planned)
            self._finish(record, outcome, timing)

    def warn(self, warning: StageWarning) -> None:
        """Record a warning: log, events and the run's result."""
        self.warnings.append(warning)
        self.events.append("warning", scene=self.manifest.scene, **asdict(warning))
        where = warning.stage if warning.level is None else f"{warning.stage}, level {warning.level}"
        _LOG.warning("%s: %s", where, warning.message)

    def repeat_warnings(self, record: StageRecord) -> None:
        """Take over the warnings of a stage that is not made again."""
        for reason, text, level in record.warnings:
            self.warnings.append(StageWarning(stage=record.name, reason=reason, message=text, level=level))

    def stage_timings(self) -> tuple[StageTiming, ...]:
        """Return the timings of all stages that have some, those of earlier runs included, in order."""
        return tuple(self._timings[name] for name in STAGE_NAMES if name in self._timings)

    def mark_stale(self, names: Sequence[str]) -> None:
        """Record that finished stages were made from something that is there no more."""
        for name in names:
            record = self.manifest.stage(name)
            if record is not None and record.is_complete:
                self.save(replace(record, status=StageStatus.STALE))

    def close_as(self, status: str) -> None:
        """Write how the run ended into the manifest."""
        self.manifest = replace(self.manifest, status=status, updated=now_utc())
        write_manifest(self.inputs.layout.manifest, self.manifest)

    def _reuse(self, planned: PlannedStage) -> None:
        record = self.manifest.stage(planned.name)
        message = record.message if record else None
        if planned.name in self._timings:
            self._timings[planned.name] = self._timings[planned.name].as_reused()
        if record:
            self.repeat_warnings(record)
        self.events.append("stage_reused", stage=planned.name, digest=planned.fingerprint.digest)
        _LOG.info("%s taken over", planned.name)
        self.results.append(StageResult(name=planned.name, status="reused", message=message))

    def _measured(self, planned: PlannedStage) -> tuple[StageOutcome, StageTiming]:
        begun = time.perf_counter()
        profiler = self._profiler(planned)
        gpus = DeviceSampler(nvml_library())
        try:
            with self._display.stage(planned.name) as progress, profiler.memory as memory, gpus:
                outcome = planned.stage.run(self._context(planned, profiler.watch(progress)))
                profiler.finish(max(outcome.masks_in, outcome.masks_out))
        except BaseException:
            with contextlib.suppress(ResourceError):  # what ended the stage must not be hidden
                self._keep_profile(profiler)
            raise
        self._keep_profile(profiler)
        timing = StageTiming(
            name=planned.name,
            seconds=time.perf_counter() - begun,
            peak_rss_mb=memory.peak_mb,
            rss_before_mb=memory.before_mb,
            rss_after_mb=memory.after_mb,
            # Torch's count of live tensors, and beside it the driver's of the whole process.
            peak_gpu_mb=outcome.peak_gpu_mb + gpus.peaks(),
            masks_in=outcome.masks_in,
            masks_out=outcome.masks_out,
            facts=outcome.facts,
        )
        return outcome, timing

    def _profiler(self, planned: PlannedStage) -> StageProfiler:
        config, layout = self.inputs.config, self.inputs.layout
        about = MemoryProfile(
            stage=planned.name,
            levels=tuple(config.experiment.levels),
            frames=len(self.inputs.frames),
            pass_names=getattr(planned.stage, "PASSES", ()),
        )
        archives = [p for p in output_paths(planned.stage, layout, config) if p.suffix == ".my3dis"]
        return StageProfiler(about, archives[0] if archives else None, curve=self.profile_memory)

    def _keep_profile(self, profiler: StageProfiler) -> None:
        if self.profile_memory:
            title = f"Memory of {self.manifest.scene}, run {self.manifest.run_name}"
            self.profiles.append(profiler.profile())
            keep_profile(self.inputs.layout, self.profiles[-1], title)

    def _context(self, planned: PlannedStage, progress: Callable[[int, int], None]) -> StageContext:
        return StageContext(
            reader=self.inputs.reader,
            frames=self.inputs.frames,
            layout=self.inputs.layout,
            config=self.inputs.config,
            stage_digest=planned.fingerprint.digest,
            progress=progress,
            warn=self.warn,
            tell=functools.partial(self._tell, planned.name),
        )

    def _tell(self, stage: str, event: str, facts: Mapping[str, object]) -> None:
        self.events.append(event, stage=stage, **facts)
        _LOG.info("%s: %s", stage, facts.get("message", event))

    def _finish(self, record: StageRecord, outcome: StageOutcome, timing: StageTiming) -> None:
        skipped = outcome.skipped is not None
        status = StageStatus.SKIPPED if skipped else StageStatus.DONE
        planned = self._plan[record.name]
        done = replace(
            record,
            status=status,
            finished=now_utc(),
            message=outcome.skipped,
            outputs=output_sizes(planned, self.inputs),
            warnings=tuple((w.reason, w.message, w.level) for w in self.warnings if w.stage == record.name),
        )
        self._timings[record.name] = timing
        write_timings(self.inputs.layout.timings, self.stage_timings())
        self.save(done)
        self.events.append(
            "stage_skipped" if skipped else "stage_finished",
            stage=record.name,
            seconds=round(timing.seconds, 3),
            peak_rss_mb=round(timing.peak_rss_mb, 1),
            peak_gpu_mb={gpu: round(peak_mb, 1) for gpu, peak_mb in timing.peak_gpu_mb},
            masks_in=outcome.masks_in,
            masks_out=outcome.masks_out,
            message=outcome.skipped,
        )
        if skipped:
            _LOG.info("%s skipped: %s", record.name, outcome.skipped)
        else:
            _LOG.info("%s done in %.1f s: %s", record.name, timing.seconds, _figures(outcome, timing))
        self.results.append(
            StageResult(name=record.name, status=status, seconds=timing.seconds, message=outcome.skipped)
        )

    @contextlib.contextmanager
    def recording_failure(self, record: StageRecord) -> Iterator[None]:
        """Record how a stage fails or is stopped inside the block, and pass it on."""
        try:
            with translated_shortages(record.name, self.inputs.layout.root):
                yield
        except KeyboardInterrupt:
            self._record_end(record, StageStatus.INTERRUPTED, "stopped by the user")
            raise
        except BaseException as error:
            self._record_end(record, StageStatus.FAILED, str(error) or repr(error))
            raise

    def _record_end(self, record: StageRecord, status: StageStatus, message: str) -> None:
        """Record a failure as well as a full disk allows; the failure itself is raised by the caller."""
        with contextlib.suppress(ResourceError):
            self.events.append(str(status), stage=record.name, message=message)
        with contextlib.suppress(ResourceError):
            self.save(replace(record, status=status, finished=now_utc(), message=message))

    def save(self, record: StageRecord) -> None:
        """Put a stage's record into the manifest."""
        self.manifest = replace(self.manifest.with_stage(record), updated=now_utc())
        write_manifest(self.inputs.layout.manifest, self.manifest)


@contextlib.contextmanager
def translated_shortages(name: str, folder: Path) -> Iterator[None]:
    """Turn running out of memory or disk inside a stage into `ResourceError`."""
    try:
        yield
    except My3DISError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"{name}: the memory ran out; use fewer frames (--frames ::2) or masks "
            "(--set stages.ssam.max_masks_per_level=100), then run again: finished stages are kept"
        ) from error
    except sqlite3.OperationalError as error:
        if "disk is full" not in str(error) and "disk I/O error" not in str(error):
            raise
        raise ResourceError(
            f"{name}: cannot write below {folder}: {error}; free some space, then run again: "
            "finished stages are kept"
        ) from error
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise translated_os_error(error, Path(error.filename or folder)) from error


def _figures(outcome: StageOutcome, timing: StageTiming) -> str:
    """Return the line's figures: what went in and out, the first few facts that say something, memory."""
    flow = (
        f"{outcome.masks_in:,} in, {outcome.masks_out:,} out"
        if outcome.masks_in
        else f"{outcome.masks_out:,} out"
    )
    facts = [(name.replace("_", " "), value) for name, value in outcome.facts if value not in (0, "")]
    shown = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts[:_FACTS_IN_LOG]
    ]
    return ", ".join([flow, *shown, f"peak memory {timing.peak_rss_mb:,.0f} MB"])
