"""Every path of a run, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["RunLayout"]


@dataclass(frozen=True, slots=True)
class RunLayout:
    """The folder of one run and the files in it; a run writes no others.

    Attributes:
        root: ``<output_root>/<scene>/<run_name>``.
    """

    root: Path

    @property
    def config(self) -> Path:
        """Resolved settings."""
        return self.root / "config.yaml"

    @property
    def manifest(self) -> Path:
        """Stages with input digests and status, plug-in versions."""
        return self.root / "manifest.json"

    @property
    def summary(self) -> Path:
        """What a script wants to know of the run, with the environment."""
        return self.root / "workflow_summary.json"

    @property
    def timings(self) -> Path:
        """Seconds and peak memory of every stage."""
        return self.root / "stage_timings.json"

    @property
    def memory_profile(self) -> Path:
        """Memory of stages over the frames they did, for those run with ``--profile-memory``."""
        return self.root / "memory_profile.json"

    @property
    def memory_plot(self) -> Path:
        """The same as a picture."""
        return self.root / "memory_profile.svg"

    @property
    def environment(self) -> Path:
        """Versions of Python, packages, operating system and devices."""
        return self.root / "environment_snapshot.json"

    @property
    def events(self) -> Path:
        """One JSON object per line: what happened when, warnings included."""
        return self.root / "events.jsonl"

    @property
    def log(self) -> Path:
        """What the processes of a sweep said while they made this run."""
        return self.root / "job.log"

    @property
    def candidates(self) -> Path:
        """Archive of proposed masks."""
        return self.root / "candidates.my3dis"

    @property
    def masks(self) -> Path:
        """Archive of kept masks."""
        return self.root / "masks.my3dis"

    @property
    def tracks(self) -> Path:
        """Archive of tracked masks."""
        return self.root / "tracks.my3dis"

    @property
    def track_checkpoint(self) -> Path:
        """State in the middle of tracking; gone when tracking is done."""
        return self.root / "tracks.checkpoint.safetensors"

    @property
    def relations(self) -> Path:
        """Parents of tracks and merges."""
        return self.root / "relations.json"

    @property
    def cloud(self) -> Path:
        """Points fused from depth, where the scan has no mesh."""
        return self.root / "cloud.ply"

    @property
    def instances(self) -> Path:
        """3D instances."""
        return self.root / "instances.npz"

    @property
    def instances_ply(self) -> Path:
        """3D instances as coloured points."""
        return self.root / "instances.ply"

    @property
    def scores(self) -> Path:
        """Scores against ground truth."""
        return self.root / "scores.json"

    @property
    def check_pictures(self) -> Path:
        """Folder of pictures of the check of poses, depth and mesh."""
        return self.root / "check"

    @property
    def comparison(self) -> Path:
        """Folder of comparison pictures."""
        return self.root / "comparison"

    def report(self, name: str) -> Path:
        """Return the report page for a file stem."""
        return self.root / f"{name}.html"

    def report_text(self, name: str) -> Path:
        """Return the plain-text report for a file stem."""
        return self.root / f"{name}.md"
