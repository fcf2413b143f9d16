"""What a comparison of two runs, or of two folders of runs, says: typed rows, and as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Difference", "FigurePair", "RunComparison", "SceneComparison", "SweepComparison"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that is not the same in both; None = absent."""

    name: str
    a: str | None
    b: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FigurePair:
    """A figure of both; None = not recorded or undefined."""

    name: str
    a: float | None
    b: float | None

    @property
    def difference(self) -> float | None:
        """B less A."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def ratio(self) -> float | None:
        """B by A; None where A is 0."""
        return None if not self.a or self.b is None else self.b / self.a

    def as_json(self) -> dict[str, object]:
        """Return plain data."""
        return {**asdict(self), "difference": self.difference, "ratio": self.ratio}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """Two runs side by side.

    Attributes:
        a, b: folders.
        statuses: of the runs.
        settings: resolved ones that differ, key by key.
        versions: packages, environment, plug-ins, checkpoints and commits that differ.
        inputs: what stages were made from that differs (digests are shortened).
        seconds, memory_mb, gpu_mb, counts, scores: figures of both; scores are shares.
    """

    a: Path
    b: Path
    statuses: tuple[str, str]
    settings: tuple[Difference, ...] = ()
    versions: tuple[Difference, ...] = ()
    inputs: tuple[Difference, ...] = ()
    seconds: tuple[FigurePair, ...] = ()
    memory_mb: tuple[FigurePair, ...] = ()
    gpu_mb: tuple[FigurePair, ...] = ()
    counts: tuple[FigurePair, ...] = ()
    scores: tuple[FigurePair, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return plain data for scripts."""
        plain: dict[str, object] = {
            "kind": "runs",
            "a": str(self.a),
            "b": str(self.b),
            "statuses": list(self.statuses),
        }
        for name in ("settings", "versions", "inputs"):
            plain[name] = [asdict(one) for one in getattr(self, name)]
        for name in ("seconds", "memory_mb", "gpu_mb", "counts", "scores"):
            plain[name] = [pair.as_json() for pair in getattr(self, name)]
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneComparison:
    """One scene in both folders; ``scores`` are of the best level."""

    scene: str
    statuses: tuple[str, str]
    seconds: FigurePair
    memory_mb: FigurePair
    scores: tuple[FigurePair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepComparison:
    """Two folders of runs, scene by scene.

    Attributes:
        a, b: folders.
        scenes: that are in both.
        only_a, only_b: names of scenes that are in one only.
        means: over the scenes that have the figure in both.
        settings, versions: differences of the first scene that is in both.
        varying: scenes whose settings differ in another way than those of the first.
        notes: runs that cannot be read.
    """

    a: Path
    b: Path
    scenes: tuple[SceneComparison, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    means: tuple[FigurePair, ...] = ()
    settings: tuple[Difference, ...] = ()
    versions: tuple[Difference, ...] = ()
    varying: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return plain data for scripts."""
        return {
            "kind": "sweeps",
            "a": str(self.a),
            "b": str(self.b),
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "means": [pair.as_json() for pair in self.means],
            "settings": [asdict(one) for one in self.settings],
            "versions": [asdict(one) for one in self.versions],
            "varying": list(self.varying),
            "notes": list(self.notes),
            "scenes": {
                scene.scene: {
                    "statuses": list(scene.statuses),
                    "seconds": scene.seconds.as_json(),
                    "memory_mb": scene.memory_mb.as_json(),
                    "scores": [pair.as_json() for pair in scene.scores],
                }
                for scene in self.scenes
            },
        }
