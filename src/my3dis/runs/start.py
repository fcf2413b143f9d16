"""Open a scan for a run, say what was found, and hold the run's folder while it goes on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

import my3dis
from my3dis.config import Config
from my3dis.config.experiment import Frames
from my3dis.config.load import load_config
from my3dis.datasets.corrections import corrections_of, with_corrections
from my3dis.errors import ConfigError, My3DISError, ResourceError
from my3dis.monitoring.display import Display
from my3dis.plugins import open_scan
from my3dis.protocols import SceneReader
from my3dis.runs.checkpoints import used_checkpoints
from my3dis.runs.digest import used_plugins
from my3dis.runs.events import now_utc
from my3dis.runs.files import (
    atomic_write_json,
    atomic_write_text,
    make_folder,
    remove_leftovers,
)
from my3dis.runs.layout import RunLayout
from my3dis.runs.lock import run_lock
from my3dis.runs.manifest import Manifest, read_manifest
from my3dis.runs.plan import PlannedStage, RunInputs, with_absolute_paths
from my3dis.runs.provenance import Environment, environment_snapshot
from my3dis.runs.session import RunSession
from my3dis.runs.summary import record_history, record_killed
from my3dis.types import ScanOverview

__all__ = [
    "earlier_manifest",
    "introduce",
    "open_corrected",
    "open_inputs",
    "open_session",
    "predicted_skips",
    "reopen_inputs",
    "select_frames",
    "write_config",
]

_LOG = logging.getLogger(__name__)


def open_inputs(scan: Path, output: Path | None, config: Config) -> RunInputs:
    """Open a scan, select its frames and name the run's folder; nothing is written.

    Raises:
        DataError: if the scan cannot be opened.
        ConfigError: if the settings select no frame, or a path is no text.
    """
    if output is not None:
        experiment = config.experiment.model_copy(update={"output_root": output})
        config = config.model_copy(update={"experiment": experiment})
    config = with_absolute_paths(config)
    reader = open_corrected(scan, config.experiment.dataset, config)
    frames = select_frames(len(reader), config.experiment.frames)
    name = config.experiment.name
    root = Path(str(config.experiment.output_root).replace("{name}", name))
    layout = RunLayout(root / reader.overview.scene / name)
    for path in (reader.overview.root, layout.root):
        if not _is_text(path):
            raise ConfigError(
                f"expected a path in UTF-8, found {str(path)!r}; rename the folder: a run's files name it"
            )
    return RunInputs(reader=reader, frames=frames, config=config, layout=layout)


def open_corrected(scan: Path, dataset: str, config: Config) -> SceneReader:
    """Open a scan as ``experiment.correct`` makes it.

    Raises:
        DataError: if the scan cannot be opened.
        ConfigError: if the file of the alignment holds none.
    """
    return with_corrections(open_scan(scan, dataset), corrections_of(config.experiment.correct.model_dump()))


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # bytes of another encoding
        return False
    return True


def select_frames(total: int, frames: Frames) -> tuple[int, ...]:
    """Return the positions that a slice selects.

    Raises:
        ConfigError: if it selects none, telling how many there are.
    """
    selected = tuple(range(total)[frames.start : frames.end : frames.step])
    if not selected:
        raise ConfigError(
            f"experiment.frames {frames} selects none of the scan's {total} frames; "
            f"expected a start below {total} and an end above the start"
        )
    return selected


def predicted_skips(overview: ScanOverview, config: Config) -> tuple[tuple[str, str], ...]:
    """Return (stage, reason) of the stages that this scan and these settings leave out."""
    stages = config.stages
    lacking = [n for n, has in (("depth", overview.has_depth), ("poses", overview.has_pose)) if not has]
    untracked = not (stages.ssam.enabled and stages.tracker.enabled)
    # The first reason that holds, per stage.
    reasons: tuple[tuple[str, bool, str], ...] = (
        ("candidates", not stages.ssam.enabled, "switched off by stages.ssam.enabled"),
        ("filter", not stages.ssam.enabled, "there are no candidates"),
        ("track", not stages.tracker.enabled, "switched off by stages.tracker.enabled"),
        ("track", not stages.ssam.enabled, "there are no masks"),
        ("lift", not stages.lift.enabled, "switched off by stages.lift.enabled"),
        ("lift", bool(lacking), f"the scan has no {' and no '.join(lacking)}"),
        ("lift", untracked, "there are no tracks"),
        ("evaluate", not stages.evaluate.enabled, "switched off by stages.evaluate.enabled"),
        ("evaluate", overview.ground_truth is None, "the scan has no ground truth"),
        ("evaluate", untracked, "there are no tracks"),
        ("report", not stages.report.enabled, "switched off by stages.report.enabled"),
    )
    skips: dict[str, str] = {}
    for stage, holds, reason in reasons:
        if holds:
            skips.setdefault(stage, reason)
    return tuple(skips.items())


def introduce(inputs: RunInputs, plan: Sequence[PlannedStage], display: Display) -> None:
    """Say what was found, what is missing, what is therefore skipped and what is made again, and why."""
    overview, config = inputs.reader.overview, inputs.config
    height, width = overview.image_size
    display.say("Scan", f"{overview.scene}: {overview.root} ({overview.dataset})")
    display.say(
        "Frames",
        f"{len(inputs.frames)} of {len(inputs.reader)} ({config.experiment.frames}), {width}x{height} pixels",
    )
    for sentence in overview.found:
        display.say("Found", sentence)
    if overview.ground_truth is not None:
        stages = config.stages
        oracle = "oracle" in (stages.ssam.proposer, stages.tracker.propagator)
        use = "read for scores and by the oracle" if oracle else "read for scores only"
        place = overview.ground_truth.name + ("/" if overview.ground_truth.is_dir() else "")
        display.say("Found", f"ground truth in {place}, {use}")
    for sentence in overview.missing:
        display.say("Missing", sentence)
    for name, reason in predicted_skips(overview, config):
        display.say("Skipped", f"{name}: {reason}")
    if overview.invalid_poses:
        chosen = len(set(overview.invalid_poses) & set(inputs.frames))
        display.say(
            "Poses",
            f"{len(overview.invalid_poses)} frames have no valid pose, {chosen} of them selected; "
            "they are segmented and tracked, but not lifted",
        )
    display.say("Levels", ", ".join(map(str, config.experiment.levels)))
    display.say("Output", str(inputs.layout.root))
    for change in dict.fromkeys(change for planned in plan for change in planned.changes):
        display.say("Changed", change)
    skipped = {name for name, _ in predicted_skips(overview, config)}
    made = [planned.name for planned in plan if not planned.reuse and planned.name not in skipped]
    there = [planned.name for planned in plan if planned.reuse]
    display.say("Stages", ", ".join(made) or "none to be made")
    if there:
        display.say("Taken over", f"{', '.join(there)}: same settings and inputs as before")


def earlier_manifest(layout: RunLayout) -> Manifest | None:
    """Return the manifest that an earlier run left in the folder, or None.

    Raises:
        DataError: if it is damaged.
    """
    return read_manifest(layout.manifest) if layout.manifest.exists() else None


@contextlib.contextmanager
def open_session(
    inputs: RunInputs, plan: tuple[PlannedStage, ...], earlier: Manifest | None, display: Display
) -> Iterator[RunSession]:
    """Hold the run's folder and give the session that carries the plan out.

    How the run ends is recorded whatever happens.

    Raises:
        ResourceError: if the folder cannot be written or another process works in it.
    """
    layout = inputs.layout
    make_folder(layout.root)
    with run_lock(layout.root) as left_by:
        if earlier_manifest(layout) != earlier:  # the plan was made before the folder was ours alone
            raise ResourceError(
                f"another process worked in {layout.root} while this one made its plan; "
                "run the same command again"
            )
        remove_leftovers(layout.root)
        environment = environment_snapshot()
        manifest = _manifest(inputs, plan, earlier, environment)
        session = RunSession(inputs, plan, manifest, display)
        if left_by is not None:
            record_killed(session, earlier)
        session.events.append("run_started", my3dis=my3dis.__version__, commit=environment.commit)
        if left_by is not None:
            _LOG.info(
                "process %d was killed while it worked in %s; going on from there", left_by, layout.root
            )
            session.events.append("lock_taken_over", process=left_by)
        for change in dict.fromkeys(change for planned in plan for change in planned.changes):
            session.events.append("changed", change=change)
        if any(not planned.reuse for planned in plan):
            atomic_write_json(layout.environment, environment.as_json())
            session.close_as("running")
        try:
            yield session
        except KeyboardInterrupt:
            _end(session, "interrupted")
            raise
        except BaseException:
            _end(session, "failed")
            raise


def reopen_inputs(run_dir: Path, levels: tuple[int, ...] | None) -> RunInputs:
    """Open the scan of a run again, with the settings in its folder and no others.

    Args:
        run_dir: the run's folder.
        levels: some of the run's levels, or None for all.

    Raises:
        DataError: if the folder holds no run, or its scan is not there any more.
        ConfigError: if a level is none of the run's.
    """
    layout = RunLayout(run_dir.absolute())
    manifest = read_manifest(layout.manifest)
    config = load_config(layout.config, environment=False)
    if levels is not None:
        wrong = [level for level in levels if level not in config.experiment.levels]
        if wrong or not levels:
            raise ConfigError(
                f"--levels: expected levels of this run ({', '.join(map(str, config.experiment.levels))}), "
                f"found {', '.join(map(str, wrong)) or 'none'}"
            )
        experiment = config.experiment.model_copy(update={"levels": sorted(set(levels))})
        config = config.model_copy(update={"experiment": experiment})
    reader = open_corrected(Path(manifest.scan), manifest.dataset, config)
    frames = select_frames(len(reader), config.experiment.frames)
    return RunInputs(reader=reader, frames=frames, config=config, layout=layout)


def write_config(inputs: RunInputs) -> None:
    """Write the resolved settings, unless they are there already."""
    layout, values = inputs.layout, inputs.config.model_dump(mode="json")
    text = (
        f"# Settings of this run, every default written out (My3DIS {my3dis.__version__}).\n"
        "# The scan's path is in manifest.json; `my3dis run THIS_FILE --scan PATH` repeats the run.\n"
        + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None)
    )
    # As bytes: what is there may be damaged, and no UTF-8 any more.
    if not layout.config.is_file() or layout.config.read_bytes() != text.encode():
        atomic_write_text(layout.config, text)


def _end(session: RunSession, status: str) -> None:
    with contextlib.suppress(My3DISError):  # a full disk must not hide what ended the run
        session.close_as(status)
        record_history(session)


def _manifest(
    inputs: RunInputs, plan: Sequence[PlannedStage], earlier: Manifest | None, environment: Environment
) -> Manifest:
    overview, experiment = inputs.reader.overview, inputs.config.experiment
    now = now_utc()
    # A stage made again by itself uses few back ends; those that made the other stages stay named.
    used = dict(earlier.plugins) if earlier else {}
    used["dataset"] = overview.dataset
    used |= dict(pair for planned in plan for pair in used_plugins(planned.stage, inputs.config))
    manifest = Manifest(
        status=earlier.status if earlier else "running",
        scene=overview.scene,
        scan=str(overview.root.absolute()),
        dataset=overview.dataset,
        run_name=experiment.name,
        tag=experiment.tag,
        frame_slice=str(experiment.frames),
        frames_selected=len(inputs.frames),
        frames_total=len(inputs.reader),
        levels=tuple(experiment.levels),
        version=environment.my3dis,
        commit=environment.commit,
        plugins=tuple(used.items()),
        checkpoints=tuple(used_checkpoints(inputs.config)),
        started=earlier.started if earlier else now,
        updated=now,
    )
    return replace(manifest, stages=earlier.stages if earlier else ())
