"""`my3dis doctor`: what the memory guard can see, what the machine offers, and what to do about gaps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from my3dis.cli.main import main
from my3dis.monitoring import gpus, host, machine
from my3dis.monitoring.gpus import Gpu, Gpus
from my3dis.monitoring.host import Bound, HostMemory, Pressure
from my3dis.monitoring.machine import Disk

GROUP = "/sys/fs/cgroup/box"


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without gaps, whatever the tests run on."""
    monkeypatch.chdir(tmp_path)
    for name in ("MY3DIS_STAGES__SSAM__CHECKPOINT", "MY3DIS_STAGES__TRACKER__CHECKPOINT"):
        monkeypatch.delenv(name, raising=False)
    use(monkeypatch, memory())
    monkeypatch.setattr(gpus, "find_gpus", lambda: Gpus(source="none"))
    monkeypatch.setattr(machine, "look_at_disk", disk)
    return tmp_path


def memory(**changes: Any) -> HostMemory:
    facts: dict[str, Any] = {
        "limit_mb": 8192.0,
        "limit_from": f"{GROUP}/memory.max",
        "current_mb": 3000.0,
        "peak_mb": 3500.0,
        "oom_kills": 2,
        "kills_from": f"{GROUP}/memory.events",
        "pressure": Pressure(1.5, 0.25),
        "group": GROUP,
        "bounds": (
            Bound(name=f"{GROUP}/memory.max", capacity_mb=8192.0, working_mb=2048.0, held_mb=2000.0),
            Bound(name="this machine", capacity_mb=64_000.0, working_mb=6400.0, held_mb=6400.0),
        ),
        "swap_total_mb": 1000.0,
        "swap_free_mb": 900.0,
        **changes,
    }
    return HostMemory(source="cgroup v2", **facts)


def disk(folder: Path, **changes: Any) -> Disk:
    facts: dict[str, Any] = {
        "folder": str(folder),
        "looked_at": "/mnt",
        "free_mb": 90_000.0,
        "total_mb": 100_000.0,
        "filesystem": "ext4",
        "network": False,
        "writable": True,
        "locks": True,
        **changes,
    }
    return Disk(**facts)


def use(monkeypatch: pytest.MonkeyPatch, found: HostMemory) -> None:
    monkeypatch.setattr(host, "read_host_memory", lambda: found)


