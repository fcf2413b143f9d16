"""What every proposer, built in or installed, must keep."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from my3dis import plugins
from my3dis.masks import build, codec, hierarchy
from my3dis.protocols import BackendOptions, MaskProposer, RegionProposer
from my3dis.refinement.progressive import RefineOptions, refine
from my3dis.types import MaskSet
from tests.backends.proposers import boxes

LEVELS = (2, 4, 6)
# Proposers that load weights -> what makes a tiny random model of theirs, in their tests' module ``tiny``.
TINY_MODELS = {"sam2_auto": "save_tiny_model", "semantic_sam": "write_checkpoint"}
# `make test` reports them as deselected; `make test-models` runs them.
EVERY = [
    pytest.param(name, marks=pytest.mark.models) if name in TINY_MODELS else name
    for name in plugins.names("proposers")
]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> BackendOptions:
    """Everything a proposer may ask for."""
    folder = tmp_path_factory.mktemp("scan")
    return BackendOptions(
        recorded_root=boxes.write_recording(folder), ground_truth=boxes.write_ground_truth(folder), seed=5
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make the tiny model of a proposer, once."""

    @cache
    def make(name: str) -> Path:
        module = importlib.import_module(f"tests.backends.proposers.{name}.tiny")
        path: Path = getattr(module, TINY_MODELS[name])(tmp_path_factory.mktemp("weights"))
        return path

    return make


@pytest.fixture
def chosen(request: pytest.FixtureRequest, options: BackendOptions, weights: Callable) -> BackendOptions:
    """The options for the proposer that the test is about; random models rate their masks at random."""
    name = request.node.callspec.params["name"]
    if name not in TINY_MODELS:
        return options
    return replace(options, checkpoint=str(weights(name)), device="cpu", points_per_side=4, predicted_iou=0.0)


def candidates(name: str, options: BackendOptions, index: int = 1, depth: bool = True) -> MaskSet:
    plugin = plugins.proposer(name)
    proposer = plugin.create(options)
    assert isinstance(proposer, MaskProposer | RegionProposer)
    frame = boxes.frame(index, shift=3 * index, depth=depth)
    return refine(frame, LEVELS, proposer, RefineOptions(final=True)).kept


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("depth", [True, False])
def test_every_proposer_keeps_the_contract(name: str, chosen: BackendOptions, depth: bool) -> None:
    """Ids are unique, parents are at the next coarser level, children lie inside, figures are the codes'."""
    masks = candidates(name, chosen, depth=depth)
    assert len(masks)
    assert set(masks.level.tolist()) == set(LEVELS)
    hierarchy.require_linked(masks, LEVELS)
    hierarchy.require_nested(masks)
    if name not in TINY_MODELS:  # a model may find a part and not what it is part of
        assert (masks.parent_id[masks.level > 2] >= 0).all()
    for i, rle in enumerate(masks.rle):
        code = {"size": list(masks.image_size), "counts": rle}
        x, y, w, h = coco.toBbox(code).astype(int).tolist()
        assert masks.boxes[i].tolist() == [x, y, x + w, y + h]
        assert masks.area_px[i] == coco.area(code) > 0
    for column in (masks.score, masks.stability):
        assert ((column >= 0) & (column <= 1)).all()
    assert (masks.track_id == -1).all()


@pytest.mark.parametrize("name", EVERY)
def test_every_proposer_is_deterministic(name: str, chosen: BackendOptions) -> None:
    """The same frame gives the same masks, ids and order, from a new proposer too."""
    first, second = candidates(name, chosen), candidates(name, chosen)
    assert first.rle == second.rle
    for column in ("mask_id", "level", "parent_id", "stability"):
        assert np.array_equal(getattr(first, column), getattr(second, column))


@pytest.mark.parametrize("name", ["oracle", "recorded"])
def test_identities_do_not_leak(name: str, options: BackendOptions) -> None:
    """Known masks come renumbered: ids and places of the same object differ between frames and seeds."""
    plugin = plugins.proposer(name)
    assert plugin.final
    orders = set()
    for seed in range(6):
        proposer = plugin.create(
            BackendOptions(recorded_root=options.recorded_root, ground_truth=options.ground_truth, seed=seed)
        )
        for index in (0, 1):
            masks = proposer.propose(boxes.frame(index, shift=3 * index), LEVELS)  # type: ignore[union-attr]
            assert sorted(masks.mask_id.tolist()) == list(range(len(masks)))
            by_level = list(zip(masks.level.tolist(), masks.mask_id.tolist(), strict=True))
            assert by_level == sorted(by_level)
            # The order of the areas says which mask is which object.
            orders.add(tuple(masks.area_px.tolist()))
    assert len(orders) > 2


@pytest.mark.parametrize("name", ["oracle", "recorded"])
def test_permuted_ids_name_the_same_pixels(name: str, options: BackendOptions) -> None:
    """Another seed changes ids only: masks and parents as sets of pixels stay the same."""
    sets = []
    for seed in (0, 1):
        chosen = BackendOptions(
            recorded_root=options.recorded_root, ground_truth=options.ground_truth, seed=seed
        )
        masks = candidates(name, chosen)
        parents = hierarchy.parent_positions(masks)
        linked = [(rle, level) for rle, level in zip(masks.rle, masks.level.tolist(), strict=True)]
        sets.append(
            sorted(
                (*linked[i], *(linked[p] if p >= 0 else (b"", -1))) for i, p in enumerate(parents.tolist())
            )
        )
    assert sets[0] == sets[1]


def test_renumbering_forgets_parents_outside() -> None:
    """A parent that is not in the set becomes -1; one that is follows its new id."""
    code = codec.encode(np.ones((2, 2), bool))
    masks = build.from_codes(
        [code] * 3, frame=0, image_size=(2, 2), mask_id=[4, 7, 9], level=[2, 4, 4], parent_id=[-1, 4, 8]
    )
    renamed = build.renumber(masks, np.array([2, 0, 1], np.int32))
    assert renamed.mask_id.tolist() == [2, 0, 1]
    assert renamed.parent_id.tolist() == [-1, 2, -1]
