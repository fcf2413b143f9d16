"""Random access to the frames of one long deflate stream, in bounded memory.

A deflate stream can only be read from its start. Going forward, the decoder is copied every so many
frames (about 50 KB each, at most `_MOST_PLACES` of them), so that going back starts at the last copy
before the frame. Nothing that was inflated is kept.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from my3dis.errors import DataError

__all__ = ["DeflateFrames", "window_bits"]

_PIECE = 1 << 14
_MOST_PLACES = 64
_FIRST_SPACING = 16


def window_bits(head: bytes) -> int:
    """Return how zlib is to read a deflate stream that begins so: with a zlib header, or raw (negative)."""
    # A zlib header names deflate with a window of up to 32 KiB and is a multiple of 31; raw deflate
    # that starts so would be a stored block with stray bits.
    wrapped = len(head) >= 2 and head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS


@dataclass(slots=True)
class _Place:
    """A decoder before the first byte of a frame.

    Attributes:
        frame: that frame.
        offset: of the first byte of the file that was not read yet.
        pending: bytes that were read and not decoded yet.
        decoder: a zlib decompression object.
    """

    frame: int
    offset: int
    pending: bytes
    decoder: Any

    def copy(self) -> _Place:
        return _Place(self.frame, self.offset, self.pending, self.decoder.copy())


class DeflateFrames:
    """Frames of equal size, compressed as one stream: raw deflate, or with a zlib header.

    Reading in ascending order inflates every byte once. Safe to use from several threads.

    Args:
        path: the file; opened for each read, so that it is not held open.
        frame_bytes: size of a frame when inflated.
    """

    def __init__(self, path: Path, frame_bytes: int) -> None:
        self._path = path
        self._size = frame_bytes
        self._lock = threading.Lock()
        self._spacing = _FIRST_SPACING
        self._places: dict[int, _Place] = {}
        self._now: _Place | None = None

    @property
    def places(self) -> int:
        """Number of copies of the decoder that are held."""
        return len(self._places)

    def read(self, index: int) -> bytes:
        """Return the bytes of a frame.

        Raises:
            DataError: if the stream is corrupt, or ends before the end of the frame.
        """
        with self._lock:
            try:
                return self._read(index)
            except OSError as error:
                raise DataError(
                    f"{self._path}: expected a readable file, found {error.strerror}; restore it"
                ) from error
            except zlib.error as error:
                raise DataError(
                    f"{self._path}: expected a deflate stream as far as frame {index}, found one that is "
                    f"corrupt before its end ({error}); copy the file again from its source"
                ) from error

    def _read(self, index: int) -> bytes:
        place = self._place_before(index)
        self._now = None  # a failure on the way leaves it in the middle of a frame
        with self._path.open("rb") as file:
            file.seek(place.offset)
            while place.frame < index:
                self._inflate(place, file, keep=False)
                self._remember(place)
            data = self._inflate(place, file, keep=True)
            self._remember(place)
        self._now = place
        return data

    def _place_before(self, index: int) -> _Place:
        known = [frame for frame in self._places if frame <= index]
        best = self._places[max(known)] if known else None
        now = self._now
        if now is not None and now.frame <= index and (best is None or best.frame <= now.frame):
            return now
        return best.copy() if best is not None else self._start()

    def _start(self) -> _Place:
        with self._path.open("rb") as file:
            head = file.read(2)
        return _Place(0, 0, b"", zlib.decompressobj(window_bits(head)))

    def _inflate(self, place: _Place, file: BinaryIO, *, keep: bool) -> bytes:
        """Inflate one frame and move the place behind it; return its bytes if they are to be kept."""
        pieces: list[bytes] = []
        missing = self._size
        while missing:
            if not place.pending:
                place.pending = file.read(_PIECE)
                place.offset += len(place.pending)
            ended = not place.pending
            piece = place.decoder.decompress(place.pending, missing)
            place.pending = place.decoder.unconsumed_tail
            missing -= len(piece)
            if keep:
                pieces.append(piece)
            if missing and (place.decoder.eof or (ended and not piece)):
                raise DataError(
                    f"{self._path}: expected frame {place.frame}, found that the stream ends "
                    f"{'there' if missing == self._size else 'within it'}: it holds {place.frame} whole "
                    f"frames of {self._size} bytes; copy the file again from its source, or choose frames "
                    "before its end"
                )
        place.frame += 1
        return b"".join(pieces)

    def _remember(self, place: _Place) -> None:
        if place.frame % self._spacing or place.frame in self._places or place.decoder.eof:
            return
        self._places[place.frame] = place.copy()
        if len(self._places) > _MOST_PLACES:
            self._spacing *= 2
            self._places = {f: p for f, p in self._places.items() if f % self._spacing == 0}
