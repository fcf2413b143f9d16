"""What is read of a host's memory: both versions of control groups, hybrids, containers, gaps and garbage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from my3dis.monitoring import host as host_module
from my3dis.monitoring.cgroups import Pressure
from my3dis.monitoring.host import HostMemory, read_host_memory, safe_concurrency, warning_of
from tests.monitoring.fake_cgroups import MIB, FakeHost

V2, V1 = "/sys/fs/cgroup", "/sys/fs/cgroup/memory"
GIB = 1 << 30


@pytest.fixture
def fake(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def on_v2(fake: FakeHost, path: str = "/", within: str = "/") -> None:
    fake.own(f"0::{path}")
    fake.mount(2, V2, within)


def on_v1(fake: FakeHost, path: str = "/", within: str = "/") -> None:
    fake.own("9:name=systemd:/x", "5:cpu,cpuacct:/", f"4:memory:{path}", "0::/")
    fake.mount(1, V1, within)


# --- version 2


def test_v2_in_a_container_of_its_own(fake: FakeHost) -> None:
    """A container with its own namespace is the root of what it sees: limit, use, peak, kills and stalls."""
    on_v2(fake)
    fake.group_v2(V2, current_mb=3000, limit=4 * GIB, peak_mb=3500, kills=2, cache_mb=(500, 300))
    fake.pressure(f"{V2}/memory.pressure", 12.5, 3.25)
    fake.pressure("/proc/pressure/memory", 90, 80)
    found = read_host_memory(fake.root)
    assert (found.source, found.limit_mb, found.current_mb) == ("cgroup v2", 4096, 3000)
    assert (found.peak_mb, found.oom_kills, found.pressure) == (3500, 2, Pressure(12.5, 3.25))
    assert found.limit_from == fake.path(f"{V2}/memory.max")
    assert found.kills_from == fake.path(f"{V2}/memory.events")
    assert found.missing == found.notes == ()
    group, machine = found.bounds
    assert (group.working_mb, group.held_mb) == (2500, 2200)
    assert (machine.name, machine.capacity_mb, machine.working_mb) == ("this machine", 64_000, 4000)
    assert found.capacity_mb == 4096
    assert found.used_share == pytest.approx(2500 / 4096)


def test_v2_nested_takes_the_group_with_the_least_room(fake: FakeHost) -> None:
    """A limit of a group above counts with what that whole group uses, not with our share of it."""
    on_v2(fake, "/user.slice/user-1.slice/session.scope")
    fake.group_v2(f"{V2}/user.slice", current_mb=11_500, limit=12 * GIB, peak_mb=12_000, kills=9)
    fake.group_v2(f"{V2}/user.slice/user-1.slice", current_mb=900)
    own = f"{V2}/user.slice/user-1.slice/session.scope"
    fake.group_v2(own, current_mb=800, limit=10 * GIB, kills=1)
    found = read_host_memory(fake.root)
    assert (found.limit_mb, found.current_mb, found.peak_mb) == (12 * 1024, 11_500, 12_000)
    assert found.group == fake.path(f"{V2}/user.slice")
    assert (found.oom_kills, found.kills_from) == (1, fake.path(f"{own}/memory.events"))
    assert [bound.capacity_mb for bound in found.bounds] == [10 * 1024, 12 * 1024, 64_000]
    assert found.missing == ()


def test_v2_memory_high_bounds_too(fake: FakeHost) -> None:
    """Above memory.high a group is slowed until it stands, so it is a limit."""
    on_v2(fake)
    fake.group_v2(V2, limit=8 * GIB)
    fake.write(f"{V2}/memory.high", 6 * GIB)
    found = read_host_memory(fake.root)
    assert (found.limit_mb, found.limit_from) == (6 * 1024, fake.path(f"{V2}/memory.high"))


def test_v2_group_without_the_controller_counts_above(fake: FakeHost) -> None:
    """Memory of a group without the controller is accounted to the nearest group that has it."""
    on_v2(fake, "/app/leaf")
    fake.write(f"{V2}/app/leaf/cgroup.type", "domain")
    fake.group_v2(f"{V2}/app", limit=2 * GIB, kills=4)
    found = read_host_memory(fake.root)
    assert (found.group, found.limit_mb, found.oom_kills) == (fake.path(f"{V2}/app"), 2048, 4)
    assert found.missing == ()


def test_v2_root_of_a_machine_has_no_limit_and_no_files(fake: FakeHost) -> None:
    """The root group has no memory files; the machine and its counter count, and nothing is missing."""
    on_v2(fake)
    fake.write(f"{V2}/cgroup.controllers", "cpu memory")
    fake.vmstat(7)
    fake.pressure("/proc/pressure/memory", 5, 1)
    found = read_host_memory(fake.root)
    assert (found.source, found.limit_mb, found.current_mb) == ("system", None, 4000)
    assert (found.oom_kills, found.kills_from, found.pressure) == (7, "/proc/vmstat", Pressure(5, 1))
    assert found.missing == ()


def test_v2_without_memory_events_says_so_and_lowers_concurrency(fake: FakeHost) -> None:
    """R5: the missing counter is named with why it matters and what to do, once, and fewer jobs run."""
    on_v2(fake)
    fake.group_v2(V2, limit=4 * GIB, kills=None)
    found = read_host_memory(fake.root)
    warning = warning_of(found)
    assert warning is not None
    assert f"{fake.path(V2)} has no memory.events" in warning
    assert "cannot be told" in warning
    assert "mount the group's files" in warning
    assert "fewer jobs run at a time" in warning
    assert warning.count("has no") == 1
    assert found.oom_kills is None
    assert [safe_concurrency(found, wanted) for wanted in (1, 2, 3, 8)] == [1, 1, 1, 4]


def test_v2_without_memory_events_takes_the_machines_counter(fake: FakeHost) -> None:
    """The machine's counter stands in for a group's, and the gap is still told."""
    on_v2(fake)
    fake.group_v2(V2, kills=None)
    fake.vmstat(3)
    found = read_host_memory(fake.root)
    assert (found.oom_kills, found.kills_from) == (3, "/proc/vmstat")
    assert len(found.missing) == 1


def test_v2_local_events_stand_in(fake: FakeHost) -> None:
    """memory.events.local is read where memory.events is not there."""
    on_v2(fake)
    fake.group_v2(V2, kills=None)
    fake.write(f"{V2}/memory.events.local", "oom 1\noom_kill 6")
    found = read_host_memory(fake.root)
    assert (found.oom_kills, found.missing) == (6, ())
    assert found.kills_from == fake.path(f"{V2}/memory.events.local")


def test_v2_without_peak_or_stat_is_only_noted(fake: FakeHost) -> None:
    """Kernels before 5.19 keep no peak: that is noted, but nobody is warned and nothing slows down."""
    on_v2(fake)
    fake.group_v2(V2, limit=4 * GIB, peak_mb=None)
    fake.remove(f"{V2}/memory.stat")
    found = read_host_memory(fake.root)
    assert found.peak_mb is None
    assert any("memory.peak" in note for note in found.notes)
    assert any("memory.stat" in note for note in found.notes)
    assert warning_of(found) is None
    assert safe_concurrency(found, 8) == 8


def test_v2_controller_that_is_off_is_missing(fake: FakeHost) -> None:
    """A group whose memory controller is off (and none above has it) hides limit and kills."""
    on_v2(fake, "/a")
    fake.write(f"{V2}/a/cgroup.type", "domain")
    found = read_host_memory(fake.root)
    assert found.source == "system"
    assert any("systemd-run" in sentence for sentence in found.missing)


@pytest.mark.parametrize("text", ["banana", "", "-5", "12 13", "0"])
def test_v2_garbage_for_a_limit_is_told(fake: FakeHost, text: str) -> None:
    """A limit that is no number is unknown, not infinite in silence."""
    on_v2(fake)
    fake.group_v2(V2, limit=text)
    found = read_host_memory(fake.root)
    assert found.limit_mb is None
    assert any("expected a number of bytes or max" in sentence for sentence in found.missing)


def test_v2_garbage_for_the_use_is_told(fake: FakeHost) -> None:
    """Without the use under a limit the group tells nothing; the machine is watched instead."""
    on_v2(fake)
    fake.group_v2(V2, limit=4 * GIB)
    fake.write(f"{V2}/memory.current", "many")
    found = read_host_memory(fake.root)
    assert (found.source, found.limit_mb) == ("system", None)
    assert any("memory.current" in sentence for sentence in found.missing)


def test_a_limit_that_is_not_there_is_told(fake: FakeHost) -> None:
    """The group's own limit must be readable."""
    on_v2(fake)
    fake.group_v2(V2)
    fake.remove(f"{V2}/memory.max")
    assert any("memory.max cannot be read" in s for s in read_host_memory(fake.root).missing)


