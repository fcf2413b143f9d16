"""Sixth step: the report that a person opens, made from the run's files and the colour frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import my3dis
from my3dis.archive import open_archive
from my3dis.config import Config
from my3dis.reporting.colors import family_colors
from my3dis.reporting.comparison import draw_comparison
from my3dis.reporting.model import (
    Comparison,
    ComparisonRow,
    InstanceTable,
    Report,
    RoomSection,
    ScoreTable,
    Setting,
    WarningRow,
)
from my3dis.reporting.page import render_page, render_text
from my3dis.reporting.pictures import encode_jpeg
from my3dis.reporting.rooms import draw_room
from my3dis.reporting.sampling import comparison_frames, nearest_available
from my3dis.reporting.tables import (
    flat_settings,
    import_command,
    instance_table,
    merged_warnings,
    run_command,
)
from my3dis.reporting.viewer import ViewerSection
from my3dis.reporting.viewpoints import prepare_room
from my3dis.runs.files import atomic_write_bytes, atomic_write_text, make_folder
from my3dis.runs.scores import Scores, load_scores
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from my3dis.stages.report_facts import RunFacts, read_facts
from my3dis.stages.report_head import key_figures, summary_of
from my3dis.stages.report_material import (
    DrawnMasks,
    Tracked,
    choose_masks,
    count_drops,
    load_cloud,
    load_instances,
    load_tracks,
    poses_of,
    timeline_of,
)
from my3dis.stages.report_plots import plots_of
from my3dis.stages.report_scores import score_table
from my3dis.stages.report_viewer import viewer_of
from my3dis.types import InstanceSet, MaskSet

__all__ = ["CONFIG_FIELDS", "INPUTS", "NAME", "OUTPUTS", "run"]

NAME = "report"
CONFIG_FIELDS = (
    "experiment.name",
    "experiment.tag",
    "experiment.levels",
    "stages.ssam.enabled",
    "stages.filter.enabled",
    "stages.tracker.enabled",
    "stages.lift.enabled",
    "stages.evaluate.enabled",
    "stages.tracker.render_viz",
    "stages.tracker.comparison_sampling.every",
    "stages.tracker.comparison_sampling.max",
    "stages.report.name",
    "stages.report.max_width",
    "stages.report.record_timings",
)
INPUTS = ("candidates", "masks", "tracks", "relations", "cloud", "instances", "scores")
OUTPUTS = ("comparison", "report", "report_text")


def run(context: StageContext) -> StageOutcome:
    """Draw the pictures one frame at a time, then write the page and the text.

    What the run lacks is named in its place; a run without anything to compare is told as a warning.

    Raises:
        ArchiveError: if an archive is damaged.
        DataError: if a frame or a record of the run cannot be read.
        ResourceError: if the disk is full.
    """
    if not context.config.stages.report.enabled:
        return StageOutcome(skipped="switched off by stages.report.enabled")
    facts = read_facts(context.layout, context.config)
    own_warnings: list[WarningRow] = []
    tracked = load_tracks(context, facts)
    drawn = choose_masks(context, facts, tracked)
    comparison = _compare(context, drawn, tracked, own_warnings.append)
    report = _assemble(context, facts, (tracked, drawn), (comparison, tuple(own_warnings)))
    name = context.config.stages.report.name
    page = render_page(report).encode("utf-8")
    atomic_write_bytes(context.layout.report(name), page)
    atomic_write_text(context.layout.report_text(name), render_text(report))
    context.progress(len(comparison.rows) + 1, len(comparison.rows) + 1)
    masks = sum(n for _, n in drawn.by_level) if isinstance(drawn, DrawnMasks) else 0
    return StageOutcome(masks_in=masks, facts=(("pictures", len(comparison.rows)), ("html_bytes", len(page))))


def _compare(
    context: StageContext,
    drawn: DrawnMasks | str,
    tracked: Tracked | None,
    note_warning: Callable[[WarningRow], None],
) -> Comparison:
    """Draw and save the comparison pictures; remove those of an earlier report."""
    if not context.config.stages.tracker.render_viz:
        return _no_comparison(
            context, "They are switched off (stages.tracker.render_viz=false).", note_warning
        )
    if isinstance(drawn, str):
        return _no_comparison(context, drawn, note_warning)
    if not context.frames:
        return _no_comparison(context, "No frame is selected.", note_warning)
    rows: list[ComparisonRow] = []
    levels = context.config.experiment.levels
    colors = tracked.colors if tracked is not None else None
    make_folder(context.layout.comparison)
    with open_archive(drawn.path) as reader:
        have = set(reader.frames())
        chosen = _frames_to_draw(context, have, only_with_masks=tracked is None)
        for done, index in enumerate(chosen):
            frame = context.reader.frame(index)
            masks = reader.frame(index) if index in have else MaskSet.empty(index, frame.image_size)
            row, picture = draw_comparison(
                frame, masks, levels, colors, context.config.stages.report.max_width
            )
            atomic_write_bytes(context.layout.root / row.file, encode_jpeg(picture))
            rows.append(row)
            context.progress(done + 1, len(chosen) + 1)  # the page is the last step
    _remove_others(context, rows)
    missing = [level for level in levels if level not in {level for level, _ in drawn.by_level}]
    for level in missing:
        message = f"Level {level} has no masks to compare; its panels show the image alone."
        _warn(
            context,
            StageWarning(stage=NAME, reason="no_comparison", message=message, level=level),
            note_warning,
        )
    return Comparison(rows=tuple(rows), note=drawn.note)


def _frames_to_draw(context: StageContext, have: set[int], *, only_with_masks: bool) -> tuple[int, ...]:
    sampling = context.config.stages.tracker.comparison_sampling
    chosen = comparison_frames(context.frames, sampling.every, sampling.max)
    if only_with_masks:
        return nearest_available(chosen, [frame for frame in context.frames if frame in have])
    return chosen


def _no_comparison(context: StageContext, why: str, note_warning: Callable[[WarningRow], None]) -> Comparison:
    _remove_others(context, ())
    message = f"No comparison pictures were drawn. {why}"
    for level in context.config.experiment.levels:
        _warn(
            context,
            StageWarning(stage=NAME, reason="no_comparison", message=message, level=level),
            note_warning,
        )
    return Comparison(notice=message)


def _warn(context: StageContext, warning: StageWarning, note_warning: Callable[[WarningRow], None]) -> None:
    context.warn(warning)
    note_warning(
        WarningRow(stage=warning.stage, reason=warning.reason, message=warning.message, level=warning.level)
    )


def _remove_others(context: StageContext, rows: Sequence[ComparisonRow]) -> None:
    """Delete comparison pictures that this report does not show, so that none is mistaken for its own."""
    kept = {context.layout.root / row.file for row in rows}
    folder = context.layout.comparison
    for path in sorted(folder.glob("*.jpg")) if folder.is_dir() else ():
        if path not in kept:
            path.unlink()


def _assemble(
    context: StageContext,
    facts: RunFacts,
    material: tuple[Tracked | None, DrawnMasks | str],
    compared: tuple[Comparison, tuple[WarningRow, ...]],
) -> Report:
    tracked, drawn = material
    comparison, own_warnings = compared
    overview = context.reader.overview
    instances = load_instances(context, facts)
    scores = _scores(context, facts)
    settings = flat_settings(context.config.model_dump(mode="json"), Config().model_dump(mode="json"))
    by_level = drawn.by_level if isinstance(drawn, DrawnMasks) else ()
    viewer, room, table = _in_3d(context, instances, tracked)
    return Report(
        scene=overview.scene,
        run_name=context.config.experiment.name,
        dataset=overview.dataset,
        summary=summary_of(context, facts),
        found=(*overview.found, *overview.missing),
        figures=key_figures(context, facts, (tracked, drawn), (instances, scores)),
        warnings=merged_warnings((*facts.warnings, *own_warnings)),
        viewer=viewer,
        comparison=comparison,
        timeline=timeline_of(context, facts, tracked),
        room=room,
        scores=ScoreTable(notice=scores) if isinstance(scores, str) else score_table(scores),
        instances=table,
        stages=facts.stage_table(),
        drops=count_drops(context, facts),
        plots=plots_of(context, facts, tracked, by_level, scores),
        environment=facts.environment,
        settings=settings,
        command=_command(context, facts, settings),
        version=my3dis.__version__,
    )


def _command(context: StageContext, facts: RunFacts, settings: Sequence[Setting]) -> str:
    """Return the command line that makes the run again, which for an imported one is its import."""
    scan, output = str(context.reader.overview.root), str(context.layout.root.parent.parent)
    if facts.origin is None:
        return run_command(scan, output, settings)
    old_run, resized = facts.origin
    return import_command(old_run, output, scan, context.config.experiment.name, resize=resized)


def _scores(context: StageContext, facts: RunFacts) -> Scores | str:
    path = context.layout.scores
    if not facts.offers("evaluate", path):
        return facts.why_missing("evaluate", path)
    return load_scores(path)


def _in_3d(
    context: StageContext, instances: InstanceSet | str, tracked: Tracked | None
) -> tuple[ViewerSection, RoomSection, InstanceTable]:
    """Return viewer, pictures and table of the instances, each with the reason when it has none."""
    if isinstance(instances, str):
        table = InstanceTable(notice=instances)
        cloud = load_cloud(context, None)
        if isinstance(cloud, str):
            return ViewerSection(notice=instances), RoomSection(notice=instances), table
        room = draw_room(cloud, None, {}, poses_of(context), _room_width(context))
        return ViewerSection(notice=instances), RoomSection(levels=room.levels, notice=instances), table
    parents = dict(zip(instances.instance_id.tolist(), instances.parent_id.tolist(), strict=True))
    colors = family_colors(instances.instance_id.tolist(), parents)
    table = instance_table(instances, colors)
    if not len(instances):
        table = InstanceTable(notice="Lifting found no instance.")
    cloud = load_cloud(context, instances)
    if isinstance(cloud, str):
        return ViewerSection(notice=cloud), RoomSection(notice=cloud), table
    poses = poses_of(context)
    prepared = prepare_room(cloud, poses)
    viewer = viewer_of(context, cloud, prepared, instances, colors, tracked)
    return viewer, draw_room(cloud, instances, colors, poses, _room_width(context), room=prepared), table


def _room_width(context: StageContext) -> int:
    return min(640, context.config.stages.report.max_width)
