"""What is found out of processors, disk, GPUs and extras."""

from __future__ import annotations

import os
import resource
import stat
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from my3dis.monitoring import gpus, machine
from my3dis.monitoring.gpus import Gpu, find_gpus
from my3dis.monitoring.machine import EXTRAS, Processors, address_space_mb, extras, look_at_disk, processors
from tests.monitoring.fake_cgroups import FakeHost

ROOT = Path(__file__).resolve().parents[2]


def test_extras_are_those_of_the_package() -> None:
    """Each extra for users in pyproject.toml is listed with the same packages."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    listed = {name: set(packages) for name, _, packages in EXTRAS}
    for name, packages in declared.items():
        if name in ("test", "test-extras", "docs", "bench", "models"):
            continue
        names = {
            package.split(">")[0].split("=")[0].split("[")[0].split(";")[0].strip() for package in packages
        }
        assert listed[name] == names
    assert set(listed) <= set(declared)


def test_extras_that_are_installed_and_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed packages come with their version, others are named."""
    monkeypatch.setattr(machine, "EXTRAS", (("both", "a test", ("numpy", "no-such-package-xyz")),))
    (found,) = extras()
    assert [name for name, _ in found.installed] == ["numpy"]
    assert found.absent == ("no-such-package-xyz",)


@pytest.mark.parametrize(
    ("text", "quota"), [("200000 100000", 2.0), ("max 100000", None), ("150000 100000", 1.5), ("x", None)]
)
def test_quota_of_version_2(tmp_path: Path, text: str, quota: float | None) -> None:
    """A container that may use the time of two processors on a host of 64 has two."""
    fake = FakeHost(tmp_path)
    fake.own("0::/pod/box")
    fake.mount(2, "/sys/fs/cgroup")
    fake.write("/sys/fs/cgroup/pod/cpu.max", text)
    fake.write("/sys/fs/cgroup/pod/box/cpu.max", "max 100000")
    assert processors(tmp_path).quota == quota


def test_quota_of_version_1(tmp_path: Path) -> None:
    """Version 1 has the quota and its period in two files."""
    fake = FakeHost(tmp_path)
    fake.own("3:cpu,cpuacct:/box", "4:memory:/")
    fake.write("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", 50_000)
    fake.write("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", 100_000)
    assert processors(tmp_path).quota == 0.5
    fake.write("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", -1)
    assert processors(tmp_path).quota is None


def test_usable_processors() -> None:
    """A part of a processor is one thread; more time than processors gives no more threads."""
    assert Processors(count=8, quota=None).usable == 8
    assert Processors(count=8, quota=2.4).usable == 2
    assert Processors(count=8, quota=0.5).usable == 1
    assert Processors(count=2, quota=6.0).usable == 2


def test_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of ulimit -v, in MiB."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (512 << 20, resource.RLIM_INFINITY))
    assert address_space_mb() == 512
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert address_space_mb() is None


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """The nearest folder above is looked at; nothing is left behind."""
    found = look_at_disk(tmp_path / "a" / "b")
    assert found.looked_at == os.path.realpath(tmp_path)
    assert 0 < found.free_mb <= found.total_mb
    assert found.locks is True
    assert found.writable
    assert list(tmp_path.iterdir()) == []


def test_disk_that_does_not_answer_or_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead network and a file system without locks are told by values, not raised."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("stale")

    monkeypatch.setattr(machine.shutil, "disk_usage", fail)
    monkeypatch.setattr(machine.fcntl, "lockf", fail)
    found = look_at_disk(tmp_path)
    assert (found.free_mb, found.total_mb, found.locks) == (0, 0, False)
    monkeypatch.setattr(machine.tempfile, "TemporaryFile", fail)
    assert look_at_disk(tmp_path).locks is None


class NVMLError(Exception):
    """What NVIDIA's library raises."""


def fake_nvml(**changes: Any) -> SimpleNamespace:
    facts: dict[str, Any] = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda n: n,
        "nvmlDeviceGetMemoryInfo": lambda n: SimpleNamespace(total=(n + 1) << 30, used=n << 20),
        "nvmlDeviceGetName": lambda n: b"A100" if n else "H100",
        "nvmlDeviceGetUUID": lambda n: f"GPU-{n}",
        "nvmlSystemGetDriverVersion": lambda: b"570.1",
        **changes,
    }
    return SimpleNamespace(**facts)


def test_gpus_by_the_drivers_library() -> None:
    """Old versions of the library give bytes, new ones text."""
    found = find_gpus(fake_nvml())
    assert (found.source, found.driver) == ("NVML", "570.1")
    assert found.devices == (
        Gpu(index=0, name="H100", uuid="GPU-0", total_mb=1024, used_mb=0),
        Gpu(index=1, name="A100", uuid="GPU-1", total_mb=2048, used_mb=1),
    )


def test_gpus_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library without a driver, or one that fails midway, is noted and the next is asked."""

    def fail(*_: object, **__: object) -> None:
        raise NVMLError("no driver")

    monkeypatch.setattr(gpus.shutil, "which", lambda _: None)
    for broken in ("nvmlInit", "nvmlDeviceGetMemoryInfo"):
        found = find_gpus(fake_nvml(**{broken: fail}), use_torch=False)
        assert (found.source, found.devices) == ("none", ())
        assert "no driver" in found.notes[0]


@pytest.mark.parametrize(
    ("script", "count", "words"),
    [
        ("echo '0, GPU-a, NVIDIA H100, 81559, 4, 570.1'; echo '1, GPU-b, L4, [N/A], 0, 570.1'", 2, None),
        ("echo 'what is this'", 0, "cannot be understood"),
        ("exit 9", None, "does not answer"),
    ],
)
def test_gpus_by_the_drivers_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, count: int | None, words: str | None
) -> None:
    """Without the library nvidia-smi is asked; what it says wrongly is noted."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(gpus, "nvml_library", lambda: None)
    monkeypatch.setattr(gpus.shutil, "which", lambda _: str(program))
    found = find_gpus(use_torch=False)
    assert found.source == ("none" if count is None else "nvidia-smi")
    assert len(found.devices) == (count or 0)
    if words:
        assert words in found.notes[0]
    else:
        assert found.devices[0] == Gpu(index=0, uuid="GPU-a", name="NVIDIA H100", total_mb=81559, used_mb=4)
        assert found.devices[1].total_mb == 0


def test_a_torch_for_processors_only_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that was built without GPUs cannot know of any, and importing it takes seconds."""
    monkeypatch.setattr(gpus, "nvml_library", lambda: None)
    monkeypatch.setattr(gpus.shutil, "which", lambda _: None)
    monkeypatch.setattr(gpus, "package_version", lambda _: "2.9.0+cpu")
    monkeypatch.setattr(gpus, "_ask_torch", lambda _: pytest.fail("torch was asked"))
    assert find_gpus().source == "none"
