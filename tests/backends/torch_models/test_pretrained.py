"""Loading a model of transformers: what goes wrong is told in the project's own errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from my3dis.backends.torch_models.pretrained import load_pretrained
from my3dis.errors import DataError, My3DISError, PluginError, ResourceError


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (MemoryError(), ResourceError, "loading Some model from .*: the memory ran out"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), ResourceError, "the memory ran out"),
        (torch.OutOfMemoryError("CUDA out of memory"), ResourceError, "the memory ran out"),
        (RuntimeError("shapes do not fit"), DataError, r"as Some model \(shapes do not fit\)"),
        (OSError("no file named model.safetensors"), DataError, "no file named"),
        (ImportError("timm"), PluginError, r"a library that is missing \(timm\)"),
    ],
)
def test_what_the_library_raises_is_translated(
    tmp_path: Path, raised: Exception, error: type[My3DISError], words: str
) -> None:
    """A shortage of memory, unfit files and a missing library are told apart, however they are raised."""

    class Model:
        @staticmethod
        def from_pretrained(*_: object, **__: object) -> object:
            torch.rand(3)
            raise raised

    state = torch.random.get_rng_state()
    with pytest.raises(error, match=words):
        load_pretrained(Model, tmp_path, backend="sam2_video", name="Some model")
    assert torch.equal(torch.random.get_rng_state(), state)
