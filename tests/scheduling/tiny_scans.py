"""A data set for tests of sweeps: tiny drawn scans that misbehave in a worker's process as they are told to.

``do.json`` in a scan says what: ``{"sleep_s": 0.1, "at": 1, "times": 1, "signal": 9 | "raise": true |
"eat_mb": 200, "limit_mb": 100, "hold_s": 1}``. The action happens at frame ``at`` in the first ``times``
processes that open the scan; it is no part of the scan's fingerprint. Everything is found through an entry
point, as the data sets of other distributions are, so that processes of their own find it too.
"""

from __future__ import annotations

import json
import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from my3dis.protocols import DatasetPlugin
from my3dis.types import Frame, ScanOverview

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "experiment.dataset": "tiny",
    "experiment.levels": [2],
    "stages.ssam.min_area": 50,
    "stages.lift.enabled": False,
    "stages.evaluate.enabled": False,
    "stages.report.enabled": False,
}
_MIB = 1 << 20


@dataclass
class TinyReader:
    """Reads a tiny scan; every frame shows two bright boxes that move."""

    root: Path
    held: list[bytearray] = field(default_factory=list)

    def __post_init__(self) -> None:
        with (self.root / "starts").open("a") as handle:
            handle.write(f"{os.getpid()}\n")
        self.starts = len((self.root / "starts").read_text().split())
        path = self.root / "do.json"
        self.todo = json.loads(path.read_text()) if path.is_file() else {}

    @property
    def overview(self) -> ScanOverview:
        return ScanOverview(
            scene=self.root.name,
            dataset="tiny",
            root=self.root,
            frame_count=len(self),
            image_size=(48, 64),
            has_depth=False,
            has_pose=False,
            missing=("no depth: lift is skipped",),
        )

    def __len__(self) -> int:
        return int((self.root / "tiny.txt").read_text())

    def frame(self, index: int) -> Frame:
        self._misbehave(index)
        color = np.full((48, 64, 3), 40, np.uint8)
        color[8:28, 4 + index : 24 + index] = (220, 60, 60)
        color[20:44, 36:60] = (60, 200, 80)
        return Frame(index=index, name=str(index), color=color)

    def cloud(self) -> None:
        return None

    def fingerprint(self) -> str:
        return f"{self.root.name} {len(self)}"

    def _misbehave(self, index: int) -> None:
        time.sleep(self.todo.get("sleep_s", 0.0))
        if index != self.todo.get("at", 1) or self.starts > self.todo.get("times", 1):
            return
        if "signal" in self.todo:
            os.kill(os.getpid(), self.todo["signal"])
        if "raise" in self.todo:
            raise ValueError("this reader is broken")
        if "eat_mb" in self.todo:
            self._eat(self.todo["eat_mb"], self.todo.get("limit_mb"))
            time.sleep(self.todo.get("hold_s", 0.0))
            self.held.clear()
            self.todo = {}

    def _eat(self, megabytes: int, limit_mb: int | None) -> None:
        if limit_mb is not None:
            used = psutil.Process().memory_info().vms
            resource.setrlimit(resource.RLIMIT_AS, (used + limit_mb * _MIB, resource.RLIM_INFINITY))
        for _ in range(megabytes // 10):
            self.held.append(bytearray(b"\1") * (10 * _MIB))
            time.sleep(0.02)


PLUGIN = DatasetPlugin(
    summary="tiny drawn scans for tests",
    detect=lambda path: (path / "tiny.txt").is_file(),
    open=TinyReader,
    priority=1000,
)


def install_plugin(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process and those it starts find the data set, and use a table of leases of their own."""
    info = folder / "site" / "tiny_scans-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-scans\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[my3dis.datasets]\ntiny = tests.scheduling.tiny_scans\n")
    (folder / "runtime").mkdir()
    patch.setenv("XDG_RUNTIME_DIR", str(folder / "runtime"))
    paths = [str(info.parent), str(ROOT), os.environ.get("PYTHONPATH", "")]
    patch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    patch.syspath_prepend(str(info.parent))


def make_tiny(folder: Path, frames: int = 3, **todo: object) -> Path:
    """Write a scan."""
    folder.mkdir(parents=True)
    (folder / "tiny.txt").write_text(str(frames))
    if todo:
        (folder / "do.json").write_text(json.dumps(todo))
    return folder
