"""How much an old run's file may ask for before it is refused.

All readers of this package work piece by piece, so that memory does not depend on the size of a file.
These are the largest pieces; together they keep a reader below 256 MiB whatever a file claims.
"""

from __future__ import annotations

__all__ = [
    "MAX_BLANK_CHARS",
    "MAX_DEPTH",
    "MAX_DIRECTORY_BYTES",
    "MAX_FRAMES",
    "MAX_FRAME_CODE_BYTES",
    "MAX_FRAME_MEMBER_BYTES",
    "MAX_ID",
    "MAX_ITEMS_PER_FRAME",
    "MAX_KEY_CHARS",
    "MAX_MEMO",
    "MAX_PIXELS",
    "MAX_SMALL_BYTES",
    "MAX_STRUCTURES",
    "MAX_TAR_MEMBER_BYTES",
    "MAX_VALUE_CHARS",
]

MAX_PIXELS = 2**24
"""Pixels of one mask (4096 x 4096)."""

MAX_VALUE_CHARS = 2**22
"""Characters of one JSON value that is taken at once: a mask of `MAX_PIXELS` in base64 needs 2.8 million."""

MAX_FRAME_CODE_BYTES = 2**26
"""Run-length codes of one frame and level; an old frame of 200 masks has 0.5 million."""

MAX_KEY_CHARS = 2**24
"""Keys of one JSON object, each counted with 64 characters more: about 240,000 object ids."""

MAX_STRUCTURES = 400_000
"""Brackets and commas in such a value: an empty list costs 30 times its text in memory."""

MAX_DEPTH = 64
"""Levels of nesting in JSON and in pickles; old runs have at most 8."""

MAX_BLANK_CHARS = 2**20
"""Blanks between two JSON values."""

MAX_DIRECTORY_BYTES = 2**25
"""Table of contents of a zip file: about 300,000 members."""

MAX_FRAME_MEMBER_BYTES = 2**30
"""Unpacked size of one frame's JSON in a zip file."""

MAX_TAR_MEMBER_BYTES = 2**28
"""Size of one member of a chunk of raw candidates."""

MAX_SMALL_BYTES = 4096
"""Text, keys and numbers in a pickle; only pixels may be longer."""

MAX_MEMO = 4_000_000
"""Objects that a pickle may number for later reference: five per mask, so 800,000 masks."""

MAX_FRAMES = 1_000_000
"""Frames of a level, nine hours of video: their numbers are held to refuse a repeat."""

MAX_ITEMS_PER_FRAME = 10_000
"""Masks of one frame and level."""

MAX_ID = 2**31 - 1
"""Largest frame index, object id or unique id (ids are stored with 32 bits)."""
