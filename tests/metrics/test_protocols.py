"""Which vertices count under each protocol."""

from __future__ import annotations

import numpy as np
import pytest

from my3dis.errors import ConfigError, DataError
from my3dis.metrics.average_precision import evaluate_instances
from my3dis.metrics.protocols import (
    CLASS_AGNOSTIC,
    NO_VOID,
    PROTOCOLS,
    SCANNET_V2_MERGED,
    VOID,
    object_targets,
    part_targets,
    protocol_named,
)
from tests.metrics.build import instance_set

# wall, floor, ceiling, unannotated, a chair (5), a piano that ScanNet v2 knows only as other furniture (39),
# and a keyboard (label 47, outside the 18 classes)
IDS = np.array([1001, 2002, 22003, 0, 5004, 39005, 47006])


def test_class_agnostic_takes_every_object_that_is_not_structural() -> None:
    """Walls, floors, ceilings and unannotated vertices are void, everything else counts."""
    assert object_targets(CLASS_AGNOSTIC, IDS).tolist() == [VOID] * 4 + [5004, 39005, 47006]


def test_annotated_structure_is_void_beside_the_labels() -> None:
    """A vertex flagged as structural is void whatever its label."""
    flags = np.array([False] * 4 + [True, False, False])
    assert object_targets(CLASS_AGNOSTIC, IDS, flags).tolist() == [VOID] * 5 + [39005, 47006]


def test_scannet_v2_takes_its_18_classes_only() -> None:
    """Objects of other classes are void."""
    assert object_targets(SCANNET_V2_MERGED, IDS).tolist() == [VOID] * 4 + [5004, 39005, VOID]


def test_without_void_everything_counts() -> None:
    """The unannotated rest is one object, walls are objects, and nothing is ignorable."""
    assert object_targets(NO_VOID, IDS).tolist() == [1, 2, 3, 0, 4, 5, 6]


def test_protocols_disagree_where_they_should() -> None:
    """A mask on the wall is neutral with void and costs precision without."""
    ids = np.repeat([0, 1001, 5002], 200)
    found = instance_set([range(400, 600), range(200, 350), range(0, 50)], 600)
    with_void = evaluate_instances(
        [(found, object_targets(CLASS_AGNOSTIC, ids))], min_region=10, scores="constant"
    )
    without = evaluate_instances([(found, object_targets(NO_VOID, ids))], min_region=10, scores="constant")
    assert with_void.ap50 == 1.0
    # Wall hit (150/200), unannotated missed (50/200): R 2/3, P 2/3.
    assert without.ap50 == pytest.approx(2 / 3 * (1 + 2 / 3) / 2)


def test_parts_of_structural_objects_are_void() -> None:
    """Part 0 and the parts of walls and floors do not count."""
    assert part_targets(np.array([0, 1, 2, 3]), {1}).tolist() == [VOID, VOID, 2, 3]


def test_negative_ids_are_refused() -> None:
    """An id below 0 is a damaged file."""
    with pytest.raises(DataError, match="-3"):
        object_targets(CLASS_AGNOSTIC, np.array([1, -3]))


def test_floating_ids_are_refused() -> None:
    """Ids must be whole numbers."""
    with pytest.raises(DataError, match="float64"):
        object_targets(CLASS_AGNOSTIC, np.array([1.0]))


def test_structural_flags_of_another_length_are_refused() -> None:
    """Flags of another mesh are refused with both lengths."""
    with pytest.raises(DataError, match=r"7 vertices, found 2"):
        object_targets(CLASS_AGNOSTIC, IDS, np.array([True, False]))


def test_protocols_are_found_by_name_and_a_typo_gets_a_hint() -> None:
    """Every protocol is found, and a wrong name suggests the nearest."""
    assert all(protocol_named(p.name) is p for p in PROTOCOLS)
    with pytest.raises(ConfigError, match="Did you mean 'class_agnostic'"):
        protocol_named("class_agnostc")
