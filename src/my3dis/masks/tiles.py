"""Shared areas of all pairs of two lists of masks, from their runs: exact, and cheap for many pairs.

The image is cut into tiles of 32 x 32 pixels. Most tiles lie wholly inside or outside a mask; what pairs
share where at least one of both is so is a product of two matrices of areas, most of them 0. Only where two
borders cross the same tile do pixels count: for these tiles, and no others, a mask's pixels are kept as bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

__all__ = ["MAX_TILES", "Tiles", "shared_areas", "tile_count", "tiles"]

SIDE = 32
"""Rows and columns of a tile: a column of it is one 32-bit word."""

MAX_TILES = 1 << 20
"""The most tiles of all masks together, empty ones included, that callers should make at once."""

_SHIFT = SIDE.bit_length() - 1
_TILE_PX = SIDE * SIDE
# The bits of a column from row m of the tile down, as a number; row 0 is the lowest bit.
_FROM_ROW = 2.0**SIDE - 2.0 ** np.arange(SIDE)
_ALL_ROWS = 2.0**SIDE - 1
# What is worked on at once stays in the processor's second cache: runs that are cut, pairs that are compared.
_RUNS_AT_ONCE = 1 << 14
_PAIRS_AT_ONCE = 4096
# A sparse product takes this many times as long per multiplication as a dense one; measured.
_SPARSE_COST = 12
# float32 holds every whole number up to here.
_EXACT_PX = 1 << 24

_Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """N masks of one size, cut into the T tiles in which each has pixels, by mask and place.

    Attributes:
        n: number of masks N.
        n_places: number of places C that a tile can have.
        of_mask: (T,) int64 position of the mask that the tile belongs to.
        at: (T,) int64 place of the tile, 0 <= at < C.
        area_px: (T,) int64 pixels of the mask in the tile.
        words: (S, 16) uint64 pixels of those tiles, in order, that lie only partly in their mask.
    """

    n: int
    n_places: int
    of_mask: NDArray[np.int64]
    at: NDArray[np.int64]
    area_px: NDArray[np.int64]
    words: NDArray[np.uint64]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Whether each tile (T,) lies wholly in its mask."""
        whole: NDArray[np.bool_] = self.area_px == _TILE_PX
        return whole

    def mask_areas_px(self) -> NDArray[np.int64]:
        """Return the pixels (N,) of each mask."""
        return np.bincount(self.of_mask, self.area_px, self.n).astype(np.int64)

    def matrix(self, chosen: NDArray[np.bool_], *, ones: bool = False) -> csr_array:
        """Return the areas of the chosen tiles as a sparse (N, C) matrix; with ``ones``, 1 for each."""
        kind = np.float32 if self.n_places * _TILE_PX <= _EXACT_PX else np.float64
        area_px = self.area_px[chosen]
        pointers = np.searchsorted(self.of_mask[chosen], np.arange(self.n + 1))
        values = (np.ones_like(area_px) if ones else area_px).astype(kind)
        return csr_array((values, self.at[chosen], pointers), shape=(self.n, self.n_places))