# --- version 1


def test_v1_with_a_limit(fake: FakeHost) -> None:
    """Limit, use, peak and kills of version 1; page cache is known from the figures of the whole subtree."""
    on_v1(fake, "/docker/abc")
    own = f"{V1}/docker/abc"
    fake.group_v1(V1, current_mb=9000)
    fake.group_v1(f"{V1}/docker", current_mb=3000)
    fake.group_v1(own, current_mb=2000, limit=3 * GIB, peak_mb=2900, kills=5, cache_mb=(700, 100))
    found = read_host_memory(fake.root)
    assert (found.source, found.limit_mb, found.current_mb) == ("cgroup v1", 3072, 2000)
    assert (found.peak_mb, found.oom_kills) == (2900, 5)
    assert found.limit_from == fake.path(f"{own}/memory.limit_in_bytes")
    assert found.kills_from == fake.path(f"{own}/memory.oom_control")
    assert (found.bounds[0].working_mb, found.bounds[0].held_mb) == (1300, 1200)
    assert found.missing == ()


def test_v1_without_a_limit(fake: FakeHost) -> None:
    """The huge number that version 1 writes for "no limit" is none; the machine bounds."""
    on_v1(fake)
    fake.group_v1(V1, current_mb=900)
    found = read_host_memory(fake.root)
    assert (found.source, found.limit_mb, found.capacity_mb) == ("cgroup v1", None, 64_000)
    assert len(found.bounds) == 1


