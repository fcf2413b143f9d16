"""One frame and level of an old run, as its files give it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from my3dis.archive.legacy.limits import MAX_FRAME_CODE_BYTES, MAX_ITEMS_PER_FRAME
from my3dis.archive.legacy.masks import (
    LegacyItem,
    LegacyMask,
    half_open_box,
    real_number,
    whole_number,
)
from my3dis.errors import DataError

__all__ = ["LegacyFrame", "candidate", "frame_name"]

_GAP = "gap_fill"


@dataclass(slots=True, kw_only=True)
class LegacyFrame:
    """The masks of one frame and level of an old run.

    Attributes:
        index: as recorded; `my3dis.archive.legacy.run` knows which frame of the scan it is.
        name: of the colour file, None when not recorded.
        items: in the order of the file.
    """

    index: int
    name: str | None = None
    items: list[LegacyItem] = field(default_factory=list)
    _code_bytes: int = 0
    _objects: set[int] = field(default_factory=set)

    def add(self, item: LegacyItem, owner: str) -> None:
        """Append an item.

        Raises:
            DataError: if the frame has the object already, or more items or bytes of masks than any old run.
        """
        if item.object_id is not None:
            if item.object_id in self._objects:
                raise DataError(
                    f"{owner}: expected each object once in frame {self.index}, found {item.object_id} twice"
                )
            self._objects.add(item.object_id)
        self.items.append(item)
        self._code_bytes += len(item.mask.rle) if item.mask is not None else 0
        if len(self.items) > MAX_ITEMS_PER_FRAME or self._code_bytes > MAX_FRAME_CODE_BYTES:
            raise DataError(
                f"{owner}: expected at most {MAX_ITEMS_PER_FRAME} masks of {MAX_FRAME_CODE_BYTES} bytes in a "
                f"frame, found more in frame {self.index}"
            )


def frame_name(value: object, owner: str) -> str | None:
    """Return a frame's name.

    Raises:
        DataError: if it is no short text.
    """
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 255:
        raise DataError(f"{owner}: expected the name of a frame, found {str(value)[:40]!r}")
    return value


def candidate(record: Mapping[str, object], mask: LegacyMask | None, owner: str) -> LegacyItem:
    """Return the candidate that a JSON object describes.

    Raises:
        DataError: if a number in it is none.
    """
    stability = record.get("stability_score")
    is_nan = isinstance(stability, float) and math.isnan(stability)
    ids = {
        key: None if record.get(key) is None else whole_number(record[key], f"{owner}: {key}")
        for key in ("unique_id", "parent_unique_id")
    }
    return LegacyItem(
        mask=mask,
        box_xyxy=half_open_box(record, owner),
        stability=math.nan if is_nan else 1.0 if stability is None else real_number(stability, owner),
        unique_id=ids["unique_id"],
        parent_unique_id=ids["parent_unique_id"],
        is_gap=record.get("source") == _GAP or str(record.get("frame_name")).startswith("gap_"),
    )
