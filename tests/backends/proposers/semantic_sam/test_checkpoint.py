"""Every key of a checkpoint is accounted for, and a file that does not fit is refused by the key's name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from my3dis.backends.proposers.semantic_sam.checkpoint import (
    build_network,
    duplicates_of,
    load_network,
    needed_shapes,
    network_state,
)
from my3dis.backends.proposers.semantic_sam.config import SWIN_L, SWIN_T, SemanticSamConfig
from my3dis.backends.proposers.semantic_sam.network import SemanticSam
from my3dis.backends.proposers.semantic_sam.swin import relative_position_index
from my3dis.errors import DataError
from tests.backends.proposers.semantic_sam.own_case import CONFIG, draw_weights

FULL = [("swint", SWIN_T, 52_980_543), ("swinl", SWIN_L, 222_799_161)]
CPU = torch.device("cpu")
PREDICTOR = "sem_seg_head.predictor"


def listed(folder: Path, name: str) -> dict[str, object]:
    return json.loads((folder / f"state_dict_keys_{name}.json").read_text())


def stripped(names: Iterator[str] | list[str] | dict[str, object]) -> set[str]:
    return {name.removeprefix("model.") for name in names}


def whole_checkpoint(lists: dict[str, object]) -> dict[str, Tensor]:
    """Give a checkpoint of all listed keys without its memory: each tensor is one number seen many times."""
    index: dict[int, Tensor] = {}
    state = {}
    for key, entry in lists["keys"].items():
        if entry["dtype"] == "int64":
            side = round(entry["shape"][0] ** 0.5)
            state[key] = index.setdefault(side, relative_position_index(side))
        else:
            state[key] = torch.zeros(()).expand(entry["shape"])
    return state


def own_checkpoint() -> dict[str, Tensor]:
    """Give a whole checkpoint of the small network: parameters, other names, indices and left-overs."""
    state = {name: torch.from_numpy(one) for name, one in draw_weights().items()}
    state |= {name: state[own].clone() for name, own in duplicates_of(CONFIG).items()}
    index = relative_position_index(CONFIG.window)
    for name in [name for name in state if name.endswith("relative_position_bias_table")]:
        state[name.replace("bias_table", "index")] = index.clone()
    state |= {f"{PREDICTOR}.{name}": torch.zeros(3, 4) for name in ("lang_mapper", "class_embed")}
    state["criterion.empty_weight"] = torch.ones(2)
    return {f"model.{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize(("name", "config", "parameters"), FULL, ids=["swint", "swinl"])
def test_published_sizes_have_the_listed_keys(
    reference: Path, name: str, config: SemanticSamConfig, parameters: int
) -> None:
    """Names, shapes and types of the full networks are the needed keys of the released files, exactly."""
    lists = listed(reference, name)
    spare = {*lists["duplicates_of"], *lists["unused_at_inference"], *lists["recomputable_buffers"]}
    needed = {
        key.removeprefix("model."): (tuple(entry["shape"]), entry["dtype"])
        for key, entry in lists["keys"].items()
        if key not in spare
    }
    with torch.device("meta"):
        network = SemanticSam(config)
    found = {
        key: (tuple(one.shape), str(one.dtype).removeprefix("torch."))
        for key, one in network.state_dict().items()
    }
    assert found == needed
    assert len(needed) + len(lists["recomputable_buffers"]) == lists["n_needed_for_inference"]
    unused = sum(torch.Size(lists["keys"][key]["shape"]).numel() for key in lists["unused_at_inference"])
    assert (
        sum(one.numel() for one in network.parameters()) + unused == parameters == lists["unique_parameters"]
    )
    assert not list(network.buffers())


@pytest.mark.parametrize(("name", "config", "parameters"), FULL, ids=["swint", "swinl"])
def test_every_listed_key_is_accounted_for(
    reference: Path, name: str, config: SemanticSamConfig, parameters: int
) -> None:
    """Of a whole file each key is loaded, a duplicate, an index or unused, and the size is recognised."""
    lists = listed(reference, name)
    state, report = network_state({"model": whole_checkpoint(lists)})
    assert report.config == config
    assert set(report.duplicates) == stripped(lists["duplicates_of"])
    assert set(report.buffers) == stripped(lists["recomputable_buffers"])
    assert set(report.unused) == stripped(lists["unused_at_inference"])
    assert set(report.loaded) == set(state) == set(needed_shapes(config))
    kinds = (report.loaded, report.duplicates, report.buffers, report.unused)
    assert sum(map(len, kinds)) == len(lists["keys"]) == lists["n_keys"]
    assert set().union(*kinds) == stripped(lists["keys"])
    assert {
        key.removeprefix("model."): own.removeprefix("model.") for key, own in lists["duplicates_of"].items()
    } == duplicates_of(config)


@pytest.mark.parametrize("name", ["swint", "swinl"])
def test_each_missing_key_of_a_published_file_is_named(reference: Path, name: str) -> None:
    """Whichever needed key a SwinT or SwinL file lacks, the error names it and the network."""
    state = whole_checkpoint(listed(reference, name))
    config = SWIN_T if name == "swint" else SWIN_L
    for key in needed_shapes(config):
        lost = state.pop(f"model.{key}")
        with pytest.raises(DataError) as caught:
            network_state(state)
        assert f"({config.name}), found 1 missing keys: {key}." in str(caught.value)
        state[f"model.{key}"] = lost


@pytest.mark.parametrize("lost", ["backbone.layers.2.blocks.5", f"{PREDICTOR}.decoder.layers.8"])
def test_a_published_network_is_not_taken_for_a_smaller_one(reference: Path, lost: str) -> None:
    """A SwinT file without its last block or layer is refused, though the rest would fit another network."""
    state = whole_checkpoint(listed(reference, "swint"))
    rest = {key: one for key, one in state.items() if not key.startswith(f"model.{lost}.")}
    with pytest.raises(DataError, match=rf"SwinT.*missing keys.*{lost}"):
        network_state(rest)


@pytest.mark.parametrize("weights", ["tiny_weights", "tiny_w12_weights"])
def test_recorded_weights_load(reference: Path, weights: str) -> None:
    """The weights of the recorded cases load from a file, and nothing of them is left over."""
    network = load_network(reference / f"{weights}.safetensors", device=CPU)
    report = network.load_report
    assert report is not None
    kinds = (report.loaded, report.duplicates, report.buffers, report.unused)
    assert sum(map(len, kinds)) == len(load_file(reference / f"{weights}.safetensors"))
    assert report.unused[0] == "criterion.empty_weight"
    assert not report.ignored
    assert not network.training
    assert not any(one.requires_grad or one.is_meta for one in network.parameters())


def test_a_pth_file_gives_the_same_network(tmp_path: Path) -> None:
    """A file of torch.save with the entry `model` beside left-overs gives the tensors of safetensors."""
    state = own_checkpoint()
    torch.save({"model": state, "iteration": 7}, tmp_path / "model.pth")
    save_file(state, tmp_path / "model.safetensors")
    one = load_network(tmp_path / "model.pth", device=CPU)
    other = load_network(tmp_path / "model.safetensors", device=CPU, dtype=torch.bfloat16)
    assert one.config == other.config == CONFIG
    assert (one.backbone_dtype, other.backbone_dtype) == (torch.float32, torch.bfloat16)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
        assert tensor.dtype == torch.float32


def test_nothing_is_copied() -> None:
    """The network stands on the checkpoint's own tensors, so loading takes no second copy."""
    state = own_checkpoint()
    network = build_network(state)
    for name, parameter in network.named_parameters():
        assert parameter.data_ptr() == state[f"model.{name}"].data_ptr()


