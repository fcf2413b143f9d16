"""What a job asks of Ray, and what is said where Ray or a cluster is missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from my3dis.config.load import load_config
from my3dis.errors import PluginError
from my3dis.scheduling.executors.choose import executor_for
from my3dis.scheduling.executors.ray_nodes import Node, describe_nodes, lack_of, nodes_of, request_of
from my3dis.scheduling.jobs import Job, Need, SweepPlan

SMALL = Node(id="s", host="small", threads=4, gpus=1, memory_mb=8000)
LARGE = Node(id="l", host="large", threads=16, gpus=0, memory_mb=60_000)
_MIB = 1 << 20


def test_nodes_that_are_down_or_lend_no_processor_do_not_count() -> None:
    """Of what Ray describes, machines that are up and lend processors remain, memory in MiB."""
    up = {"NodeID": "a", "Alive": True, "NodeManagerHostname": "one"}
    described = [
        {**up, "Resources": {"CPU": 4.0, "GPU": 2.0, "memory": 3.0 * _MIB}},
        {**up, "Resources": {"memory": 9.0}},
        {**up, "Alive": False, "Resources": {"CPU": 8.0}},
    ]
    assert nodes_of(described) == (Node(id="a", host="one", threads=4, gpus=2, memory_mb=3),)


def test_share_of_a_gpu_is_a_fraction_of_its_memory() -> None:
    """3,000 of 8,000 MiB are 0.375 of a GPU, rounded up; without its size or a share it is whole."""
    need = Need(gpus=1, gpu_memory_mb=3000, threads=2, memory_mb=500)
    asked = request_of(need, (SMALL, LARGE), alone=False, gpu_mb=8000)
    assert asked == {"num_cpus": 2, "num_gpus": 0.375, "memory": 500 * _MIB, "max_retries": 0}
    assert request_of(need, (SMALL,), alone=False, gpu_mb=7000)["num_gpus"] == 0.4286
    assert request_of(need, (SMALL,), alone=False, gpu_mb=0)["num_gpus"] == 1
    whole = replace(need, gpu_memory_mb=0)
    assert request_of(whole, (SMALL,), alone=False, gpu_mb=8000)["num_gpus"] == 1
    assert request_of(Need(gpus=2, gpu_memory_mb=10), (), alone=False, gpu_mb=80)["num_gpus"] == 2


def test_more_than_a_machine_has_becomes_all_of_it() -> None:
    """Threads and memory are cut to what machines with the GPU have, or the task would wait for ever."""
    large = Need(gpus=1, threads=32, memory_mb=100_000)
    asked = request_of(large, (SMALL, LARGE), alone=False, gpu_mb=0)
    assert (asked["num_cpus"], asked["memory"]) == (4, 8000 * _MIB)
    assert request_of(Need(threads=1), (SMALL, SMALL), alone=True, gpu_mb=0)["num_cpus"] == 4
    assert lack_of(large, (SMALL, LARGE)) is None
    assert "has none" in (lack_of(Need(gpus=1), (LARGE,)) or "")
    assert "no machine" in (lack_of(Need(), ()) or "")


def test_plan_says_what_the_cluster_has(tmp_path: Path) -> None:
    """The dry run adds up the machines and names jobs that none can take."""
    job = Job(id="a:lift", scene="a", scan=tmp_path, stages=("lift",), need=Need(gpus=2), seconds=90.0)
    plan = SweepPlan(config=load_config(environment=False), output_root=tmp_path, scenes=("a",), jobs=(job,))
    first, second = describe_nodes(plan, (SMALL, LARGE), "10.0.0.1:6379")
    assert first.startswith("about 1 min 30 s of work on the Ray cluster at 10.0.0.1:6379")
    assert "2 machines with 20 processors, 68,000 MiB and 1 GPUs" in first
    assert "needs 2 GPUs" in second


@pytest.mark.parametrize(("kind", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_missing_library_is_named_with_how_to_get_it(
    kind: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its library an executor cannot be made, and the error says what to install."""
    monkeypatch.setitem(sys.modules, library, None)
    config = load_config(values={"experiment.executor": kind}, environment=False)
    with pytest.raises(PluginError, match=rf"pip install 'my3dis\[{kind}\]'"):
        executor_for(config)
