"""What SLURM is asked for, by the script that submitit hands to it, and what its states mean."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from my3dis.config.experiment import Slurm
from my3dis.errors import ResourceError
from my3dis.scheduling.executors.cluster import Work
from my3dis.scheduling.executors.slurm import SlurmCluster
from my3dis.scheduling.executors.slurm_script import arrays_of, gone_of, parameters_of
from my3dis.scheduling.jobs import Job, Need

SETTINGS = Slurm(
    partition="cpu", gpu_partition="a100", account="lab", qos="long", array_parallelism=3,
    setup=["module load cuda"], extra=["constraint=ib", "--requeue"],
)  # fmt: skip


def work(
    n: int, need: Need, folder: Path = Path("/nowhere"), grown: Need | None = None, **more: object
) -> Work:
    stage = "candidates" if need.gpus else "lift"
    job = Job(
        id=f"s{n}:{stage}", scene=f"s{n}", scan=Path("/s"), stages=(stage,), need=need, seconds=60.0 * n
    )
    values = {"key": f"{n}-1", "job": job, "need": grown or need, "alone": False}
    return Work(order=json.dumps({"folder": str(folder)}), **{**values, **more})  # type: ignore[arg-type]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of SLURM that keep what they are given and answer what ``answer`` says."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    scripts = {
        "sbatch": f'cd {tmp_path}; cp "$1" batch.$(ls | grep -c batch).sh; echo Submitted batch job 77',
        "sacct": f"cat {tmp_path}/answer",
        "scancel": f'echo "$@" >> {tmp_path}/cancelled',
        "srun": "exit 1",
    }
    for name, text in scripts.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    return tmp_path


def test_script_asks_for_what_the_jobs_of_a_class_need(slurm: Path) -> None:
    """Three GPU jobs and two without make two arrays, with the largest memory, and ours as the command."""
    gpu, rest = Need(gpus=1, threads=4, memory_mb=3000), Need(threads=1, memory_mb=900)
    works = [work(1, gpu, slurm), work(2, rest, slurm), work(3, gpu, slurm), work(4, rest, slurm)]
    works.append(work(20, Need(gpus=1, threads=4, memory_mb=5000), slurm))
    cluster = SlurmCluster(SETTINGS, slurm)
    cluster.submit(works)
    first, second = (path.read_text() for path in sorted(slurm.glob("batch.*.sh")))
    found = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", first, re.MULTILINE))
    assert found["array"] == "0-2%3"
    assert found["gpus-per-node"] == "1"
    assert found["cpus-per-task"] == "4"
    assert found["mem"] == "5632MB"  # 5000 + 512, in steps of 256
    assert found["time"] == "90"  # four times 20 minutes, and ten
    assert (found["partition"], found["account"], found["qos"]) == ("a100", "lab", "long")
    assert (found["constraint"], found["requeue"]) == ("ib", "")
    assert found["job-name"] == "my3dis-gpu-candidates"
    assert "module load cuda\n" in first
    assert re.search(r"^srun .*submitit\.core\._submit .*/slurm/%j$", first.replace("'", ""), re.MULTILINE)
    other = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", second, re.MULTILINE))
    assert "gpus-per-node" not in other
    assert (other["array"], other["cpus-per-task"], other["mem"]) == ("0-1%2", "1", "1536MB")
    assert (other["partition"], other["time"]) == ("cpu", "30")
    assert json.loads((slurm / "slurm_jobs.json").read_text()) == ["77_0", "77_1", "77_2", "77_0", "77_1"]


def test_states_of_slurm_come_back_as_what_happened(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One question to sacct tells of all jobs of an array; those that go on stay."""
    cluster = SlurmCluster(SETTINGS, slurm)
    cluster.submit([work(n, Need(), slurm) for n in (1, 2, 3, 4)])
    states = ["OUT_OF_MEMORY", "TIMEOUT", "RUNNING", "CANCELLED by 1000"]
    lines = [f"77_{n}|{state}|node{n}" for n, state in enumerate(states)]
    (slurm / "answer").write_text("\n".join(["JobID|State|NodeList", *lines]) + "\n")
    assert cluster.gone() == []  # it is not asked so soon
    monkeypatch.setattr("my3dis.scheduling.executors.slurm._ASK_EVERY_S", 0.0)
    gone = dict(cluster.gone())
    assert {key: found.kind for key, found in gone.items()} == {
        "1-1": "memory",
        "2-1": "time",
        "4-1": "cancelled",
    }
    assert gone["1-1"].text == "SLURM says OUT_OF_MEMORY for job 77_0"
    cluster.cancel(["3-1"], at_once=False)
    assert (slurm / "cancelled").read_text() == "--state=PENDING 77_2\n"
    cluster.cancel(["3-1"], at_once=True)
    assert (slurm / "cancelled").read_text().splitlines()[1] == "77_2"


def test_an_earlier_driver_s_jobs_are_taken_out_of_the_queue(slurm: Path) -> None:
    """What a driver that died wrote down is cancelled where it still waits."""
    (slurm / "slurm_jobs.json").write_text('["5_0", "5_1"]')
    SlurmCluster(SETTINGS, slurm).clear(slurm)
    assert (slurm / "cancelled").read_text() == "--state=PENDING 5_0 5_1\n"
    SlurmCluster(SETTINGS, slurm).clear(slurm / "missing")


def test_refusal_of_sbatch_is_told_in_its_own_words(slurm: Path) -> None:
    """What sbatch says against an array is part of the error."""
    (slurm / "bin" / "sbatch").write_text("#!/bin/sh\necho 'invalid partition specified' >&2; exit 1\n")
    with pytest.raises(ResourceError, match=r"SLURM refused 1 jobs.*invalid partition") as caught:
        SlurmCluster(SETTINGS, slurm).submit([work(1, Need(), slurm)])
    assert "experiment.slurm" in str(caught.value)


def test_without_slurm_the_error_names_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no srun, nothing is tried."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError, match=r"expected the commands of SLURM"):
        SlurmCluster(Slurm(), tmp_path)


def test_jobs_that_ask_for_other_things_are_in_other_arrays() -> None:
    """More memory after a shortage, a longer time, a machine for itself, and 1,000 jobs at most per array."""
    need = Need(memory_mb=1000)
    grown = work(1, need, grown=Need(memory_mb=1500))
    alike = [work(n, Need(memory_mb=900 + n)) for n in range(1, 1502)]
    works = [*alike, grown, work(2, need, timeouts=2), work(3, need, alone=True)]
    arrays = arrays_of(works)
    assert [len(group) for group in arrays] == [1000, 501, 1, 1, 1]
    asked = [parameters_of(group, Slurm(time_min=60)) for group in arrays[1:]]
    assert [one["timeout_min"] for one in asked] == [60, 60, 240, 60]
    assert [one.get("slurm_exclusive") for one in asked] == [None, None, None, True]
    assert asked[1]["mem_gb"] == 2048 / 1024


def test_states_that_mean_nothing_yet() -> None:
    """A job that waits, runs or is unknown is not over; a failed one names where to read on."""
    assert all(
        gone_of(state, "1", "/f") is None for state in ("PENDING", "RUNNING", "UNKNOWN", "", "COMPLETING")
    )
    failed = gone_of("FAILED", "9_3", "/runs/.sweep/x")
    assert failed is not None
    assert failed.kind == "lost"
    assert "/runs/.sweep/x" in failed.text
    assert "shared" in failed.text or "share" in failed.text
    assert gone_of("NODE_FAIL", "1", "/f") == gone_of("NODE_FAIL+", "1", "/f")