def test_each_missing_key_is_named() -> None:
    """Whichever needed key is missing, the error names it."""
    state = own_checkpoint()
    for name in needed_shapes(CONFIG):
        rest = {key: one for key, one in state.items() if key != f"model.{name}"}
        with pytest.raises(DataError) as caught:
            network_state(rest)
        assert name in str(caught.value)


@pytest.mark.parametrize("how", ["longer", "more axes", "other type"])
def test_each_misshapen_key_is_named(how: str) -> None:
    """Whichever needed key has another shape or type, the error names it and what was expected."""
    state = own_checkpoint()
    for name, shape in needed_shapes(CONFIG).items():
        one = state[f"model.{name}"]
        wrong = {"longer": torch.cat((one, one)), "more axes": one.unsqueeze(-1), "other type": one.double()}
        with pytest.raises(DataError) as caught:
            network_state({**state, f"model.{name}": wrong[how]})
        assert f"{name} (expected float32 {shape}, found" in str(caught.value)


def test_unknown_keys_are_named() -> None:
    """A key that no Semantic-SAM checkpoint has is refused, also one of a block that is not there."""
    for name in ("backbone.extra.weight", "backbone.layers.0.blocks.9.attn.relative_position_index"):
        with pytest.raises(DataError, match=rf"unknown keys: {name}"):
            network_state({**own_checkpoint(), f"model.{name}": torch.zeros(2)})


