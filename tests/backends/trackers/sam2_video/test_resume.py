"""The video models' trackers go on from a checkpoint to the last bit."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from my3dis import plugins
from my3dis.backends.trackers.sam2_video.session import ObjectMemory
from my3dis.backends.trackers.sam2_video.snapshot import Snapshot, arrays_of, snapshot_of
from my3dis.errors import DataError
from my3dis.runs.events import read_events
from my3dis.runs.layout import RunLayout
from tests.backends.resuming import EVERY, FRAMES, Cards, check, results_of, tracking
from tests.backends.trackers.sam2_video.tiny import NAMES
from tests.small_scan import write_small_scan


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_model_tracker_goes_on(
    name: str, dtype: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """Each family, stopped forward and backward, ends with the same archive and repeats at most N."""
    make = tracking(
        tmp_path,
        Cards(tmp_path / "truth"),
        propagator="sam2_video",
        checkpoint=str(checkpoints[name]),
        device="cpu",
        dtype=dtype,
    )
    resumable = plugins.tracker("sam2_video").resumable
    assert resumable == "checkpoint"
    check(make, resumable, ("tracks.my3dis", "relations.json"), (EVERY + 2, FRAMES, -1))


@pytest.mark.parametrize("kills", [2])
def test_a_run_killed_while_the_model_tracks(
    kills: int, checkpoints: dict[str, Path], built_in: Path, tmp_path: Path
) -> None:
    """SIGKILL right after a checkpoint, twice: the same command goes on from it, and ends the same."""
    scan = write_small_scan(built_in, tmp_path / "small", frames=10)
    settings = {
        "experiment.levels": "2",
        "stages.tracker.propagator": "sam2_video",
        "stages.tracker.checkpoint": str(checkpoints["sam2"]),
        "stages.tracker.device": "cpu",
        "stages.tracker.checkpoint_every": "2",
        "stages.lift.enabled": "false",
        "stages.evaluate.enabled": "false",
        "stages.report.enabled": "false",
    }
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]

    def start(output: Path) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "my3dis",
            "run",
            "--scan",
            str(scan),
            "--output",
            str(output),
            *options,
        ]
        with (tmp_path / "said").open("wb") as said:
            return subprocess.Popen(command, stdout=said, stderr=said)

    assert start(tmp_path / "undisturbed").wait() == 0
    expected, layout = (
        RunLayout(tmp_path / name / "small" / "default") for name in ("undisturbed", "killed")
    )
    for _ in range(kills):
        before = layout.track_checkpoint.stat().st_mtime_ns if layout.track_checkpoint.exists() else 0
        with start(tmp_path / "killed") as process:
            while process.poll() is None:
                if layout.track_checkpoint.exists() and layout.track_checkpoint.stat().st_mtime_ns != before:
                    process.send_signal(signal.SIGKILL)
                time.sleep(0.001)
        assert process.returncode == -signal.SIGKILL, (tmp_path / "said").read_text()
    assert start(tmp_path / "killed").wait() == 0
    names = ("tracks.my3dis", "relations.json")
    assert results_of(layout, *names) == results_of(expected, *names)
    resumed = [e for e in read_events(layout.events) if e["event"] == "stage_resumed"]
    assert len(resumed) == kills
    assert len({e["message"] for e in resumed}) == kills  # each time it had come further


def test_the_library_reads_the_checkpoint(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """What is written without safetensors is what safetensors reads, tensor by tensor."""
    from my3dis.runs.array_file import read_arrays

    make = tracking(
        tmp_path,
        Cards(tmp_path / "truth"),
        propagator="sam2_video",
        checkpoint=str(checkpoints["sam2"]),
        device="cpu",
    )
    one = make("one")
    one.attempt(stop_at=2 * EVERY + 2)
    path = one.layout.track_checkpoint
    found, ours = safetensors.numpy.load_file(path), read_arrays(path).arrays
    assert set(found) == set(ours)
    assert any(name.startswith("tracker/tensor_") for name in found)
    for name, array in ours.items():
        np.testing.assert_array_equal(found[name], array)


def test_shared_tensors_are_kept_once_and_stay_shared() -> None:
    """Two objects of one positional encoding have one again; precision, order and flags return."""
    shared, own = torch.arange(4.0), torch.tensor([1.5, 2.5], dtype=torch.bfloat16)
    objects = tuple(
        ObjectMemory(
            track_id=track_id,
            level=2,
            outputs={
                "cond_frame_outputs": {3: {"maskmem_pos_enc": shared, "object_pointer": own}},
                "non_cond_frame_outputs": {},
            },
            tracked={5: {"reverse": False}},
        )
        for track_id in (7, 1)
    )
    arrays = arrays_of(Snapshot(frame=5, image_size=(4, 6), objects=objects))
    assert sorted(arrays) == ["layout", "tensor_00000", "tensor_00001"]
    found = snapshot_of(arrays, torch.device("cpu"))
    assert (found.frame, found.image_size) == (5, (4, 6))
    assert [memory.track_id for memory in found.objects] == [7, 1]
    one, other = (memory.outputs["cond_frame_outputs"][3] for memory in found.objects)
    assert one["maskmem_pos_enc"] is other["maskmem_pos_enc"]
    assert one["object_pointer"].dtype == torch.bfloat16
    assert torch.equal(one["object_pointer"], own)
    assert found.objects[0].tracked == {5: {"reverse": False}}


def test_another_trackers_state_is_refused() -> None:
    """Arrays that are no session are a DataError."""
    with pytest.raises(DataError, match="expected a saved session"):
        snapshot_of({"layout": np.zeros(4, np.uint8)}, torch.device("cpu"))
