"""A browser that hangs fails a test of pages, and does not hold up the others."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.browser import chromium_of, playwright_here


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("names", [("chrom",), ("chrom", "node", "MainThread")], ids=["one", "all"])
def test_what_does_not_end_is_killed_and_told(names: tuple[str, ...]) -> None:
    """Frozen when it should end, a browser and what drives it are gone after the limit, with an error."""
    frozen: list[psutil.Process] = []
    with pytest.raises(AssertionError, match="was killed"), playwright_here(limit_s=1.0) as playwright:
        with chromium_of(playwright) as browser:
            browser.new_page().goto("about:blank")
        for process in psutil.Process().children(recursive=True):
            if process.name().startswith(names):
                process.send_signal(signal.SIGSTOP)
                frozen.append(process)
    assert frozen
    _, alive = psutil.wait_procs(frozen, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
