"""One scan end to end: frames in; tracked masks, 3D instances and a report out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from my3dis.config import Config
from my3dis.config.load import load_config
from my3dis.errors import ConfigError
from my3dis.monitoring.display import Display, SilentDisplay
from my3dis.monitoring.profile import MemoryProfile
from my3dis.runs.checkpoints import fetch_checkpoints
from my3dis.runs.fit import check_fit
from my3dis.runs.manifest import read_manifest
from my3dis.runs.plan import STAGE_NAMES, RunInputs, plan_single, plan_stages, refuse_changes, stages_after
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

__all__ = ["RunResult", "run_scan", "run_stage"]

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


def run_scan(  # noqa: PLR0913 - one argument per option of `my3dis run`
    scan: str | Path,
    output: str | Path | None = None,
    config: Config | Mapping[str, object] | None = None,
    *,
    keep: bool = False,
    dry_run: bool = False,
    profile_memory: bool = False,
    display: Display | None = None,
) -> RunResult:
    """Take one scan through all stages; what is there with the same settings and inputs is taken over.

    Args:
        scan: folder or video file.
        output: folder for all runs; None takes ``experiment.output_root``.
        config: settings, nested or dotted; they stand above ``MY3DIS_*``, ``.env`` and defaults. A `Config`
            is taken as it is.
        keep: refuse, instead of replacing results that were made with other settings.
        dry_run: say what would be done and do nothing.
        profile_memory: keep the curve of every stage's memory, in the result and in ``memory_profile.json``.
        display: shows the run; None shows nothing.

    Raises:
        ConfigError, DataError, ArchiveError, PluginError, ResourceError, StageError: with what to do.
    """
    settings = config if isinstance(config, Config) else load_config(values=config)
    inputs = open_inputs(Path(scan), Path(output) if output is not None else None, settings)
    earlier = earlier_manifest(inputs.layout)
    if not dry_run:
        fetch_checkpoints(inputs.config)
    plan = plan_stages(inputs, earlier)
    display = display or SilentDisplay()
    introduce(inputs, plan, display)
    if keep:
        refuse_changes(plan, inputs.layout)
    if dry_run:
        planned = [StageResult(name=p.name, status="reused" if p.reuse else "planned") for p in plan]
        return _result_of(inputs, tuple(planned))
    if any(planned.name == "track" and not planned.reuse for planned in plan):
        require_tracker(inputs.config, inputs.reader)
    with open_session(inputs, plan, earlier, display) as run:
        run.profile_memory = profile_memory
        write_config(inputs)
        check_fit(run)
        run.stage("candidates")
        run.stage("filter")
        run.stage("track")
        run.stage("lift")
        run.stage("evaluate")
        run.stage("report")
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
