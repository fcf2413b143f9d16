"""Weights are found by path or in the hub's cache; downloading is asked for last, and never when offline."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from my3dis.backends.torch_models.weights import HubId, find_weights, local_weights, weight_files
from my3dis.errors import ConfigError, PluginError
from my3dis.runs.checkpoints import checkpoint_digest

REPOSITORY = "somebody/tiny-sam2"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, holding one model, laid out as the hub lays it out."""
    root = tmp_path / "hub"
    model = root / "models--somebody--tiny-sam2"
    snapshot = model / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc123")
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_what_is_an_id_and_what_a_path() -> None:
    """An id has an organisation, a name and perhaps a revision; files and deeper paths are paths."""
    assert HubId.parse("facebook/sam2.1-hiera-tiny") == HubId("facebook/sam2.1-hiera-tiny")
    assert HubId.parse("facebook/sam2.1-hiera-tiny@v1") == HubId("facebook/sam2.1-hiera-tiny", "v1")
    for path in ("weights/swint.pth", "a/b.safetensors", "/a/b", "./a", "a", "a/b/c", "../a/b"):
        assert HubId.parse(path) is None, path


def test_a_path_is_taken_as_it_is(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a folder, and a relative folder that looks like an id are found where they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = Path(REPOSITORY)
    folder.mkdir(parents=True)
    (folder / "b.safetensors").touch()
    (folder / "a.safetensors").touch()
    (folder / "old.bin").touch()
    assert find_weights(REPOSITORY, backend="sam2_auto") == folder
    assert find_weights(f"~/{REPOSITORY}", backend="sam2_auto") == tmp_path / folder
    assert weight_files(folder) == (folder / "a.safetensors", folder / "b.safetensors")
    assert weight_files(folder / "old.bin") == (folder / "old.bin",)


def test_the_cache_of_the_hub(cache: Path) -> None:
    """A cached model is found without the network, is known by its content, and needs no download."""
    assert find_weights(REPOSITORY, backend="sam2_auto") == cache
    assert find_weights(f"{REPOSITORY}@main", backend="sam2_auto") == cache
    assert local_weights(REPOSITORY) == cache
    before = checkpoint_digest(REPOSITORY)
    assert before == checkpoint_digest(str(cache))
    (cache / "model.safetensors").write_bytes(b"others!")
    assert checkpoint_digest(REPOSITORY) != before


@pytest.mark.parametrize(
    ("backend", "variable", "place"),
    [
        ("semantic_sam", "MY3DIS_STAGES__SSAM__CHECKPOINT", "github.com/UX-Decoder/Semantic-SAM"),
        ("sam2_auto", "MY3DIS_STAGES__SSAM__CHECKPOINT", "huggingface.co/facebook/sam2"),
        ("sam2_video", "MY3DIS_STAGES__TRACKER__CHECKPOINT", "huggingface.co/facebook/sam2"),
    ],
)
@pytest.mark.parametrize("checkpoint", [None, "", "/nowhere/w.pth"])
def test_missing_weights_teach(backend: str, variable: str, place: str, checkpoint: str | None) -> None:
    """Without weights the error says where to get some, which setting names them and which variable."""
    with pytest.raises(ConfigError) as caught:
        find_weights(checkpoint, backend=backend)
    assert variable in str(caught.value)
    assert place in str(caught.value)
    assert ".checkpoint" in str(caught.value)


def test_offline_is_respected(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, a model that is not in the cache is an error naming the variables; nothing is asked for."""
    asked: list[bool] = []
    real = huggingface_hub.snapshot_download

    def watched(*arguments: object, **options: object) -> object:
        asked.append(bool(options.get("local_files_only")))
        return real(*arguments, **options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(huggingface_hub, "snapshot_download", watched)
    with pytest.raises(PluginError, match="HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids"):
        find_weights("somebody/else", backend="sam2_auto")
    assert asked == [True]
    assert local_weights("somebody/else") is None


def test_a_failed_download_tells_why(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Online, a download that fails is one sentence with its reason."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def failing(*arguments: object, **options: object) -> str:
        raise LocalEntryNotFoundError("no route to host\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", failing)
    with pytest.raises(PluginError, match="LocalEntryNotFoundError: no route to host\\); see whether"):
        find_weights("somebody/else", backend="sam2_auto")


def test_a_download_takes_configuration_and_safetensors_only(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pickled copies of the weights in a repository are left where they are."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    calls: list[dict[str, object]] = []

    def fake(repository: str, **options: object) -> str:
        calls.append(options)
        if options.get("local_files_only"):
            raise LocalEntryNotFoundError("not here")
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    assert find_weights("somebody/else@v2", backend="sam2_auto") == cache
    assert calls[-1] == {"revision": "v2", "allow_patterns": ["*.json", "*.safetensors"]}
