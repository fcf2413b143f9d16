"""Which back end needs which published weights, where they come from and under which licence."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BACKENDS", "SOURCES", "WeightSource", "how_to_get", "setting_of", "sources_of", "variable_of"]

_PROPOSER, _TRACKER = "stages.ssam.checkpoint", "stages.tracker.checkpoint"
_SSAM_RELEASE = "https://github.com/UX-Decoder/Semantic-SAM/releases/download/checkpoint/"
_HUB = "https://huggingface.co/"
_UNSTATED = "not stated upstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSource:
    """One published set of weights.

    Attributes:
        name: short name for the command line.
        backend: the proposer or tracker that loads it.
        checkpoint: what to set: an id of the Hugging Face hub, or the file's name once it is downloaded.
        url: where it is published.
        licence: of the weights.
        remark: what else to know, or empty.
    """

    name: str
    backend: str
    checkpoint: str
    url: str
    licence: str
    remark: str = ""


def _ssam(size: str) -> WeightSource:
    file = f"{size}_only_sam_many2many.pth"
    return WeightSource(
        name=f"semantic-sam-{size}",
        backend="semantic_sam",
        checkpoint=file,
        url=_SSAM_RELEASE + file,
        licence=_UNSTATED,
        remark="download the file; `my3dis weights convert` makes safetensors of it",
    )


def _hub(name: str, backend: str, repository: str, licence: str, remark: str = "") -> WeightSource:
    return WeightSource(
        name=name,
        backend=backend,
        checkpoint=repository,
        url=_HUB + repository,
        licence=licence,
        remark=remark,
    )


_SIZES = ("tiny", "small", "base-plus", "large")
SOURCES: tuple[WeightSource, ...] = (
    _ssam("swint"),
    _ssam("swinl"),
    *(_hub(f"sam2.1-{s}", "sam2_auto", f"facebook/sam2.1-hiera-{s}", "Apache-2.0") for s in _SIZES),
    *(_hub(f"sam2.1-video-{s}", "sam2_video", f"facebook/sam2.1-hiera-{s}", "Apache-2.0") for s in _SIZES),
    _hub("edgetam", "sam2_video", "yonigozlan/EdgeTAM-hf", "Apache-2.0", "smaller and faster than SAM 2"),
    _hub(
        "sam3",
        "sam2_video",
        "facebook/sam3",
        "SAM License",
        "gated: accept the licence on its page, then `hf auth login`",
    ),
)


BACKENDS: tuple[str, ...] = tuple(dict.fromkeys(source.backend for source in SOURCES))
"""Proposers and trackers that load weights."""


def sources_of(backend: str) -> tuple[WeightSource, ...]:
    """Return the published weights that a back end loads."""
    return tuple(source for source in SOURCES if source.backend == backend)


def setting_of(backend: str) -> str:
    """Return the dotted key of the setting that names a back end's weights."""
    return _TRACKER if backend.endswith("_video") else _PROPOSER


def variable_of(backend: str) -> str:
    """Return the environment variable that sets the same."""
    return "MY3DIS_" + setting_of(backend).upper().replace(".", "__")


def how_to_get(backend: str) -> str:
    """Return a sentence's end: where a back end's weights come from and how to name them."""
    known = sources_of(backend)
    where = ""
    if known:
        places = " or ".join(dict.fromkeys(source.url for source in known[:2]))
        where = f"get them from {places} (`my3dis weights list` shows all), then "
    return (
        f"{where}set {setting_of(backend)} (--set {setting_of(backend)}=PATH_OR_ID) or the environment "
        f"variable {variable_of(backend)}"
    )
