"""Tracking leaves the process as it found it."""

from __future__ import annotations

from pathlib import Path

from tests.backends.isolation import require_as_before

WORK = """
tracker = plugins.tracker("sam2_video").create(options)
for t in range(5):
    tracker.step(picture(t))
    tracker.prompt(picture(t), rectangles(t, (t, (10, 10, 60, 60)), (0, (20 + t, 10, 60, 60))))
"""


def test_the_process_is_as_before(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Loading and running a model change no environment, folder, path, setting of torch or random state."""
    require_as_before(WORK, checkpoints["sam2"], tmp_path)
