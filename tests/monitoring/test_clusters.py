"""What is found of clusters from this machine, and what doctor says of the one that the settings name."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from my3dis.cli.main import main
from my3dis.monitoring.clusters import look_at_clusters


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin")


def test_ray_is_asked_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that answers is told from one that does not, and from a machine without a cluster."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert look_at_clusters(environment={})[0].reachable is None
    assert look_at_clusters("nonsense", {})[0].reachable is False
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert look_at_clusters(address)[0].reachable is True
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(f"{address}\n")
        assert address in look_at_clusters("auto")[0].text
    ray = look_at_clusters(environment={"RAY_ADDRESS": address})[0]
    assert (ray.reachable, "nothing answers" in ray.text) == (False, True)


def test_slurm_is_asked_for_its_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No commands, some of them, a silent controller and a working one are four different answers."""
    commands(tmp_path, monkeypatch)
    assert look_at_clusters(environment={})[1].reachable is None
    commands(tmp_path, monkeypatch, sbatch="", srun="")
    assert "sacct, scancel" in look_at_clusters(environment={})[1].text
    commands(tmp_path, monkeypatch, sacct="", scancel="", sinfo="echo unable to contact >&2; exit 1")
    slurm = look_at_clusters(environment={})[1]
    assert (slurm.reachable, "unable to contact" in slurm.text) == (False, True)
    commands(tmp_path, monkeypatch, sinfo="echo 'cpu*'; echo gpu; echo gpu")
    assert look_at_clusters(environment={})[1].text == "partitions: cpu*, gpu"


def test_doctor_advises_on_the_executor_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without SLURM's commands is a gap only where the settings want SLURM."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor"]) == 0
    assert "Executor:" not in capsys.readouterr().out
    monkeypatch.setenv("MY3DIS_EXPERIMENT__EXECUTOR", "slurm")
    assert main(["doctor"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Executor: experiment.executor is slurm, but no commands of SLURM on this machine" in shown
    assert "jobs run through slurm" in shown
