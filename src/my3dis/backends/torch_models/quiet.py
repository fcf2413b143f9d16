"""Load a model of transformers without its progress bars, which would break the run's own display."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from transformers.utils import logging

__all__ = ["without_bars"]

_LOCK = threading.Lock()


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Switch the library's progress bars off inside the block, and on again if they were on.

    The switch belongs to the process, so one thread loads at a time.
    """
    with _LOCK:
        shown = logging.is_progress_bar_enabled()
        if shown:
            logging.disable_progress_bar()
        try:
            yield
        finally:
            if shown:
                logging.enable_progress_bar()
