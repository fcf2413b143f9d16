"""Keep to full float32 arithmetic while a model runs, whatever the process around it prefers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import torch

__all__ = ["parity_numerics"]

_LOCK = threading.Lock()
_RESTORE: list[Callable[[], None]] = []
_inside = 0


@contextlib.contextmanager
def parity_numerics() -> Iterator[None]:
    """Switch TF32 and autocast off inside the block and restore what was set before.

    Autocast belongs to the thread and is switched off for this one only. TF32 belongs to the process: of
    several threads inside at once, the first switches it off and the last restores it, so other code that
    multiplies matrices meanwhile does so in full precision. Only what differs is touched.
    """
    global _inside  # noqa: PLW0603  # the flags are the process's, and so is the count
    with _LOCK:
        if _inside == 0:
            _RESTORE.extend(_switch_off())
        _inside += 1
    try:
        with contextlib.ExitStack() as stack:
            for kind in ("cuda", "cpu"):
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0:
                while _RESTORE:
                    _RESTORE.pop()()


def _switch_off() -> Iterator[Callable[[], None]]:
    """Set the flags that differ and yield what restores each."""
    # A process that used torch's newer flags cannot read the older ones any more, and the other way round
    # the newer ones report what the older ones set; so the older are tried first.
    try:
        precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        multiplications = torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:
        yield from _switch_off_newer()
        return
    if precision != "highest" or multiplications:
        torch.set_float32_matmul_precision("highest")
        yield lambda: torch.set_float32_matmul_precision(precision)
    if convolutions:
        torch.backends.cudnn.allow_tf32 = False
        yield _setter(torch.backends.cudnn, "allow_tf32", True)


def _switch_off_newer() -> Iterator[Callable[[], None]]:
    for flags in (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn):
        before = flags.fp32_precision
        if before != "ieee":
            flags.fp32_precision = "ieee"
            yield _setter(flags, "fp32_precision", before)


def _setter(owner: object, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)