def squeezed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_sound_machine(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Source, limit, use, marks, peak, kills, stalls and swap are shown, and there is nothing to do."""
    assert main(["doctor"]) == 0
    text = squeezed(capsys)
    for words in (
        f"watched by cgroup v2, group {GROUP}",
        f"limit 8,192 MiB ({GROUP}/memory.max)",
        f"2,048 of 8,192 MiB (25 %), {GROUP}/memory.max; above 6,554 no job starts, above 7,537 the youngest",
        "6,400 of 64,000 MiB (10 %), this machine",
        "peak 3,500 MiB",
        f"kills 2 for want of memory so far ({GROUP}/memory.events)",
        "some work waited 1.5 %, all work 0.25 %",
        "swap 100 of 1,000 MiB in use",
        "missing nothing",
        "90,000 of 100,000 MiB free",
        "ext4, local",
        "file locks work",
        "[parquet]",
        "the weight-free back ends need none",
        "Nothing to do: all that a run needs is here.",
    ):
        assert words in text


def test_gaps_are_told_with_what_to_do(
    sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R5: what the guard cannot see stands in a numbered list of things to do."""
    gap = f"{GROUP} has no memory.events, so kills cannot be told; mount the files; until then fewer jobs run"
    blind = {"limit_mb": None, "limit_from": None, "peak_mb": None, "oom_kills": None, "pressure": None}
    use(monkeypatch, memory(missing=(gap,), notes=("no memory.peak: looked at now and then",), **blind))
    assert main(["doctor"]) == 0
    text = squeezed(capsys)
    assert "missing 1 (see below): half as many jobs as asked for run at a time" in text
    assert f"what to do 1. Memory: {gap}." in text
    assert "limit none but the machine's memory" in text
    assert "peak not kept here" in text
    assert "nothing here counts processes killed" in text
    assert "stalls not measured here" in text
    assert "note no memory.peak" in text


def test_a_folder_that_is_not_fit(
    sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Little space, no locks, a network and no permission are told, each with what to do."""
    monkeypatch.setattr(
        machine, "look_at_disk", lambda f: disk(f, free_mb=10.0, locks=False, network=True, filesystem="nfs4")
    )
    assert main(["doctor", "--output", "runs"]) == 0
    text = squeezed(capsys)
    assert "nfs4, not known to be local" in text
    assert "10 MiB are free in /mnt; free some space" in text
    assert "gives no file locks" in text
    monkeypatch.setattr(machine, "look_at_disk", lambda f: disk(f, writable=False, locks=None))
    assert main(["doctor"]) == 0
    assert "/mnt cannot be written" in squeezed(capsys)
    monkeypatch.setattr(machine, "look_at_disk", lambda f: disk(f, free_mb=0.0, total_mb=0.0))
    assert main(["doctor"]) == 0
    assert "does not answer" in squeezed(capsys)


def test_gpus_and_how_their_memory_is_measured(
    sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R13: GPUs with their memory, and the package that counts it as the driver does."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    one = Gpu(index=0, name="H100", uuid="GPU-1", total_mb=81_559.0, used_mb=12.0)
    monkeypatch.setattr(gpus, "find_gpus", lambda: Gpus(source="nvidia-smi", devices=(one,), driver="570.1"))
    assert main(["doctor"]) == 0
    text = squeezed(capsys)
    assert "0 H100, 12 of 81,559 MiB in use GPU-1" in text
    assert "told by nvidia-smi, driver 570.1" in text
    assert "as torch counts it" in text
    assert "CUDA_VISIBLE_DEVICES=0" in text
    assert "install 'my3dis[gpu]'" in text


def test_weights_and_settings_of_a_file(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that are set are looked for, and the output folder is that of the settings, name filled in."""
    (sound / "here.safetensors").write_bytes(b"x")
    settings = sound / "my.yaml"
    settings.write_text(
        "experiment: {name: first, output_root: 'runs/{name}'}\n"
        "stages:\n  ssam: {checkpoint: here.safetensors}\n  tracker: {checkpoint: gone.safetensors}\n"
    )
    assert main(["doctor", str(settings)]) == 0
    text = squeezed(capsys)
    assert "path runs/first" in text
    assert "stages.ssam.checkpoint here.safetensors: here.safetensors" in text
    assert "stages.tracker.checkpoint gone.safetensors: not on this machine" in text
    assert "Weights: stages.tracker.checkpoint is gone.safetensors, which is not on this machine" in text


def test_broken_settings_do_not_stop_the_doctor(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody whose settings are broken is told so among the rest, and the exit code stays 0."""
    (sound / ".env").write_text("MY3DIS_STAGES__SSAM__MIN_AERA=3\n")
    assert main(["doctor"]) == 0
    text = squeezed(capsys)
    assert "The settings cannot be read:" in text
    assert "did you mean MY3DIS_STAGES__SSAM__MIN_AREA?" in text
    assert "kills 2 for want of memory" in text


def test_json_for_scripts(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives the same as plain data."""
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["advice"] == []
    assert found["memory"]["source"] == "cgroup v2"
    assert found["memory"]["capacity_mb"] == 8192
    assert found["memory"]["pressure"] == {"some": 1.5, "full": 0.25}
    assert found["memory"]["bounds"][1]["name"] == "this machine"
    assert found["processors"]["usable"] >= 1
    assert found["environment"]["packages"]["numpy"]
    assert {extra["name"] for extra in found["extras"]} >= {"sam2", "gpu", "parquet"}


def test_the_real_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On whatever machine the tests run, the doctor comes to an end with exit code 0."""
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--output", str(tmp_path / "a" / "b")]) == 0
    text = capsys.readouterr().out
    assert "(will be made)" in text
    assert all(len(line) <= 100 or "/" in line for line in text.splitlines())


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """The help shows how it is used."""
    assert main(["doctor", "--help"]) == 0
    assert "examples:\n  my3dis doctor" in capsys.readouterr().out
