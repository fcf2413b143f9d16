"""Which model weights a run uses, by content: part of the manifest and of the stages' digests."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from my3dis.backends.torch_models.sources import sources_of
from my3dis.backends.torch_models.weights import find_weights, local_weights, weight_files
from my3dis.config import Config
from my3dis.runs.provenance import file_digest

__all__ = ["absolute_checkpoint", "checkpoint_digest", "fetch_checkpoints", "used_checkpoints"]

_LOG = logging.getLogger(__name__)
_WORTH_SAYING = 256 << 20
_CONFIGURATION = "config.json"


def absolute_checkpoint(checkpoint: str | None) -> str | None:
    """Return the path of a file or folder in full; an id of a model hub stays as it is."""
    if not checkpoint:
        return checkpoint
    path = Path(checkpoint).expanduser()
    return str(path.absolute()) if path.exists() else checkpoint


def checkpoint_digest(checkpoint: str | None) -> str | None:
    """Return a digest of the weights that a setting means, None where they are not on this machine.

    Of a file it is the SHA-256; of a folder one over names and SHA-256 of its configuration and weights.
    """
    found = local_weights(checkpoint)
    if found is None:
        return None
    if not found.is_dir():
        return _digest(found)
    total = hashlib.sha256()
    for path in (found / _CONFIGURATION, *weight_files(found)):
        if path.is_file():
            total.update(f"{path.name}\0{_digest(path)}\n".encode())
    return total.hexdigest()


def used_checkpoints(config: Config) -> Iterator[tuple[str, str]]:
    """Yield (path or id, SHA-256) of every file of weights that the settings name and that is here."""
    for checkpoint in (config.stages.ssam.checkpoint, config.stages.tracker.checkpoint):
        found = local_weights(checkpoint)
        if found is None or checkpoint is None:
            continue
        for path in weight_files(found):
            if path.is_file():
                name = f"{checkpoint.rstrip('/')}/{path.name}" if found.is_dir() else checkpoint
                yield name, _digest(path)


def fetch_checkpoints(config: Config, stages: Collection[str] = ("candidates", "track")) -> None:
    """Download the weights of a hub that stages load, before anything is planned.

    Planned with their content unknown, the next run would take them for others and repeat the stage.

    Raises:
        ConfigError: if a back end needs weights and none are set.
        PluginError: if they cannot be downloaded.
    """
    ssam, tracker = config.stages.ssam, config.stages.tracker
    for stage, enabled, backend, checkpoint in (
        ("candidates", ssam.enabled, ssam.proposer, ssam.checkpoint),
        ("track", tracker.enabled, tracker.propagator, tracker.checkpoint),
    ):
        if stage in stages and enabled and sources_of(backend) and local_weights(checkpoint) is None:
            _LOG.info("looking for the weights of %s: %s", backend, checkpoint or "none are set")
            find_weights(checkpoint, backend=backend)


def _digest(path: Path) -> str:
    found = path.stat()
    return _digest_of(path.resolve(), found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest_of(path: Path, size: int, mtime_ns: int) -> str:
    del mtime_ns  # part of the key: a changed file is read again
    if size >= _WORTH_SAYING:
        _LOG.info("reading %s (%.1f GB) to record its SHA-256", path.name, size / 1e9)
    return file_digest(path)