def test_v1_in_a_container_without_a_namespace(fake: FakeHost) -> None:
    """Docker mounts the container's group as the root of the tree, though /proc names it from the host."""
    on_v1(fake, "/docker/abc", within="/docker/abc")
    fake.group_v1(V1, limit=2 * GIB, kills=1)
    found = read_host_memory(fake.root)
    assert (found.limit_mb, found.oom_kills, found.missing) == (2048, 1, ())


def test_v1_limit_of_a_group_that_is_not_visible(fake: FakeHost) -> None:
    """Version 1 tells the lowest limit above, also where a container hides that group."""
    on_v1(fake, "/docker/abc", within="/docker/abc")
    fake.group_v1(V1, current_mb=500, hierarchical=1 * GIB)
    found = read_host_memory(fake.root)
    assert found.limit_mb == 1024
    assert "hierarchical_memory_limit" in (found.limit_from or "")
    assert found.bounds[0].working_mb == 500


def test_v1_without_hierarchy_ignores_groups_above(fake: FakeHost) -> None:
    """With use_hierarchy 0 the limits above do not hold."""
    on_v1(fake, "/a")
    fake.group_v1(V1, limit=1 * GIB)
    fake.group_v1(f"{V1}/a")
    fake.write(f"{V1}/a/memory.use_hierarchy", 0)
    assert read_host_memory(fake.root).limit_mb is None


def test_v1_of_an_old_kernel_has_no_counter(fake: FakeHost) -> None:
    """Kernels before 4.13 count no kills: told, with what to do."""
    on_v1(fake)
    fake.group_v1(V1, kills=None)
    found = read_host_memory(fake.root)
    assert found.oom_kills is None
    assert any("oom_kill" in s and "4.13" in s for s in found.missing)


def test_v1_with_kills_switched_off_is_noted(fake: FakeHost) -> None:
    """With oom_kill_disable jobs hang at the limit, which a person should know."""
    on_v1(fake)
    fake.group_v1(V1)
    fake.write(f"{V1}/memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0")
    found = read_host_memory(fake.root)
    assert any("hang" in note for note in found.notes)
    assert found.missing == ()


# --- hybrids, containers, other systems


def test_hybrid_takes_the_version_that_has_the_controller(fake: FakeHost) -> None:
    """With memory in version 1 and another tree of version 2 beside it, version 1 counts."""
    fake.own("4:memory:/a", "0::/b")
    fake.mount(2, f"{V2}/unified")
    fake.mount(1, V1)
    fake.group_v1(f"{V1}/a", limit=2 * GIB)
    fake.write(f"{V2}/unified/b/cgroup.type", "domain")
    found = read_host_memory(fake.root)
    assert (found.source, found.limit_mb) == ("cgroup v1", 2048)


