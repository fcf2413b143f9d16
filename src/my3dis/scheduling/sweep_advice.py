"""What to do about a scene that failed, from how its job ended."""

from __future__ import annotations

from my3dis.errors import EXIT_BUG
from my3dis.scheduling.sweep_state import SceneState

__all__ = ["advice_for"]

_BY_CODE = {
    2: "Correct the setting named above, then run the same command again.",
    3: "Look at the scan with `my3dis check SCAN` and at the file named above; the other scenes do not "
    "depend on it.",
    4: "See with `my3dis plugins` and `my3dis doctor` what is installed; then run the same command again.",
    5: "Make room on the disk or lower what runs at a time (experiment.parallel_scenes), then run the same "
    "command again: finished stages are kept.",
    EXIT_BUG: "This is a bug of ours; please report it with the end of the log. The same command tries the "
    "scene again.",
}


def advice_for(scene: SceneState) -> str:
    """Return one sentence or two; memory first, since a shortage shows in many ways."""
    if any("CUDA" in line or "GPU" in line for line in scene.evidence):
        return (
            "It ran out of GPU memory. Make batches smaller (stages.ssam.points_per_batch, "
            "stages.tracker.objects_per_batch) or reserve more for a job (experiment.gpu_memory_mb), then "
            "run the same command again."
        )
    if scene.evidence:
        return (
            "It ran out of memory. Run fewer jobs at a time (experiment.parallel_scenes=1), reserve more for "
            "each (experiment.memory_mb) or take fewer frames (experiment.frames), then run the same command "
            "again: finished stages are kept."
        )
    known = _BY_CODE.get(scene.exit_code) if scene.exit_code is not None else None
    return known or "Look at the end of the scene's log; the same command tries the scene again."