def tile_count(image_size: tuple[int, int]) -> int:
    """Return the number C of places of tiles: one more per column than the image has, as room for sums."""
    return _rows(image_size) * -(-image_size[1] // SIDE)


def tiles(counts: Sequence[NDArray[np.uint32]], image_size: tuple[int, int]) -> Tiles:
    """Cut masks into tiles.

    Args:
        counts: run lengths of each mask, column-major, starting with background.
        image_size: (H, W) of all masks.
    """
    nothing = np.zeros(0, np.int64)
    parts: list[_Columns] = [(nothing, nothing, nothing, np.zeros((0, SIDE // 2), np.uint64))]
    for group in _groups(counts):
        of_mask, places, areas, bits = _cut([counts[i] for i in group], image_size)
        parts.append((np.array(group)[of_mask], places, areas, bits))
    of_mask, at, area_px, words = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Tiles(
        n=len(counts),
        n_places=tile_count(image_size),
        of_mask=of_mask,
        at=at,
        area_px=area_px,
        words=words,
    )


def _groups(counts: Sequence[NDArray[np.uint32]]) -> Iterator[list[int]]:
    """Yield the positions of masks that have pixels, in groups of bounded size."""
    group: list[int] = []
    runs = 0
    for i, some in enumerate(counts):
        if len(some) < 2:
            continue
        group.append(i)
        runs += len(some)
        if runs >= _RUNS_AT_ONCE:
            yield group
            group, runs = [], 0
    if group:
        yield group


def shared_areas(a: Tiles, b: Tiles) -> NDArray[np.int64]:
    """Return the (Na, Nb) int64 pixels that every pair of two lists of masks of one size shares."""
    # Where at least one of both is wholly inside, they share what the other has there.
    in_a, in_b = a.inside, b.inside
    everywhere = np.ones(len(b.at), np.bool_)
    shared = _product(a.matrix(in_a, ones=True), b.matrix(everywhere))
    shared += _product(a.matrix(~in_a), b.matrix(in_b, ones=True))
    _add_borders(shared, a, b)
    return shared


def _product(a: csr_array, b: csr_array) -> NDArray[np.int64]:
    """Multiply (Na, C) by the transpose of (Nb, C): exact, all values and sums are whole numbers."""
    multiplications = int(np.dot(*(np.bincount(m.indices, minlength=m.shape[1]) for m in (a, b))))
    if multiplications * _SPARSE_COST < a.shape[0] * b.shape[0] * a.shape[1]:
        product = (a @ b.T.tocsr()).toarray()
    else:
        product = a.toarray() @ b.toarray().T
    return np.asarray(product).astype(np.int64)


def _add_borders(shared: NDArray[np.int64], a: Tiles, b: Tiles) -> None:
    """Add the pixels shared in tiles that lie partly in both masks of a pair."""
    at_a, at_b = a.at[~a.inside], b.at[~b.inside]
    row, column = a.of_mask[~a.inside] * b.n, b.of_mask[~b.inside]
    # Tiles of b in the order of their places: those at place p begin at first[p].
    order = np.argsort(at_b, kind="stable")
    n_at = np.bincount(at_b, minlength=b.n_places)
    first = np.cumsum(n_at) - n_at
    rivals = n_at[at_a]
    ends = np.cumsum(rivals)
    begin = done = 0
    while begin < len(rivals):
        end = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        n = rivals[begin:end]
        mine = np.repeat(np.arange(begin, end), n)
        step = np.arange(len(mine)) - np.repeat(ends[begin:end] - n - done, n)
        its = order[np.repeat(first[at_a[begin:end]], n) + step]
        common = _common_px(a.words.take(mine, axis=0), b.words.take(its, axis=0))
        np.add.at(shared.reshape(-1), row[mine] + column[its], common)
        begin, done = end, int(ends[end - 1])


def _common_px(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the number of bits (n,) set in both rows of two (n, 16) arrays; the first is overwritten."""
    a &= b
    per_word = np.bitwise_count(a).view(np.uint64)
    # Eight counts of one byte each become four of two bytes, which can hold the sum of all.
    even = np.uint64(0x00FF00FF00FF00FF)
    pairs = (per_word & even) + (per_word >> np.uint64(8) & even)
    total = (pairs[:, 0] + pairs[:, 1]) * np.uint64(0x0001000100010001) >> np.uint64(48)
    return total.view(np.int64)


def _rows(image_size: tuple[int, int]) -> int:
    # A mask that ends at the last row is switched off in the row of tiles after it.
    return image_size[0] // SIDE + 1


def _cut(counts: Sequence[NDArray[np.uint32]], image_size: tuple[int, int]) -> _Columns:
    """Return masks, places, areas and words, as `Tiles` has them, of masks that all have pixels."""
    rows = _rows(image_size)
    column, top, bottom, columns = _pieces(counts, image_size[0])
    mask = column // image_size[1]
    x = column - mask * image_size[1]
    # Each mask gets the strips of tiles from its first to its last column, one mask after the other.
    first, last = (columns - np.arange(len(counts)) * image_size[1]) >> _SHIFT
    n_strips = last - first + 1
    before = np.cumsum(n_strips) - n_strips - first
    size = int(n_strips.sum()) * rows
    base = (before[mask] + (x >> _SHIFT)) * rows
    x &= SIDE - 1
    # Every piece of a column switches its mask on at its top and off at its bottom.
    on, off = base + (top >> _SHIFT), base + (bottom >> _SHIFT)
    top &= SIDE - 1
    bottom &= SIDE - 1
    # What was switched on above a tile is on in it from its first row. The sums may run on from one strip to
    # the next: at the end of each everything is off.
    above, area = _sums((on, off), (SIDE - top, SIDE - bottom), size)
    area += SIDE * (np.cumsum(above) - above)
    filled = np.flatnonzero(area)
    area_px = area[filled].astype(np.int64)
    partly = np.zeros(size, np.int64)
    partly[filled[area_px < _TILE_PX]] = 1
    # Switches outside such tiles lie on an edge between tiles: the next such tile begins with them.
    following = np.cumsum(partly) - partly
    keys = following[on] * SIDE + x, following[off] * SIDE + x
    above, words = _sums(keys, (_FROM_ROW[top], _FROM_ROW[bottom]), (int(partly.sum()) + 1) * SIDE)
    carried = np.cumsum(above.reshape(-1, SIDE), axis=0).ravel()
    carried -= above
    words += _ALL_ROWS * carried
    strip, row = np.divmod(filled, rows)
    of_mask = np.repeat(np.arange(len(counts)), n_strips)[strip]
    bits = words[:-SIDE].astype(np.uint32).view(np.uint64).reshape(-1, SIDE // 2)
    return of_mask, (strip - before[of_mask]) * rows + row, area_px, bits


def _pieces(
    counts: Sequence[NDArray[np.uint32]], height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut the runs of masks where they go on into the next column.

    Columns are counted on from one mask to the next.

    Returns:
        Column, first row and row after the last of every piece, in any order; (2, N) first and last column
        of each mask.
    """
    places = np.cumsum(np.concatenate(counts), dtype=np.int64)
    lengths = np.array([len(c) for c in counts])
    # Every second place ends a run of foreground, unless the mask ends with background.
    places = np.delete(places, (np.cumsum(lengths) - 1)[lengths % 2 == 1])
    starts, ends = np.ascontiguousarray(places[::2]), np.ascontiguousarray(places[1::2])
    column, last = starts // height, (ends - 1) // height
    top, bottom = starts - column * height, ends - column * height
    past = np.cumsum(lengths // 2)
    columns = np.stack([column[past - lengths // 2], last[past - 1]])
    long = np.flatnonzero(last > column)
    if not len(long):
        return column, top, bottom, columns
    more = last[long] - column[long]
    step = np.arange(1, int(more.sum()) + 1) - np.repeat(np.cumsum(more) - more, more)
    rest = np.repeat(bottom[long], more) - step * height
    return (
        np.concatenate([column, np.repeat(column[long], more) + step]),
        np.concatenate([top, np.zeros(len(step), np.int64)]),
        np.minimum(np.concatenate([bottom, rest]), height),
        columns,
    )


def _sums(
    keys: tuple[NDArray[np.int64], NDArray[np.int64]],
    weights: tuple[ArrayLike, ArrayLike],
    size: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return number and weight of the switches on less those of the switches off, (size,) each."""
    on, off = keys
    number = np.bincount(on, minlength=size).astype(np.int64, copy=False)
    number -= np.bincount(off, minlength=size)
    weight = np.bincount(on, weights[0], size).astype(np.float64, copy=False)
    weight -= np.bincount(off, weights[1], size)
    return number, weight
