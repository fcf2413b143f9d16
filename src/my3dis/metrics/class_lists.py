"""Numbers of the classes that benchmarks score.

Sources: ScanNet200 (Rozenberszki et al., ECCV 2022), column ``id`` of the data set's table of labels;
MultiScan (Mao et al., NeurIPS 2022), the semantic ids of its benchmark's label maps.
"""

from __future__ import annotations

__all__ = ["MULTISCAN_OBJECT_LABELS", "MULTISCAN_PART_LABELS", "SCANNET200_LABELS", "SCANNET_V2_LABELS"]

SCANNET_V2_LABELS: frozenset[int] = frozenset(
    {3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39}
)
"""NYU40 ids of the 18 instance classes of ScanNet v2."""

MULTISCAN_OBJECT_LABELS: frozenset[int] = frozenset(range(4, 21))
"""MultiScan's 17 object classes, door to toilet; 1 to 3 are floor, ceiling and wall."""

MULTISCAN_PART_LABELS: frozenset[int] = frozenset(range(2, 6))
"""MultiScan's moving parts: door, drawer, window, lid; 1 is the static rest, no instance."""

# Runs of numbers, first and last; the numbers of the 200 classes are those of the data set's whole table.
_SCANNET200_RUNS = """
2 4-11 13-19 21-24 26-29 31-36 38-42 44-52 54-59 62-80 82 84 86-90 93 95-107 110 112 115-116 118 120-122 125
128 130-132 134 136 138-141 145 148 154-157 159 161 163 165-166 168-170 177 180 185 188 191 193 195 202 208
213-214 221 229-230 232-233 242 250 261 264 276 283 286 300 304 312 323 325 331 342 356 370 392 395 399 408
417 488 540 562 570 572 581 609 748 776 1156 1163-1176 1178-1191
"""


def _numbers(runs: str) -> frozenset[int]:
    found: set[int] = set()
    for run in runs.split():
        first, _, last = run.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


SCANNET200_LABELS: frozenset[int] = _numbers(_SCANNET200_RUNS)
"""ScanNet200's 198 instance classes: the 200 without wall (1) and floor (3)."""
