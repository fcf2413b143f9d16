"""An installed Chromium for tests of pages: none is ever downloaded, and none is waited for without end."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

__all__ = ["SOFTWARE", "chromium_of", "playwright_here"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""Rendering by the processor, so that WebGL works on a machine without a graphics card."""
LIMIT_S = 60.0


@contextmanager
def playwright_here(limit_s: float = LIMIT_S) -> Iterator[Any]:
    """Give the entry point of playwright, and end by force whatever it started that does not end by itself.

    A browser or driver that hangs would be waited for without end: the time limit of a test breaks no wait
    that is in progress inside playwright's own loop.
    """
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra test-extras)")
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    killed: list[int] = []

    def kill() -> None:
        for process in psutil.Process().children(recursive=True):
            if process.pid not in before:
                killed.append(process.pid)
                process.kill()

    started = api.sync_playwright().start()
    try:
        yield started
    finally:
        watchdog = threading.Timer(limit_s, kill)
        watchdog.start()
        try:
            started.stop()
        finally:
            watchdog.cancel()
    assert not killed, f"the browser did not end within {limit_s:g} s and was killed"


@contextmanager
def chromium_of(playwright: Any, *flags: str) -> Iterator[Any]:
    """Give a Chromium with these flags; playwright closes it when it stops itself."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no Chromium is installed (looked for {', '.join(NAMES)})")
    yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *flags])
