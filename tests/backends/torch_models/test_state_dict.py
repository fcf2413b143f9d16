"""Weights are read without running anything that a file may hold."""

from __future__ import annotations

import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from my3dis.backends.torch_models import convert
from my3dis.backends.torch_models.state_dict import read_weights
from my3dis.backends.torch_models.weights import read_state_dict
from my3dis.errors import DataError

ZIP = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "older"])


def saved(path: Path, value: object, as_zip: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=as_zip)
    return path


@ZIP
def test_container_of_a_training_loop(tmp_path: Path, as_zip: bool) -> None:
    """The entry ``model`` holds the weights; what stands beside it is dropped by name."""
    value = {
        "model": OrderedDict(a=torch.arange(3.0), b=torch.ones(2, 2), note="x"),
        "best": np.float64(0.5),
        "iteration": np.int64(7),
        "scheduler": {"last": 3},
    }
    found = read_weights(saved(tmp_path / "w.pth", value, as_zip))
    assert {name: tensor.tolist() for name, tensor in found.tensors.items()} == {
        "a": [0.0, 1.0, 2.0],
        "b": [[1.0, 1.0], [1.0, 1.0]],
    }
    assert found.dropped == ("best (float64)", "iteration (int64)", "scheduler (dict)", "note (str)")


def test_plain_tensors_and_safetensors(tmp_path: Path) -> None:
    """Tensors without a container are read as they are, from a file or all files of a folder."""
    tensors = {"model.a": torch.arange(4.0), "b": torch.ones(1)}
    save_file(tensors, tmp_path / "one.safetensors")
    save_file({"c": torch.zeros(1)}, tmp_path / "two.safetensors")
    for path in (saved(tmp_path / "w.pt", tensors), tmp_path / "one.safetensors"):
        assert read_state_dict(path).keys() == tensors.keys()
        assert torch.equal(read_state_dict(path)["model.a"], tensors["model.a"])
    assert sorted(read_state_dict(tmp_path)) == ["b", "c", "model.a"]


class Trap:
    """Writes a file when it is unpickled by anyone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@ZIP
@pytest.mark.parametrize("kind", ["trap", "namespace"])
def test_a_forbidden_type_is_refused_by_name(tmp_path: Path, as_zip: bool, kind: str) -> None:
    """A file that asks for more than tensors and plain values is refused, and nothing in it runs."""
    sprung = tmp_path / "sprung"
    value = Trap(sprung) if kind == "trap" else argparse.Namespace(a=1)
    name = "posix.mkdir" if kind == "trap" else "argparse.Namespace"
    path = saved(tmp_path / "w.pth", {"model": {"a": torch.ones(1)}, "args": value}, as_zip)
    with pytest.raises(DataError, match=f"{name}.*nothing was read.*safetensors"):
        read_weights(path)
    assert not sprung.exists()


@pytest.mark.parametrize("kind", ["zip", "older", "plain pickle"])
def test_newer_pickles_are_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
    """A pickle that the restricted reader cannot follow is no damaged file, and no advice drops the guard."""
    sprung, path = tmp_path / "sprung", tmp_path / "w.pth"
    value = {"model": {"a": torch.ones(1)}, "args": Trap(sprung)}
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps(Trap(sprung), protocol=4))
    else:
        torch.save(value, path, pickle_protocol=4, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(DataError, match=r"expected a pickle of protocol 2.*nothing was read") as caught:
        read_weights(path)
    assert "weights_only" not in str(caught.value)
    assert not sprung.exists()


def test_the_list_of_the_process_stays_as_it_was(tmp_path: Path) -> None:
    """What we allow for reading is not allowed to others afterwards."""
    before = set(torch.serialization.get_safe_globals())
    read_weights(saved(tmp_path / "w.pth", {"a": torch.ones(1), "b": np.float64(1)}))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>login</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"plain words that are no weights at all", ""),
    ],
)
def test_what_is_no_weights_file(tmp_path: Path, suffix: str, content: bytes, found: str) -> None:
    """A download that went wrong is told by what it is."""
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"expected a weights file.*{found}.*download it again"):
        read_weights(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_every_cut_and_flip_is_a_data_error_or_still_readable(tmp_path: Path) -> None:
    """However a file is cut off or damaged, nothing but DataError comes out."""
    value = {"model": {"a": torch.arange(60.0), "b": torch.ones(5)}, "n": np.float64(2)}
    save_file({"a": torch.arange(60.0)}, tmp_path / "w.safetensors")
    paths = [
        saved(tmp_path / "zip.pth", value),
        saved(tmp_path / "old.pth", value, as_zip=False),
        tmp_path / "w.safetensors",
    ]
    random = np.random.default_rng(5)
    failures = 0
    for path in paths:
        whole = path.read_bytes()
        for turn in range(60):
            broken = bytearray(whole)
            if turn % 2:
                broken = broken[: int(random.integers(1, len(whole)))]
            else:
                broken[int(random.integers(0, min(len(whole), 400)))] ^= int(random.integers(1, 256))
            path.write_bytes(bytes(broken))
            try:
                read_weights(path)
            except DataError:
                failures += 1
        path.write_bytes(whole)
    assert failures > 80


def test_missing_folder_and_no_tensors(tmp_path: Path) -> None:
    """A path that is not there, an empty folder and a file without tensors are told apart."""
    for path, words in (
        (tmp_path / "gone.pth", "cannot read it"),
        (tmp_path, "expected safetensors in this folder"),
        (saved(tmp_path / "list.pth", [1, 2]), "found list"),
        (saved(tmp_path / "empty.pth", {"a": 1}), "expected named tensors, found none"),
    ):
        with pytest.raises(DataError, match=words):
            read_weights(path)


def test_written_tensors_come_back_alike(tmp_path: Path) -> None:
    """Shared, transposed and sliced tensors are written each with its own numbers."""
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"base": base, "again": base, "turned": base.T, "part": base[1], "whole": torch.arange(2)}
    path = tmp_path / "w.safetensors"
    convert.write_safetensors(tensors, path, {"source": "here"})
    found = read_state_dict(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor), name
