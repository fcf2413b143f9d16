"""What the run's own records say: stages, warnings, environment, and why something is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from my3dis.config import Config
from my3dis.config.fields import value_of
from my3dis.monitoring.timings import StageTiming, read_timings
from my3dis.reporting.model import LabelledText, StageRow, StageTable, WarningRow
from my3dis.runs.events import read_events
from my3dis.runs.files import read_json
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import AS_RECORDED, IMPORT_SIZE, IMPORTED_FROM, Manifest, StageStatus, read_manifest

__all__ = ["RunFacts", "read_facts"]

_STAGES = ("candidates", "filter", "track", "lift", "evaluate")
_SWITCHES = {
    "candidates": "stages.ssam.enabled",
    "filter": "stages.filter.enabled",
    "track": "stages.tracker.enabled",
    "lift": "stages.lift.enabled",
    "evaluate": "stages.evaluate.enabled",
}
_BACK_END_ROLES = {"candidates": "proposer", "track": "tracker"}
_CHOICES = {"track": "propagator"}
_LONGEST_TEXT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The records of a run as far as they exist.

    Attributes:
        config: resolved settings.
        manifest: None when the run has none.
        timings: of the stages that finished.
        warnings: as told by the stages, in order.
        reused: stages whose result the last run took over.
        environment: versions and hardware.
    """

    config: Config
    manifest: Manifest | None
    timings: tuple[StageTiming, ...]
    warnings: tuple[WarningRow, ...]
    reused: frozenset[str]
    environment: tuple[LabelledText, ...]

    @property
    def origin(self) -> tuple[str, bool] | None:
        """The old run's folder that this one was imported from, and whether masks were resized, if any."""
        record = self.manifest.stage("candidates") if self.manifest else None
        inputs = dict(record.inputs) if record else {}
        folder = inputs.get(IMPORTED_FROM)
        return None if folder is None else (folder, inputs.get(IMPORT_SIZE) != AS_RECORDED)

    def timing(self, stage: str) -> StageTiming | None:
        """Return the timing of a stage, or None when it was not recorded."""
        return next((t for t in self.timings if t.name == stage), None)

    def offers(self, stage: str, file: Path) -> bool:
        """Return whether a stage's file is there and is this run's: a switched-off stage's is an old one."""
        return file.is_file() and self.was_made(stage)

    def was_made(self, stage: str) -> bool:
        """Return whether a stage is switched on and was not skipped."""
        record = self.manifest.stage(stage) if self.manifest else None
        skipped = record is not None and record.status is StageStatus.SKIPPED
        return bool(value_of(self.config, _SWITCHES[stage])) and not skipped

    def why_missing(self, stage: str, file: Path) -> str:
        """Return a sentence that says why a stage's file is not there."""
        if not value_of(self.config, _SWITCHES[stage]):
            return f"The stage {stage} is switched off ({_SWITCHES[stage]}=false)."
        record = self.manifest.stage(stage) if self.manifest else None
        if record is not None and record.message:
            how = "was skipped" if record.status is StageStatus.SKIPPED else "did not finish"
            return f"The stage {stage} {how}: {_sentence(record.message)}"
        if record is None or record.status is StageStatus.DONE:
            return f"The file {file.name} is not in the run's folder; run the stage {stage}."
        return f"The stage {stage} did not finish (it is {record.status})."

    def back_end(self, stage: str) -> str:
        """Return what did a stage's work; where it was chosen by itself, what was chosen.

        Empty where the run has not recorded any, or the stage did nothing.
        """
        record = self.manifest.stage(stage) if self.manifest else None
        if record is not None and record.status is StageStatus.SKIPPED:
            return ""
        plugins = dict(self.manifest.plugins) if self.manifest else {}
        named = plugins.get(_BACK_END_ROLES.get(stage, ""), "")
        timing = self.timing(stage)
        chosen = dict(timing.facts).get(_CHOICES.get(stage, "")) if timing is not None else None
        if not isinstance(chosen, str):
            return named if named.startswith("auto") else _with_version(named)
        automatic = named.startswith("auto")
        listed = named.partition(": ")[2] if automatic else named
        version = next((part for part in listed.split(", ") if part.partition(" ")[0] == chosen), chosen)
        return _with_version(version, "chosen by auto" if automatic else "")

    def stage_table(self) -> StageTable:
        """Return a row for every stage before the report."""
        rows = tuple(self._row(name) for name in _STAGES)
        shown = self.config.stages.report.record_timings
        notice = "" if self.timings or not shown else "The run has no stage_timings.json."
        return StageTable(rows=rows, show_costs=shown, notice=notice)

    def _row(self, name: str) -> StageRow:
        record = self.manifest.stage(name) if self.manifest else None
        timing = self.timing(name)
        status = str(record.status) if record else ("done" if timing else "not run")
        if status == "done" and name in self.reused:
            status = "reused"
        note = record.message if record and record.message else ""
        if not note and timing is not None:
            note = " · ".join(_fact(key, value) for key, value in timing.facts if _is_news(name, key, value))
        return StageRow(
            name=name,
            status=status,
            back_end=self.back_end(name),
            seconds=timing.seconds if timing else None,
            peak_rss_mb=timing.peak_rss_mb if timing else None,
            peak_gpu_mb=timing.peak_gpu_mb if timing else (),
            masks_in=timing.masks_in if timing else None,
            masks_out=timing.masks_out if timing else None,
            note=note,
        )


