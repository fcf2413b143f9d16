"""One scan end to end: frames in; tracked masks, 3D instances and a report out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from my3dis.config import Config
from my3dis.config.load import load_config
from my3dis.errors import ConfigError, StageError
from my3dis.monitoring.display import Display, SilentDisplay
from my3dis.monitoring.profile import MemoryProfile
from my3dis.runs.checkpoints import fetch_checkpoints
from my3dis.runs.fit import check_fit
from my3dis.runs.manifest import read_manifest
from my3dis.runs.plan import (
    STAGE_NAMES,
    PlannedStage,
    RunInputs,
    plan_single,
    plan_stages,
    refuse_changes,
    stages_after,
)
from my3dis.runs.session import RunSession, StageResult
from my3dis.runs.start import (
    earlier_manifest,
    introduce,
    open_inputs,
    open_session,
    reopen_inputs,
    write_config,
)
from my3dis.runs.summary import record_history, write_summary
from my3dis.stages.context import StageWarning
from my3dis.stages.track import require_tracker

__all__ = ["Attempt", "RunResult", "run_scan", "run_stage"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run left behind.

    Attributes:
        run_dir: the run's folder.
        report: the page to open, or None when there is none.
        scores: the file of scores, or None without ground truth.
        stages: how each stage ended.
        warnings: what a person should know.
        memory: of the stages that were made, over their frames, where that was asked for.
    """

    run_dir: Path
    report: Path | None
    scores: Path | None
    stages: tuple[StageResult, ...]
    warnings: tuple[StageWarning, ...] = ()
    memory: tuple[MemoryProfile, ...] = ()

    @property
    def did_nothing(self) -> bool:
        """Whether everything was there already."""
        return all(stage.status == "reused" for stage in self.stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What a scheduler knows of an attempt to make stages.

    Attributes:
        settings: (dotted key, value) that hold for this attempt only, such as smaller batches or the device
            that was lent to it. They are no part of what a stage is recorded to be made from.
        since: UTC time in ISO 8601 at which the scheduler began; stages that were finished since then count
            as made by this run and not as taken over.
        complete: make also the stages before those asked for, where they are not there with these settings.
    """

    settings: tuple[tuple[str, object], ...] = ()
    since: str | None = None
    complete: bool = False


def run_scan(  # noqa: PLR0913 - one argument per option of `my3dis run`
    scan: str | Path,
    output: str | Path | None = None,
    config: Config | Mapping[str, object] | None = None,
    *,
    keep: bool = False,
    dry_run: bool = False,
    profile_memory: bool = False,
    display: Display | None = None,
    stages: Sequence[str] | None = None,
    attempt: Attempt | None = None,
) -> RunResult:
    """Take one scan through its stages; what is there with the same settings and inputs is taken over.

    Args:
        scan: folder or video file.
        output: folder for all runs; None takes ``experiment.output_root``.
        config: settings, nested or dotted; they stand above ``MY3DIS_*``, ``.env`` and defaults. A `Config`
            is taken as it is.
        keep: refuse, instead of replacing results that were made with other settings.
        dry_run: say what would be done and do nothing.
        profile_memory: keep the curve of every stage's memory, in the result and in ``memory_profile.json``.
        display: shows the run; None shows nothing.
        stages: to make, in order, or None for all; what lies between them is taken over or made too. Those
            before must be there; when none is left to be made after them, the run is finished as a whole.
        attempt: what a scheduler knows of this attempt.

    Raises:
        ConfigError, DataError, ArchiveError, PluginError, ResourceError, StageError: with what to do.
    """
    attempt = attempt or Attempt()
    names = _span(stages)
    settings = config if isinstance(config, Config) else load_config(values=config)
    inputs = open_inputs(Path(scan), Path(output) if output is not None else None, settings)
    earlier = earlier_manifest(inputs.layout)
    if not dry_run:
        fetch_checkpoints(inputs.config, STAGE_NAMES if attempt.complete else names)
    plan = plan_stages(inputs, earlier)
    names = _with_those_before(plan, names, inputs, complete=attempt.complete)
    display = display or SilentDisplay()
    introduce(inputs, plan, display)
    if keep:
        refuse_changes(plan, inputs.layout)
    if dry_run:
        asked = [p for p in plan if p.name in names]
        results = [StageResult(name=p.name, status="reused" if p.reuse else "planned") for p in asked]
        return _result_of(inputs, tuple(results))
    if any(planned.name == "track" and planned.name in names and not planned.reuse for planned in plan):
        require_tracker(inputs.config, inputs.reader)
    with open_session(inputs, plan, earlier, display) as run:
        run.profile_memory = profile_memory
        write_config(inputs)
        check_fit(run)
        if attempt.settings:
            _adjust(run, attempt.settings)
        _take_over(run, plan[: STAGE_NAMES.index(names[0])], attempt.since)
        for name in names:
            run.stage(name)
        after = plan[STAGE_NAMES.index(names[-1]) + 1 :]
        if any(not planned.reuse for planned in after):
            run.events.append("stages_finished", stages=names)
            return _result(run)
        for planned in after:
            run.stage(planned.name)
        return _finish(run)


def run_stage(
    run_dir: str | Path,
    name: str,
    *,
    levels: tuple[int, ...] | None = None,
    profile_memory: bool = False,
    display: Display | None = None,
) -> RunResult:
    """Make one stage of a run again, with the settings in the run's folder.

    Stages that read its result become stale: the next `run_scan` makes them again.

    Args:
        run_dir: the run's folder.
        name: of the stage.
        levels: some of the run's levels, or None for all; the stage's result then holds these only.
        profile_memory: keep the curve of its memory, in the result and in ``memory_profile.json``.
        display: shows the run; None shows nothing.

    Raises:
        DataError: if the folder holds no run or the scan is gone.
        ConfigError: if there is no such stage or level.
        StageError: if a stage that this one reads from is not finished.
    """
    if name not in STAGE_NAMES:
        raise ConfigError(f"expected a stage ({', '.join(STAGE_NAMES)}), found {name!r}")
    if levels is not None and name == "evaluate":
        raise ConfigError("--levels: the stage evaluate scores every level by itself; leave the option out")
    inputs = reopen_inputs(Path(run_dir), levels)
    earlier = read_manifest(inputs.layout.manifest)
    fetch_checkpoints(inputs.config, (name,))
    plan = (plan_single(inputs, earlier, name),)
    with open_session(inputs, plan, earlier, display or SilentDisplay()) as run:
        run.profile_memory = profile_memory
        after = stages_after(name)
        run.stage(name)
        run.mark_stale(after)
        run.close_as("finished" if name == STAGE_NAMES[-1] else "stale")
        write_summary(run)
        if after:
            _LOG.info("%s now rest on an older %s; `my3dis run` makes them again", ", ".join(after), name)
        return _result(run)


def _span(stages: Sequence[str] | None) -> tuple[str, ...]:
    """Return the stages from the first to the last of those asked for."""
    if stages is None:
        return STAGE_NAMES
    places = [STAGE_NAMES.index(name) for name in stages if name in STAGE_NAMES]
    if not places or len(places) != len(stages) or places != sorted(set(places)):
        known, found = ", ".join(STAGE_NAMES), ", ".join(stages) or "none"
        raise ConfigError(f"stages: expected some of {known}, in this order; found {found}")
    return STAGE_NAMES[places[0] : places[-1] + 1]


def _with_those_before(
    plan: Sequence[PlannedStage], names: tuple[str, ...], inputs: RunInputs, *, complete: bool
) -> tuple[str, ...]:
    """Return the stages to make; refuse, unless they are to be made too, when earlier ones are not there."""
    for planned in plan[: STAGE_NAMES.index(names[0])]:
        if planned.reuse:
            continue
        if complete:
            return STAGE_NAMES[STAGE_NAMES.index(planned.name) : STAGE_NAMES.index(names[-1]) + 1]
        raise StageError(
            f"{inputs.layout.root}: expected {planned.name} to be finished before {names[0]}, found: "
            f"{planned.why}; make {planned.name} first, or run all stages"
        )
    return names


def _adjust(run: RunSession, settings: Sequence[tuple[str, object]]) -> None:
    """Let settings hold for this attempt; what stages are made from is recorded already, without them."""
    values = run.inputs.config.model_dump(mode="json")
    for key, value in settings:
        *sections, field = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section[field] = value
    run.inputs = replace(run.inputs, config=load_config(values=values, environment=False))
    run.events.append("settings_adjusted", settings=dict(settings))
    _LOG.info("for this attempt only: %s", ", ".join(f"{key}={value}" for key, value in settings))


def _take_over(run: RunSession, before: Sequence[PlannedStage], since: str | None) -> None:
    """Count earlier stages as made by this run where they were made since it began, else as taken over."""
    seconds = {timing.name: timing.seconds for timing in run.stage_timings()}
    for planned in before:
        record = run.manifest.stage(planned.name)
        if record is None or since is None or record.finished is None or record.finished < since:
            run.stage(planned.name)
            continue
        run.repeat_warnings(record)
        run.results.append(
            StageResult(
                name=record.name,
                status=str(record.status),
                seconds=seconds.get(record.name, 0.0),
                message=record.message,
            )
        )


def _finish(run: RunSession) -> RunResult:
    result = _result(run)
    if result.did_nothing and run.manifest.status == "finished":
        run.events.append("run_unchanged")
        _LOG.info("nothing to do: all stages were finished with these settings")
        return result
    run.close_as("finished")
    write_summary(run)
    record_history(run)
    run.events.append("run_finished")
    return result


def _result(run: RunSession) -> RunResult:
    result = _result_of(run.inputs, tuple(run.results))
    return replace(result, warnings=tuple(run.warnings), memory=tuple(run.profiles))


def _result_of(inputs: RunInputs, stages: tuple[StageResult, ...]) -> RunResult:
    layout = inputs.layout
    report = layout.report(inputs.config.stages.report.name)
    return RunResult(
        run_dir=layout.root,
        report=report if report.is_file() else None,
        scores=layout.scores if layout.scores.is_file() else None,
        stages=stages,
    )
