"""``instances.npz``: what is written comes back; what is damaged is named."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive.instances import INSTANCE_KEYS, instances_to_bytes
from my3dis.errors import DataError, ResourceError
from my3dis.runs.instances import load_instances, save_instances
from my3dis.types import InstanceSet

CONTRACT = [
    "instance_id", "level", "parent_id", "label", "score", "point_offsets", "point_index", "n_points",
]  # fmt: skip


def some_instances() -> InstanceSet:
    return InstanceSet(
        instance_id=np.array([3, 5, 9], np.int32),
        level=np.array([2, 2, 4], np.int16),
        parent_id=np.array([-1, -1, 5], np.int32),
        label=np.array([-1, 7, -1], np.int32),
        score=np.array([0.25, 1.0, 0.0], np.float32),
        point_offsets=np.array([0, 3, 3, 5], np.int64),
        point_index=np.array([0, 4, 9, 1, 2], np.int64),
        n_points=10,
        cloud_digest="abc",
    )


def rewritten(path: Path, **changes: object) -> Path:
    with np.load(path, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    arrays.update({k: np.asarray(v) for k, v in changes.items()})
    np.savez(path, **{k: v for k, v in arrays.items() if v.dtype != object})
    return path


def test_round_trip(tmp_path: Path) -> None:
    """Every field comes back with its value and dtype."""
    path, before = tmp_path / "instances.npz", some_instances()
    save_instances(path, before)
    after = load_instances(path)
    for name in INSTANCE_KEYS:
        old, new = getattr(before, name), getattr(after, name)
        assert np.array_equal(old, new)
        assert np.asarray(old).dtype == np.asarray(new).dtype
    assert [p.name for p in tmp_path.iterdir()] == ["instances.npz"], "no temporary file is left"


def test_plain_numpy_reads_the_contract(tmp_path: Path) -> None:
    """NumPy alone, without unpickling, finds the keys that other tools rely on."""
    path = tmp_path / "instances.npz"
    save_instances(path, some_instances())
    with np.load(path, allow_pickle=False) as stored:
        assert set(CONTRACT) <= set(stored.files)
        assert int(stored["n_points"]) == 10
        start, end = stored["point_offsets"][2:4]
        assert stored["point_index"][start:end].tolist() == [1, 2]


def test_same_instances_same_bytes() -> None:
    """Nothing of the time or place of writing goes into the file."""
    assert instances_to_bytes(some_instances()) == instances_to_bytes(some_instances())


def test_files_of_other_tools_may_use_wider_integers(tmp_path: Path) -> None:
    """An int64 level and a float64 score are read; a file without digest has an empty one."""
    path = tmp_path / "instances.npz"
    with np.load(io.BytesIO(instances_to_bytes(some_instances())), allow_pickle=False) as stored:
        arrays = {k: stored[k] for k in CONTRACT}
    arrays["level"] = arrays["level"].astype(np.int64)
    arrays["score"] = arrays["score"].astype(np.float64)
    np.savez(path, **arrays)
    assert load_instances(path).level.tolist() == [2, 2, 4]
    assert load_instances(path).cloud_digest == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("point_index", [0, 4, 10, 1, 2]),
        ("point_offsets", [0, 3, 3, 6]),
        ("instance_id", [3, 3, 9]),
        ("level", [2.5, 2.0, 4.0]),
        ("level", [2, 2, 70000]),
        ("score", [0.1, np.nan, 0.2]),
        ("score", [0.1, 0.2]),
        ("n_points", 3),
        ("label", [["a"]]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, key: str, value: object) -> None:
    """Whatever does not fit gives one sentence that names the file and what to do."""
    path = tmp_path / "instances.npz"
    save_instances(path, some_instances())
    with pytest.raises(DataError, match=r"instances\.npz.*run the stage lift again"):
        load_instances(rewritten(path, **{key: value}))


def test_missing_arrays_and_files_are_named(tmp_path: Path) -> None:
    """A file without scores says so; no file says which stage makes it; no folder cannot be written."""
    path = tmp_path / "instances.npz"
    np.savez(path, instance_id=np.zeros(0, np.int32))
    with pytest.raises(DataError, match="score"):
        load_instances(path)
    with pytest.raises(DataError, match="run the stage lift"):
        load_instances(tmp_path / "none.npz")
    with pytest.raises(ResourceError):
        save_instances(tmp_path / "no folder" / "instances.npz", some_instances())


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    """An array of Python objects is refused without being loaded."""
    path = tmp_path / "instances.npz"
    save_instances(path, some_instances())
    hostile = io.BytesIO()
    np.lib.format.write_array(hostile, np.array([print, None, None], object), allow_pickle=bool(1))
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members["label.npy"] = hostile.getvalue()
    with zipfile.ZipFile(path, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    with pytest.raises(DataError):
        load_instances(path)


def test_any_damage_gives_a_data_error_or_the_same_instances(tmp_path: Path) -> None:
    """Cut off anywhere or with any byte changed, the file is refused, or what it says is still whole."""
    path, rng = tmp_path / "instances.npz", np.random.default_rng(0)
    whole = instances_to_bytes(some_instances())
    cuts = [whole[:n] for n in rng.integers(0, len(whole), 60).tolist()]
    flips = []
    for at in rng.integers(0, len(whole), 300).tolist():
        changed = bytearray(whole)
        changed[at] ^= int(rng.integers(1, 256))
        flips.append(bytes(changed))
    refused = 0
    for data in (*cuts, *flips, b"", b"PK", b"\x93NUMPY\x01\x00"):
        path.write_bytes(data)
        try:
            loaded = load_instances(path)
        except DataError:
            refused += 1
        else:
            assert np.array_equal(loaded.point_index, some_instances().point_index)
    assert refused > 200


def test_only_what_is_required_is_asked_for(tmp_path: Path) -> None:
    """A file without ``cloud_digest`` loads; without another one the message does not ask for it."""

    def without(key: str) -> Path:
        path = tmp_path / f"without_{key}.npz"
        save_instances(path, some_instances())
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files if name != key}
        np.savez(path, **arrays)
        return path

    assert load_instances(without("cloud_digest")).cloud_digest == ""
    with pytest.raises(DataError, match="found no score") as caught:
        load_instances(without("score"))
    assert "cloud_digest" not in str(caught.value)
