"""A run with a model: what the back end reports reaches the run's files, and its errors their exit codes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from my3dis import run_scan
from my3dis.archive import open_archive
from my3dis.backends.proposers.sam2_auto import model
from my3dis.backends.torch_models import devices
from my3dis.cli.main import main
from my3dis.masks import hierarchy
from tests.backends.proposers.sam2_auto.tiny import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("weights") / "tiny")


def settings(folder: Path, **other: object) -> dict[str, object]:
    return {
        "stages.ssam.proposer": "sam2_auto",
        "stages.ssam.checkpoint": str(folder),
        "stages.ssam.points_per_side": 4,
        "stages.ssam.predicted_iou": 0.0,
        "stages.ssam.stability_threshold": 0.0,
        "experiment.frames": "0:32:8",
        "stages.tracker.enabled": False,
        "stages.lift.enabled": False,
        "stages.evaluate.enabled": False,
        "stages.report.enabled": False,
        **other,
    }


def read(path: Path) -> dict[str, dict[str, object]]:
    value: dict[str, dict[str, object]] = json.loads(path.read_text())
    return value


def events(run_dir: Path, kind: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == kind]


def test_a_run_is_recorded_and_taken_over(built_in: Path, folder: Path, tmp_path: Path) -> None:
    """Passes are counted, weights are named by SHA-256, and the same command does nothing more."""
    result = run_scan(built_in, tmp_path, settings(folder))
    run_dir = result.run_dir
    timing = read(run_dir / "stage_timings.json")["stages"]["candidates"]
    assert isinstance(timing, dict)
    assert timing["backbone_passes"] == timing["proposed_frames"] == timing["frames"] == 4
    assert timing["prompts"] == 4 * 16
    assert timing["peak_gpu_mb"] == {}
    sha = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert read(run_dir / "manifest.json")["checkpoints"] == {f"{folder}/model.safetensors": sha}
    with open_archive(run_dir / "candidates.my3dis") as archive:
        assert archive.count()
        for masks in archive.iter_frames():
            hierarchy.require_nested(masks)
    again = run_scan(built_in, tmp_path, settings(folder))
    assert again.did_nothing


def test_a_full_gpu_is_backed_off_and_recorded(
    built_in: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that holds 5 prompts: the run goes on with fewer, warns, and keeps peak and batch size."""
    ask = model.ImageModel.ask

    def small(self: model.ImageModel, features: object, points_xy: object, size: tuple[int, int]) -> object:
        if len(points_xy) > 5:  # type: ignore[arg-type]
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return ask(self, features, points_xy, size)  # type: ignore[arg-type]

    monkeypatch.setattr(model.ImageModel, "ask", small)
    monkeypatch.setattr(devices.PeakMemory, "peak_mb", lambda self: (("cuda:0", 123.0),))
    result = run_scan(built_in, tmp_path, settings(folder))
    warned = [w for w in result.warnings if w.reason == "smaller_batch"]
    assert [w.stage for w in warned] == ["candidates"] * len(warned)
    assert "going on with 4" in warned[-1].message
    assert warned[-1].message in {event["message"] for event in events(result.run_dir, "warning")}
    timing = read(result.run_dir / "stage_timings.json")["stages"]["candidates"]
    assert isinstance(timing, dict)
    assert timing["points_per_batch"] == 4
    assert timing["peak_gpu_mb"] == {"cuda:0": 123.0}
    finished = events(result.run_dir, "stage_finished")
    assert finished[0]["peak_gpu_mb"] == {"cuda:0": 123.0}


@pytest.mark.parametrize(
    "case",
    [
        ("stages.ssam.device=cuda:3", 5, "device cuda:3 was asked for, but this machine offers cpu"),
        ("stages.ssam.device=gpu", 2, "did you mean cuda:0"),
        ("stages.ssam.dtype=flaot16", 2, "did you mean float16"),
        ("stages.ssam.checkpoint=/nowhere", 2, "MY3DIS_STAGES__SSAM__CHECKPOINT"),
        ("stages.gpu=3", 5, "device cuda:3 was asked for"),
    ],
)
def test_errors_of_devices_and_weights(
    built_in: Path,
    folder: Path,
    tmp_path: Path,
    case: tuple[str, int, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence and an exit code; the run's folder says that it failed."""
    setting, code, words = case
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    command = ["run", "--scan", str(built_in), "--output", str(tmp_path), "-q", "--frames", "0:2"]
    for key, value in settings(folder).items():
        if key != "experiment.frames":
            command += ["--set", f"{key}={value}"]
    assert main([*command, "--set", setting]) == code
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
