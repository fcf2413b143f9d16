"""What the report says, as typed rows; the page and the text are made from this alone.

A section whose material is missing carries a notice: the sentence that stands in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from my3dis.reporting.colors import Color
from my3dis.reporting.plots import Plots
from my3dis.reporting.viewer import ViewerSection

__all__ = [
    "Comparison",
    "ComparisonRow",
    "DropRow",
    "Drops",
    "Figure",
    "InstanceRow",
    "InstanceTable",
    "LabelledText",
    "Panel",
    "Report",
    "RoomLevel",
    "RoomSection",
    "ScoreRow",
    "ScoreTable",
    "Setting",
    "StageRow",
    "StageTable",
    "Timeline",
    "TimelineLevel",
    "TimelineRow",
    "WarningRow",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A key figure of the header: what it is, its value, and short remarks."""

    label: str
    value: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledText:
    """A name and a text, such as a package and its version."""

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningRow:
    """Something a person should know, with the stage it comes from and its stable code."""

    stage: str
    reason: str
    message: str
    level: int | None = None
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture: an encoded image, what it shows, and its media type."""

    title: str
    alt: str
    data: bytes
    kind: str = "image/jpeg"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """A frame beside its masks at every level; ``file`` is relative to the report."""

    frame: int
    name: str
    file: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison pictures, or the notice why there are none."""

    rows: tuple[ComparisonRow, ...] = ()
    note: str = ""
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRow:
    """When a track is seen.

    Attributes:
        runs: half-open (start, stop) positions among the selected frames, ascending and apart.
        observations: frames in which it is seen.
    """

    track_id: int
    color: Color
    runs: tuple[tuple[int, int], ...]
    first_frame: int
    last_frame: int
    observations: int

    @property
    def gaps(self) -> int:
        """How often the track was lost and came back."""
        return len(self.runs) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineLevel:
    """The longest tracks of one level, and how many are not shown."""

    level: int
    rows: tuple[TimelineRow, ...]
    total: int

    @property
    def hidden(self) -> int:
        """How many tracks have no row."""
        return self.total - len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Tracks by level, coarse first; ``ticks`` are (position, frame index) along the axis."""

    levels: tuple[TimelineLevel, ...] = ()
    positions: int = 0
    ticks: tuple[tuple[int, int], ...] = ()
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLevel:
    """Pictures of the scene with one colouring."""

    title: str
    pictures: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSection:
    """The 3D pictures, or the notice why there are none."""

    levels: tuple[RoomLevel, ...] = ()
    note: str = ""
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """One 3D instance."""

    instance_id: int
    level: int
    points: int
    score: float
    parent_id: int
    color: Color


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTable:
    """The first instances by level and score, and how many there are."""

    rows: tuple[InstanceRow, ...] = ()
    total: int = 0
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """Scores of one level, or of the best, against one kind of ground truth; fractions, None = undefined."""

    target: str
    level: str
    values: tuple[float | None, ...]
    ground_truth: int | None = None
    predictions: int | None = None
    best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """Scores; ``about`` names protocols and thresholds, ``measures`` heads the columns of the rows' values.

    ``lines`` are further figures in sentences.
    """

    about: str = ""
    measures: tuple[str, ...] = ()
    rows: tuple[ScoreRow, ...] = ()
    lines: tuple[str, ...] = ()
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """What one stage did and cost; None = not recorded."""

    name: str
    status: str
    back_end: str = ""
    seconds: float | None = None
    peak_rss_mb: float | None = None
    peak_gpu_mb: tuple[tuple[str, float], ...] = ()
    masks_in: int | None = None
    masks_out: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTable:
    """All stages in the order in which they run; ``show_costs`` off hides time and memory."""

    rows: tuple[StageRow, ...] = ()
    show_costs: bool = True
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRow:
    """How many masks of a level were dropped for a reason."""

    level: int
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drops:
    """What the filter dropped, and how many masks it kept."""

    rows: tuple[DropRow, ...] = ()
    kept: int = 0
    notice: str = ""

    @property
    def dropped(self) -> int:
        """How many masks were dropped in all."""
        return sum(row.count for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One resolved setting; ``changed`` = it is not the default."""

    key: str
    value: str
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything the page shows, in its order."""

    scene: str
    run_name: str
    dataset: str
    summary: str
    found: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    warnings: tuple[WarningRow, ...] = ()
    viewer: ViewerSection = field(default_factory=lambda: ViewerSection(notice="It was not made."))
    comparison: Comparison
    timeline: Timeline
    room: RoomSection
    scores: ScoreTable
    instances: InstanceTable
    stages: StageTable
    drops: Drops
    plots: Plots = field(default_factory=Plots)
    environment: tuple[LabelledText, ...] = ()
    settings: tuple[Setting, ...] = ()
    command: str = ""
    version: str = ""
