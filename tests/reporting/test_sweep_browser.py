"""The page of a sweep in a browser: it sorts, filters, keeps both over a reload, asks for nothing outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.sweep_page import name, write_sweep
from my3dis.scheduling.sweep_report import write_page
from my3dis.scheduling.sweep_state import read_state
from tests.browser import chromium_of, playwright_here


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_table_sorts_and_filters(tmp_path: Path) -> None:
    """A heading sorts its column both ways with unknown values last; words in the box filter the rows."""
    write_sweep(tmp_path, 100)
    page_file = write_page(read_state(tmp_path))
    with playwright_here() as playwright, chromium_of(playwright, "--disable-gpu") as browser:
        page = browser.new_page()
        problems: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())

        def column(n: int) -> list[str]:
            script = "n => [...document.querySelectorAll('#scenes-table tbody tr')].filter(r => !r.hidden)"
            return page.evaluate(f"{script}.map(r => r.cells[n].dataset.v ?? r.cells[n].textContent)", n)

        assert column(0)[0] == name(41)
        page.click("th:has-text('track') button")
        values = column(5)
        assert values[-1] == ""
        seconds = [float(value) for value in values[:-1]]
        assert seconds == sorted(seconds, reverse=True)
        page.click("th:has-text('track') button")
        assert [float(value) for value in column(5)[:-1]] == sorted(seconds)
        page.fill("#filter", "failed scene002")
        assert column(0) == [name(41)]
        assert page.inner_text("#shown") == "1 of 100 shown"
        page.reload()
        assert column(0) == [name(41)]
        assert page.get_attribute("th:has-text('track')", "aria-sort") == "ascending"
        assert problems == []
        assert all(url.startswith(("file:", "data:")) for url in requests)
