"""Arrays in one file: whole or not at all, and damage is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from my3dis.errors import DataError, ResourceError
from my3dis.runs.array_file import ArrayFile, read_arrays, write_arrays

DTYPES = st.sampled_from(["bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i4"])
CONTENT = st.dictionaries(
    st.text(min_size=1, max_size=5).filter(lambda name: name != "__metadata__"),
    arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, min_side=0, max_side=4)),
    max_size=4,
)


@given(CONTENT, st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, np.ndarray], facts: dict[str, str]
) -> None:
    """Names, values, types, shapes and facts come back, from any byte order and layout in memory."""
    path = tmp_path_factory.getbasetemp() / "arrays"
    write_arrays(path, ArrayFile(content, facts))
    found = read_arrays(path)
    assert set(found.arrays) == set(content)
    assert found.facts == facts
    for name, array in content.items():
        assert found.arrays[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found.arrays[name], array)


def test_every_damaged_byte_is_told(tmp_path: Path) -> None:
    """A file with any bit flipped or any tail missing is a DataError that names it."""
    path = tmp_path / "arrays"
    write_arrays(path, ArrayFile({"a": np.arange(5), "b": np.eye(2, dtype=np.float32)}, {"x": "y"}))
    sound = path.read_bytes()
    text_end = 8 + int.from_bytes(sound[:8], "little")
    for place in range(0, len(sound), 3):
        if sound[place : place + 1] == b" " and place < text_end:
            continue  # spaces of the header mean nothing
        damaged = bytearray(sound)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="expected saved arrays, found damage"):
            read_arrays(path)
    for length in range(0, len(sound), 7):
        path.write_bytes(sound[:length])
        with pytest.raises(DataError, match=str(path)):
            read_arrays(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Types without a place are refused, and nothing changes."""
    path = tmp_path / "arrays"
    write_arrays(path, ArrayFile({"a": np.arange(5)}, {}))
    before = path.read_bytes()
    with pytest.raises(TypeError, match="b: arrays of complex128 cannot be written"):
        write_arrays(path, ArrayFile({"b": np.zeros(1, complex)}, {}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ResourceError, match="cannot write"):
        write_arrays(tmp_path / "none" / "arrays", ArrayFile({}, {}))