def test_unequal_duplicates_are_named() -> None:
    """Each further name of a shared tensor must hold the same numbers; it may be absent."""
    state = own_checkpoint()
    for name, own in duplicates_of(CONFIG).items():
        changed = state[f"model.{own}"].clone()
        changed.view(-1)[0] += 1e-3
        with pytest.raises(DataError, match=rf"not the one that they repeat: {name}\."):
            network_state({**state, f"model.{name}": changed})
    bare = {key: one for key, one in state.items() if key.removeprefix("model.") in needed_shapes(CONFIG)}
    assert network_state(bare)[1].duplicates == ()


def test_a_wrong_index_is_named() -> None:
    """A position index of another window is refused by its name."""
    state = own_checkpoint()
    name = "backbone.layers.1.blocks.0.attn.relative_position_index"
    with pytest.raises(DataError, match=rf"of another window: {name}"):
        network_state({**state, f"model.{name}": state[f"model.{name}"].flip(0)})


def test_long_lists_are_cut() -> None:
    """Many missing keys are counted, and some are named."""
    rest = {key: one for key, one in own_checkpoint().items() if ".mlp." not in key}
    with pytest.raises(DataError, match=r"found 28 missing keys: .*mlp\.fc1\.weight.* and 20 more"):
        network_state(rest)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """A file of another model is refused with its path, with and without the prefix."""
    save_file({"backbone.weight": torch.zeros(2)}, tmp_path / "bare.safetensors")
    with pytest.raises(DataError, match=r"bare\.safetensors.*`model\.`.*backbone\.weight"):
        load_network(tmp_path / "bare.safetensors", device=CPU)
    save_file({"model.encoder.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match=r"other\.safetensors.*patch_embed.*another model"):
        load_network(tmp_path / "other.safetensors", device=CPU)


def test_keys_without_the_prefix_are_listed() -> None:
    """What a training loop stored beside the model is ignored and listed."""
    report = network_state({**own_checkpoint(), "optimizer.lr": torch.zeros(1)})[1]
    assert report.ignored == ("optimizer.lr",)
    with pytest.raises(DataError, match=r"decoder_norm\.weight \(expected a tensor, found int\)"):
        network_state({**own_checkpoint(), f"model.{PREDICTOR}.decoder_norm.weight": 3})


def test_contradicting_sizes_are_refused() -> None:
    """Heads that do not divide the channels are refused by the name of the table that tells them."""
    state = own_checkpoint()
    name = "backbone.layers.2.blocks.0.attn.relative_position_bias_table"
    with pytest.raises(DataError, match=name):
        network_state({**state, f"model.{name}": torch.zeros(25, 3)})
