"""Files of a run appear whole or not at all, and a full disk is said in one sentence."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from my3dis.errors import DataError, ResourceError
from my3dis.runs.files import (
    atomic_path,
    atomic_write_json,
    atomic_write_text,
    make_folder,
    read_json,
    remove_leftovers,
    translated_os_error,
)


def test_text_replaces_the_old_content(tmp_path: Path) -> None:
    """A second write replaces the first and leaves no other file."""
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old")
    atomic_write_text(path, "nëw")
    assert path.read_text("utf-8") == "nëw"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    """When the writer raises half way, the old file stays and no temporary file is left."""
    path = tmp_path / "a.npz"
    atomic_write_text(path, "old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            assert temporary.suffix == ".npz"
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_takes_paths_and_numpy_scalars_and_refuses_nan(tmp_path: Path) -> None:
    """Paths and NumPy numbers become plain JSON; NaN, which is no JSON, raises."""
    path = tmp_path / "a.json"
    atomic_write_json(path, {"p": Path("x/y"), "n": np.int64(3), "f": np.float32(0.5)})
    assert read_json(path) == {"p": "x/y", "n": 3, "f": 0.5}
    with pytest.raises(ValueError, match=r"NaN|Out of range"):
        atomic_write_json(path, {"bad": float("nan")})
    assert json.loads(path.read_text())["n"] == 3


def test_file_mode_follows_the_umask(tmp_path: Path) -> None:
    """Files are as readable for others as the user's umask says."""
    old = os.umask(0o022)
    try:
        atomic_write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EFBIG, "full"), (errno.EROFS, "permissions")],
)
def test_system_errors_become_sentences(code: int, words: str) -> None:
    """A full disk and a read-only folder are named, with what to do."""
    error = translated_os_error(OSError(code, os.strerror(code)), Path("out"))
    assert isinstance(error, ResourceError)
    assert words in str(error)


def test_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    """An output path below a regular file cannot be created and says so."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="choose another output folder"):
        make_folder(tmp_path / "file" / "out")


def test_broken_json_names_the_file(tmp_path: Path) -> None:
    """Text that is no JSON raises DataError naming the file; a missing file asks for a run folder."""
    (tmp_path / "m.json").write_text("{half")
    with pytest.raises(DataError, match=r"m\.json"):
        read_json(tmp_path / "m.json")
    with pytest.raises(DataError, match="folder of a run"):
        read_json(tmp_path / "none.json")


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    """Temporary files of a killed run disappear, others stay."""
    (tmp_path / "sub").mkdir()
    (tmp_path / ".tmp-1-0-a.json").write_text("x")
    (tmp_path / "sub" / ".tmp-1-1-b.jpg").write_text("x")
    (tmp_path / "keep.json").write_text("x")
    assert remove_leftovers(tmp_path) == 2
    assert (tmp_path / "keep.json").exists()


def test_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    """Under a file size limit a write raises ResourceError and the old content stays."""
    code = f"""
import resource
from pathlib import Path
from my3dis.errors import ResourceError
from my3dis.runs.files import atomic_write_bytes
path = Path({str(tmp_path / "a")!r})
atomic_write_bytes(path, b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write_bytes(path, b"x" * 5000)
except ResourceError as error:
    assert "full" in str(error), error
    assert path.read_bytes() == b"old"
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "refused", done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
