"""Hostile files are each answered with their own error, in bounded memory, and nothing of them is run."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from my3dis.archive.legacy import (
    iter_candidates,
    iter_filtered,
    iter_raw,
    iter_segments,
    object_trees,
    open_legacy_run,
    pickle_stream,
    segments,
)
from my3dis.archive.legacy.pickle_stream import PickleStream
from my3dis.errors import ArchiveError, DataError
from tests.archive.legacy import corpus, old_style

BOUND_BYTES = 128 << 20


def parents(folder: Path) -> list[object]:
    (folder / "level_2").mkdir(exist_ok=True)
    return [tree.parents() for tree in object_trees(open_legacy_run(folder))]


def opened(folder: Path) -> list[object]:
    (folder / "level_2").mkdir(exist_ok=True)
    return [open_legacy_run(folder)]


READERS: dict[str, Callable[[Path], Iterable[object]]] = {
    "segments": lambda folder: iter_segments(folder / "video_segments.npz"),
    "filtered": lambda folder: iter_filtered(folder / "filtered.json"),
    "candidates": lambda folder: iter_candidates(folder / "candidates.json"),
    "raw": lambda folder: iter_raw(folder / "raw"),
    "run": opened,
    "trees": parents,
}


def test_the_corpus_names_each_case_once() -> None:
    """No case hides another."""
    names = [case.name for case in corpus.CASES]
    assert len(set(names)) == len(names) >= 120


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)
def test_a_hostile_file_is_refused_with_its_own_error(
    tmp_path: Path, case: corpus.Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names what is wrong; it costs less memory than stated; nothing is run or written."""
    # Tracing makes instructions ten times slower; the test of the worst files runs them all.
    monkeypatch.setattr(pickle_stream, "_MAX_STEPS", 50_000)
    case.make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    tracemalloc.start()
    try:
        with pytest.raises((ArchiveError, DataError), match=case.says) as caught:
            list(READERS[case.reader](tmp_path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < BOUND_BYTES, f"{peak >> 20} MiB"
    assert len(str(caught.value)) < 1500
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "level_2"] == before
    assert not Path("/tmp/legacy-corpus-was-here").exists()


_WORST = """
import resource, sys
from pathlib import Path
from my3dis.archive.legacy import iter_segments
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(Path, sys.argv[1:]):
    try:
        print(path.name, sum(len(frame.items) for frame in iter_segments(path)))
    except Exception as error:
        print(path.name, type(error).__name__, error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_the_worst_masks_stay_below_the_stated_memory(tmp_path: Path) -> None:
    """The largest masks of the most runs cost a process less than 256 MiB, dense, packed or in JSON."""
    pixels = np.zeros((4096, 4096), np.bool_)
    pixels[::2, :] = True  # every pixel of a column ends a run
    frames = {f: dict.fromkeys(range(2), pixels) for f in range(2)}
    old_style.write_json_zip(tmp_path / "json.npz", frames)
    old_style.write_pickled_dense(tmp_path / "dense.npz", frames)
    old_style.write_pickled_packed(tmp_path / "packed.npz", frames)
    paths = [str(tmp_path / name) for name in ("json.npz", "dense.npz", "packed.npz")]
    done = subprocess.run([sys.executable, "-c", _WORST, *paths], capture_output=True, text=True, check=True)
    *lines, grown = done.stdout.splitlines()
    assert lines == ["json.npz 4", "dense.npz 4", "packed.npz 4"]
    assert int(grown) < 256, done.stdout


def test_a_frame_of_too_many_runs_is_refused(tmp_path: Path) -> None:
    """Masks that are small in the file and large in memory are counted, not collected."""
    pixels = np.zeros((2048, 2048), np.bool_)
    pixels[::2, :] = True
    old_style.write_json_zip(tmp_path / "video_segments.npz", {0: dict.fromkeys(range(18), pixels)})
    with pytest.raises(DataError, match="bytes in a frame"):
        list(iter_segments(tmp_path / "video_segments.npz"))


EMPTY_FRAMES = [corpus.text(str(number)) + b"}" for number in range(60_000)]
RENUMBERED = [corpus.text(str(number)) + b"}q\0s" for number in range(30_000)]


@pytest.mark.parametrize(
    ("instructions", "frames"),
    [(b"}(" + b"".join(EMPTY_FRAMES) + b"u", 60_000), (b"}r\x80\x84\x1e\0" + b"".join(RENUMBERED), 30_000)],
    ids=["frames that wait for each other", "one number given again and again"],
)
def test_time_grows_with_the_length_of_a_pickle_only(
    tmp_path: Path, instructions: bytes, frames: int
) -> None:
    """What was read before is not looked through again at every frame: that took minutes to hours."""
    corpus.pickled(tmp_path, b"\x80\x04" + instructions + b".")
    began = time.process_time()
    assert sum(1 for _ in iter_segments(tmp_path / "video_segments.npz")) == frames
    assert time.process_time() - began < 15


def test_frames_are_numbered_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of frames are held, so there is an end to them."""
    monkeypatch.setattr(segments, "MAX_FRAMES", 2)
    tracks = old_style.some_tracks(0, (0, 1, 2), (9, 13))
    old_style.write_pickled_dense(tmp_path / "video_segments.npz", tracks)
    with pytest.raises(DataError, match="at most 2 frames, found more"):
        list(iter_segments(tmp_path / "video_segments.npz"))


def valid_files(folder: Path) -> list[tuple[str, Path]]:
    """One small file of every kind, as (reader, path of the file to damage)."""
    tracks = old_style.some_tracks(0, (0, 1), (9, 13))
    paths = []
    for name, write in (
        ("json", old_style.write_json_zip),
        ("dense", old_style.write_pickled_dense),
        ("packed", old_style.write_pickled_packed),
    ):
        write(folder / name / "video_segments.npz", tracks)
        paths.append(("segments", folder / name / "video_segments.npz"))
    masks = [old_style.blob(np.random.default_rng(1), (9, 13)) for _ in range(2)]
    entries = [(old_style.item(mask, 0, 2, "0.png"), mask) for mask in masks]
    old_style.write_filtered(folder / "f" / "filtered.json", {0: entries})
    old_style.write_candidates(folder / "c" / "candidates.json", [meta for meta, _ in entries])
    old_style.write_raw_chunks(folder / "r" / "raw", {0: list(entries)}, compression="")
    paths.append(("filtered", folder / "f" / "filtered.json"))
    paths.append(("candidates", folder / "c" / "candidates.json"))
    paths.append(("raw", folder / "r" / "raw" / "chunk_0000.tar"))
    return paths


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or replace a few bytes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(max(1, len(changed)))
        kind = rng.randrange(5)
        if kind == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            del changed[at : at + rng.randint(1, 40)]
        elif kind == 3:
            changed[at:at] = changed[at : at + rng.randint(1, 40)]
        else:
            changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"9999", b"[[[[", b"cos\n"))
    return bytes(changed)


