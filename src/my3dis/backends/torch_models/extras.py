"""Say which extra to install when a back end's libraries are missing; imports none of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from my3dis.errors import PluginError

__all__ = ["needs_extra"]


@contextlib.contextmanager
def needs_extra(what: str, extra: str) -> Iterator[None]:
    """Turn a failed import inside the block into `PluginError` that says what to install.

    Args:
        what: who needs the library, such as the back end's name.
        extra: the extra of this package that brings it.
    """
    try:
        yield
    except ImportError as error:
        raise PluginError(
            f"{what} needs libraries that are not installed ({error}); install torch for your machine first "
            f"(https://pytorch.org/get-started), then pip install 'my3dis[{extra}]'"
        ) from error
