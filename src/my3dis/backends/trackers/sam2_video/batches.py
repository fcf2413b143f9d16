"""Objects in batches that fit: smaller ones when memory runs out, then what they remember on the host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch

from my3dis.backends.torch_models.devices import BackOff, empty_cache
from my3dis.errors import ResourceError

__all__ = ["OBJECTS_PER_BATCH", "Batches", "host_helps"]

_LOG = logging.getLogger(__name__)

OBJECTS_PER_BATCH = 1
"""One at a time, so that what is found of an object depends on nothing but its own prompts and the frames:
not on other objects, nor on how much memory there is. The library computes attention object by object in any
case; a larger batch only encodes new memories together, and rounds them as the batch is made up."""


def host_helps(device: torch.device) -> bool:
    """Return whether moving memories to the host makes room where the model runs."""
    return device.type != "cpu"


class Batches:
    """Runs a pass over all objects, a batch at a time.

    Args:
        size: objects at once; None = `OBJECTS_PER_BATCH`.
        device: where the model runs.
    """

    def __init__(self, size: int | None, device: torch.device) -> None:
        self._back_off = BackOff("objects at once", size or OBJECTS_PER_BATCH)
        self._device = device
        self._on_host = False
        self._notes: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Objects at once, as it is now."""
        return self._back_off.size

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """What was done about memory that ran out: (code, sentence)."""
        return (*self._back_off.notes, *self._notes)

    def run(
        self, count: int, one_batch: Callable[[Sequence[int]], None], to_host: Callable[[], None]
    ) -> None:
        """Call a pass for the positions 0 to ``count``, a batch at a time.

        Args:
            count: number of objects.
            one_batch: takes positions; called again, with fewer, for those of a batch that did not fit.
            to_host: moves what the objects remember to the host, now and from now on.

        Raises:
            ResourceError: if it does not fit in the smallest batch with all memories on the host.
        """
        done = 0

        def attempt(size: int) -> None:
            nonlocal done
            while done < count:
                one_batch(range(done, min(done + size, count)))
                done += min(size, count - done)

        shortage = self._shortage(attempt)
        # Past the handler of the error, whose traceback holds the tensors of the failed pass.
        if shortage and host_helps(self._device) and not self._on_host:
            self._on_host = True
            note = f"{shortage}; going on with what the objects remember on the host, which is slower"
            self._notes = (("state_on_host", note),)
            _LOG.warning("%s", note)
            to_host()
            empty_cache(self._device.type)
            shortage = self._shortage(attempt)
        if shortage:
            where = "; what the objects remember was moved to the host before" if self._on_host else ""
            raise ResourceError(f"sam2_video: {shortage}{where}")

    def _shortage(self, attempt: Callable[[int], None]) -> str:
        """Return what is said of the memory if it does not suffice, else nothing."""
        try:
            self._back_off.run(attempt)
        except ResourceError as error:
            return str(error)
        return ""