def test_hybrid_with_memory_in_version_2(fake: FakeHost) -> None:
    """With other controllers in version 1 and memory in version 2, version 2 counts."""
    fake.own("5:cpu,cpuacct:/", "9:name=systemd:/s", "0::/s")
    fake.mount(2, f"{V2}/unified")
    fake.group_v2(f"{V2}/unified/s", limit=2 * GIB)
    found = read_host_memory(fake.root)
    assert (found.source, found.limit_mb) == ("cgroup v2", 2048)


@pytest.mark.parametrize("unified", [False, True])
def test_without_a_list_of_mounts_the_usual_places_are_tried(fake: FakeHost, unified: bool) -> None:
    """Some sandboxes hide the list of mounts, but not the groups."""
    fake.own("0::/a")
    fake.group_v2(f"{V2}/unified/a" if unified else f"{V2}/a", limit=2 * GIB)
    assert read_host_memory(fake.root).limit_mb == 2048


def test_v1_without_a_list_of_mounts(fake: FakeHost) -> None:
    """The usual place of version 1 is tried too."""
    fake.own("4:memory:/")
    fake.group_v1(V1, limit=2 * GIB)
    assert read_host_memory(fake.root).limit_mb == 2048


def test_mount_with_a_space_and_the_nearest_of_several(fake: FakeHost) -> None:
    """The mount that holds the group most closely is read, whatever its path."""
    fake.own("0::/pod/box")
    fake.mount(2, "/mnt/all groups")
    fake.mount(2, "/mnt/my pod", within="/pod")
    fake.group_v2("/mnt/my pod/box", limit=2 * GIB)
    found = read_host_memory(fake.root)
    assert found.group == fake.path("/mnt/my pod/box")
    assert found.missing == ()


@pytest.mark.parametrize("path", ["/system.slice/docker-1.scope", "/../../kube/pod"])
def test_group_that_is_not_visible_is_told(fake: FakeHost, path: str) -> None:
    """A container that sees another part of the tree reads what it sees, and says that it is not its own."""
    on_v2(fake, path)
    fake.group_v2(V2, limit=4 * GIB)
    found = read_host_memory(fake.root)
    assert found.limit_mb == 4096
    assert any(path in s and "--cgroupns=private" in s for s in found.missing)
    assert safe_concurrency(found, 4) == 2


def test_no_mount_at_all_is_told(fake: FakeHost) -> None:
    """A group whose tree is not mounted may have a limit that nobody sees."""
    fake.own("4:memory:/a")
    fake.write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw")
    found = read_host_memory(fake.root)
    assert found.source == "system"
    assert any("no mount of cgroup v1" in s for s in found.missing)


def test_proc_without_groups(fake: FakeHost) -> None:
    """An unreadable list of groups is told; an empty one means a kernel without any."""
    fake.vmstat(0)
    assert any("/proc/self/cgroup cannot be read" in s for s in read_host_memory(fake.root).missing)
    fake.write("proc/self/cgroup", "")
    assert read_host_memory(fake.root).missing == ()
    fake.write("proc/self/cgroup", "what is this")
    assert any("nothing that can be understood" in s for s in read_host_memory(fake.root).missing)


def test_system_without_any_files(tmp_path: Path) -> None:
    """Elsewhere than on Linux the machine's memory is known, and that nothing counts kills is told."""
    found = read_host_memory(tmp_path)
    assert found.source == "system"
    assert found.total_mb > 100
    assert 0 < found.available_mb <= found.total_mb
    assert found.oom_kills is None
    assert len(found.missing) == 1
    assert "no counter of killed processes" in found.missing[0]


def test_machine_that_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When not even the machine's memory can be read, that is told and nothing is raised."""

    def fail() -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(host_module.psutil, "virtual_memory", fail)
    found = read_host_memory(tmp_path)
    assert any("memory of this machine cannot be read" in s for s in found.missing)
    assert (found.capacity_mb, found.used_share, found.bounds) == (0.0, 0.0, ())


def test_swap_is_read(fake: FakeHost) -> None:
    """The machine's swap is shown to a person."""
    fake.meminfo(1000, 500, swap_mb=200)
    found = read_host_memory(fake.root)
    assert (found.swap_total_mb, found.swap_free_mb) == (200, 200)


def test_this_host_can_be_read() -> None:
    """The real host gives something sensible."""
    found = read_host_memory()
    assert found.source in ("cgroup v2", "cgroup v1", "system")
    assert 0 < found.used_share < 2
    assert found.capacity_mb > 0