def campaign(folder: Path, seed: int, rounds: int) -> None:
    """Damage every kind of file over and over; anything but a reading or an error of ours fails."""
    rng = random.Random(seed)
    for reader, path in valid_files(folder):
        whole = path.read_bytes()
        top = path.parent.parent if reader == "raw" else path.parent
        for _ in range(rounds):
            path.write_bytes(damage(whole, rng))
            try:
                with warnings.catch_warnings():
                    # NumPy warns of odd headers before it refuses them.
                    warnings.simplefilter("ignore")
                    list(READERS[reader](top))
            except (ArchiveError, DataError):
                continue
        path.write_bytes(whole)


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    """A few hundred damaged files of every kind: no other exception, no hang."""
    campaign(tmp_path, seed=1, rounds=60)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_are_read_or_refused_for_long(tmp_path: Path, seed: int) -> None:
    """The same, tens of thousands of times."""
    campaign(tmp_path, seed=100 + seed, rounds=3000)


class Source:
    """Bytes as a member of an archive gives them."""

    name = "fuzz"

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        data, self._data = self._data[:size], self._data[size:]
        return data

    def read_exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) < size:
            raise ArchiveError("cut off")
        return data


INSTRUCTIONS = st.lists(
    st.one_of(
        st.sampled_from([
            b"}", b"]", b")", b"(", b"t", b"u", b"s", b"a", b"e", b"N", b"\x88", b"\x89", b"\x94", b"R", b"b",
            b"\x85", b"\x86", b"\x87", b"\x93", b".", b"h\0", b"h\1", b"q\0", b"K\0", b"K\1", b"C\1b",
            corpus.ARRAY, corpus.B1, corpus.OBJECT, corpus.RECONSTRUCT, b"cnumpy.core.multiarray\nscalar\n",
            corpus.text("0"), corpus.text("1"), corpus.text("shape"), corpus.text("packed_bits"),
            corpus.ARRAY + b"(K\1K\2K\2\x86" + corpus.B1 + b"\x89C\4\1\0\1\1tb", b"cposix\nsystem\n",
        ]),
        st.binary(min_size=1, max_size=3),
    ),
    max_size=40,
)  # fmt: skip


def run_instructions(parts: list[bytes]) -> None:
    try:
        list(PickleStream(Source(b"\x80\x04" + b"".join(parts) + b".")).pairs())  # type: ignore[arg-type]
    except (ArchiveError, DataError):
        return


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(INSTRUCTIONS)
def test_any_instructions_are_followed_or_refused(parts: list[bytes]) -> None:
    """Whatever a pickle says, the machine ends with frames or with an error of ours."""
    run_instructions(parts)


@pytest.mark.soak
@settings(max_examples=200_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(INSTRUCTIONS)
def test_any_instructions_are_followed_or_refused_for_long(parts: list[bytes]) -> None:
    """The same, far more often."""
    run_instructions(parts)
