"""Proposing is a matter of its arguments: threads and the working directory are left alone."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from my3dis import plugins
from my3dis.datasets.synthetic import RoomReader, make_room
from my3dis.protocols import BackendOptions, MaskProposer
from my3dis.types import MaskSet


def codes(masks: MaskSet) -> list[tuple[int, bytes]]:
    return list(zip(masks.level.tolist(), masks.rle, strict=True))


def test_two_threads_propose_while_a_third_resolves_paths() -> None:
    """Two proposers at once give what they give alone, and relative paths mean the same all the time."""
    reader = RoomReader(make_room())
    frames = [reader.frame(index) for index in (0, 20)]
    proposer = plugins.proposer("watershed").create(BackendOptions())
    assert isinstance(proposer, MaskProposer)
    alone = [codes(proposer.propose(frame, (2, 4, 6))) for frame in frames]
    before = (Path.cwd(), list(sys.path), dict(os.environ))
    wanted, seen, stop = Path("somewhere").resolve(), set(), threading.Event()

    def resolve() -> None:
        while not stop.is_set():
            seen.add(Path("somewhere").resolve())

    watcher = threading.Thread(target=resolve)
    watcher.start()
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda frame: codes(proposer.propose(frame, (2, 4, 6))), frames))
    stop.set()
    watcher.join()
    assert together == alone
    assert seen == {wanted}
    assert (Path.cwd(), list(sys.path), dict(os.environ)) == before
