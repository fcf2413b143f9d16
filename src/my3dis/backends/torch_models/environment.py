"""Keep what torch writes into the environment out of it; imports neither torch nor transformers."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

__all__ = ["unchanged_environment"]

_PREFIX = "TORCHINDUCTOR_"
_LOCK = threading.RLock()


@contextlib.contextmanager
def unchanged_environment() -> Iterator[None]:
    """Take back the variables that importing torch's compiler sets, where child processes would find them.

    It is imported as a side effect: with the models of transformers, and by the first network that is built
    without memory. Only its own variables are looked at, since other threads may set others meanwhile.
    """
    with _LOCK:
        before = _compilers()
        try:
            yield
        finally:
            for name in _compilers() - before:
                os.environ.pop(name, None)


def _compilers() -> set[str]:
    return {name for name in os.environ if name.startswith(_PREFIX)}
