"""What a stage wrote: measured when it is done, removed when it was made for other settings."""

from __future__ import annotations

import shutil

from my3dis.runs.manifest import StageRecord
from my3dis.runs.plan import PlannedStage, RunInputs, output_paths

__all__ = ["output_sizes", "remove_outdated"]


def remove_outdated(planned: PlannedStage, record: StageRecord | None, inputs: RunInputs) -> None:
    """Delete what a stage wrote for other settings; what it wrote for the same ones may be continued."""
    if record is not None and record.digest == planned.fingerprint.digest and record.can_continue:
        return
    paths = set(output_paths(planned.stage, inputs.layout, inputs.config))
    paths |= {inputs.layout.root / name for name, _ in (record.outputs if record else ())}
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
            path.with_name(name).unlink(missing_ok=True)


def output_sizes(planned: PlannedStage, inputs: RunInputs) -> tuple[tuple[str, int], ...]:
    """Return name and bytes of every file and folder that a stage wrote."""
    found = []
    for path in output_paths(planned.stage, inputs.layout, inputs.config):
        if path.is_dir():
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            found.append((path.name, size))
        elif path.is_file():
            found.append((path.name, path.stat().st_size))
    return tuple(found)