def read_facts(layout: RunLayout, config: Config) -> RunFacts:
    """Read the records of a run; those that are missing are left empty.

    Raises:
        DataError: if a record is damaged.
    """
    warnings, reused = _told(layout.events)
    return RunFacts(
        config=config,
        manifest=read_manifest(layout.manifest) if layout.manifest.is_file() else None,
        timings=read_timings(layout.timings),
        warnings=warnings,
        reused=reused,
        environment=_environment(layout.environment),
    )


def _told(path: Path) -> tuple[tuple[WarningRow, ...], frozenset[str]]:
    """Return the warnings of each stage's last start, and the stages that the last run took over.

    What an earlier attempt of a stage said does not hold for its last one.
    """
    told: dict[str, list[WarningRow]] = {}
    reused: set[str] = set()
    for event in read_events(path):
        kind, stage = event.get("event"), event.get("stage")
        if kind == "run_started":
            reused.clear()
        if not isinstance(stage, str):
            continue
        if kind == "stage_started":
            told.pop(stage, None)
            reused.discard(stage)
        elif kind == "stage_reused":
            reused.add(stage)
        elif kind == "warning" and stage != "report":
            told.setdefault(stage, []).append(_warning(stage, event))
    return tuple(warning for warnings in told.values() for warning in warnings), frozenset(reused)


def _warning(stage: str, event: Mapping[str, object]) -> WarningRow:
    level = event.get("level")
    return WarningRow(
        stage=stage,
        reason=str(event.get("reason", "")),
        message=str(event.get("message", "")),
        level=level if isinstance(level, int) else None,
    )


def _environment(path: Path) -> tuple[LabelledText, ...]:
    if not path.is_file():
        return ()
    value = read_json(path)
    if not isinstance(value, Mapping):
        return ()
    rows = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            rows += [LabelledText(label=str(name), text=_plain(text)) for name, text in item.items()]
        elif item is not None:
            rows.append(LabelledText(label=str(key).replace("_", " "), text=_plain(item)))
    return tuple(rows)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _with_version(named: str, remark: str = "") -> str:
    """Return "warp (version 3, chosen by auto)" for "warp 3"."""
    name, _, version = named.partition(" ")
    remarks = ", ".join(text for text in (f"version {version}" if version else "", remark) if text)
    return f"{name} ({remarks})" if remarks else name


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _is_news(stage: str, key: str, value: float | str) -> bool:
    """Return whether a figure is worth a remark: not nothing, not long, and in no other table already."""
    if stage == "evaluate" or key == _CHOICES.get(stage) or "level_" in key:
        return False
    return len(value) <= _LONGEST_TEXT if isinstance(value, str) else value != 0


def _fact(key: str, value: float | str) -> str:
    shown = f"{value:,.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
    return f"{key.replace('_', ' ')} {shown}"