def test_unreadable_files_never_raise(fake: FakeHost) -> None:
    """A folder in the place of a file, a broken link and a null byte are all gaps, no errors."""
    on_v2(fake)
    fake.group_v2(V2, limit=4 * GIB)
    fake.remove(f"{V2}/memory.events")
    (fake.root / "sys/fs/cgroup/memory.events").mkdir()
    fake.remove(f"{V2}/memory.peak")
    (fake.root / "sys/fs/cgroup/memory.peak").symlink_to("nowhere")
    found = read_host_memory(fake.root)
    assert (found.limit_mb, found.oom_kills, found.peak_mb) == (4096, None, None)
    fake.own("0::/a\0b")
    assert read_host_memory(fake.root).source == "system"


# --- property tests

_FILES = (
    "proc/meminfo",
    "proc/vmstat",
    "proc/pressure/memory",
    "proc/self/cgroup",
    "proc/self/mountinfo",
    *(f"sys/fs/cgroup/{name}" for name in ("memory.current", "memory.max", "memory.high", "memory.stat")),
    *(f"sys/fs/cgroup/{name}" for name in ("memory.events", "memory.peak", "memory.pressure")),
    *(f"sys/fs/cgroup/memory/memory.{name}" for name in ("usage_in_bytes", "limit_in_bytes", "stat")),
    *(f"sys/fs/cgroup/memory/memory.{name}" for name in ("oom_control", "max_usage_in_bytes")),
)
_PIECES = st.sampled_from(
    (
        *("0::/", "4:memory:/", "4:memory:/x/../y", "0::/" + "a" * 300, "max", "oom_kill 3", "oom_kill -1"),
        *("inactive_file 99999999999999999999", "some avg10=nan", "full avg10=1.00", "MemTotal:  0 kB"),
        *("some avg10=12.00 avg60", "MemAvailable:  5 kB", "MemTotal: 7 kB", "9" * 25, "0", "-1", "1048576"),
        *("٣٤", "1_000", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw", "30 23 0:26 /", " - "),
        *("30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory", "\0", "\n"),
    )
)
_TEXTS = st.one_of(
    st.binary(max_size=60),
    st.lists(_PIECES, max_size=5).map(lambda parts: "\n".join(parts).encode()),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(_FILES), _TEXTS))
def test_garbage_never_raises_and_is_never_silent(tmp_path: Path, contents: dict[str, bytes]) -> None:
    """Whatever the files hold, a look ends with figures that make sense, or with a sentence about the gap."""
    for name in _FILES:
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if name in contents:
            place.write_bytes(contents[name])
    found = read_host_memory(tmp_path)
    assert isinstance(found, HostMemory)
    for bound in found.bounds:
        assert bound.capacity_mb > 0
        assert 0 <= bound.held_mb <= bound.working_mb
    assert found.oom_kills is not None or found.missing
    assert found.limit_mb is None or found.limit_mb in [b.capacity_mb for b in found.bounds]
    if found.pressure:
        assert 0 <= found.pressure.full < 1000
    for sentence in (*found.missing, *found.notes):
        assert ";" in sentence or ":" in sentence, "what it is, and what to do about it"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.none(), st.integers(1, 100)), min_size=1, max_size=4),
    st.lists(st.integers(0, 100), min_size=4, max_size=4),
)
def test_the_least_room_decides_in_any_nesting(
    tmp_path_factory: pytest.TempPathFactory, limits: list[int | None], uses: list[int]
) -> None:
    """In any chain of groups the limit is that of the group with the least room left (worked out by hand)."""
    fake = FakeHost(tmp_path_factory.mktemp("host"))
    place = V2
    on_v2(fake, "/" + "/".join("g" * (n + 1) for n in range(len(limits))))
    for n, (limit, use) in enumerate(zip(limits, uses, strict=False)):
        place += "/" + "g" * (n + 1)
        fake.group_v2(place, current_mb=use, limit="max" if limit is None else limit * MIB)
    found = read_host_memory(fake.root)
    rooms = [limit - use for limit, use in zip(limits, uses, strict=False) if limit is not None]
    if not rooms:
        assert found.limit_mb is None
    else:
        assert found.limit_mb is not None
        assert found.limit_mb - found.current_mb == min(rooms)


def test_a_look_is_a_value(fake: FakeHost) -> None:
    """A look can be kept and compared, since it is frozen."""
    found = read_host_memory(fake.root)
    assert found == dataclasses.replace(found)
    assert hash(found) == hash(dataclasses.replace(found))
