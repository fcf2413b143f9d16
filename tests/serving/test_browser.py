"""The served pages in a browser: the index filters and sorts, reports open, nothing is complained of."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.sweep_page import name, write_sweep
from my3dis.pipeline import run_scan
from my3dis.serving.catalog import Catalog, open_root
from my3dis.serving.pages import Pages
from my3dis.serving.server import listen
from tests.browser import SOFTWARE, chromium_of, playwright_here
from tests.small_scan import write_small_scan

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright_here() as playwright, chromium_of(playwright, *SOFTWARE) as browser:
        yield browser


@contextmanager
def opened(chromium: Any, root: Path) -> Iterator[tuple[Any, str]]:
    """Serve a folder; give a page and the address, and check at the end that nothing was complained of."""
    problems: list[str] = []
    asked: list[str] = []
    with listen(Pages(Catalog(open_root(root))), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            page = chromium.new_page()
            page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            yield page, server.address
            page.close()
        finally:
            server.shutdown()
            thread.join()
    assert problems == []
    assert all(url.startswith((f"{server.address}/", "data:", "blob:")) for url in asked), asked


def test_index_filters_and_sorts(chromium: Any, tmp_path: Path) -> None:
    """Words, data set, status and scores narrow the rows, headings sort them, and a reload keeps it all."""
    write_sweep(tmp_path, 100)
    for n in range(0, 100, 10):
        manifest = tmp_path / name(n) / "default" / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"dataset": "multiscan"}))
    with opened(chromium, tmp_path) as (page, address):
        page.goto(f"{address}/")

        def column(n: int) -> list[str]:
            rows = "[...document.querySelectorAll('#scenes-table tbody tr')].filter(r => !r.hidden)"
            return page.evaluate(f"n => {rows}.map(r => r.cells[n].dataset.v ?? r.cells[n].textContent)", n)

        assert len(column(0)) == 100
        page.select_option("select[data-of=dataset]", "multiscan")
        assert column(0) == [name(n) for n in range(0, 100, 10)]
        page.fill("#filter", "scene001")
        assert column(0) == [name(20), name(30)]
        page.fill("#filter", "")
        page.select_option("select[data-of=dataset]", "")
        page.select_option("select[data-of=scores]", "no")
        assert column(0) == [name(41)]
        page.select_option("select[data-of=scores]", "yes")
        assert len(column(0)) == 99
        page.select_option("select[data-of=status]", "failed")
        assert column(0) == []
        page.select_option("select[data-of=status]", "finished")
        for heading, n in (("time", 3), ("memory", 4), ("objects AP50", 7)):
            page.click(f"th:has(button:text-is('{heading}')) button")
            values = [float(value) for value in column(n)]
            assert values == sorted(values, reverse=True)
        page.reload()
        assert [float(value) for value in column(7)] == values
        assert page.inner_text("#shown") == "99 of 100 shown"
        page.click("nav a")
        assert page.title().endswith("My3DIS sweep")
        assert page.inner_text("h1") == tmp_path.name


def test_a_report_works_as_from_the_disk(chromium: Any, built_in: Path, tmp_path: Path) -> None:
    """From the index a run's report opens, and its scripts, pictures and viewer work under the policy."""
    scan = write_small_scan(built_in, tmp_path / "room", frames=4, scale=0.5)
    run_scan(scan, tmp_path / "runs")
    with opened(chromium, tmp_path / "runs") as (page, address):
        page.goto(f"{address}/")
        page.click("#scenes-table tbody a")
        page.wait_for_selector("#viewer[data-state=ready]", timeout=20_000)
        assert page.url == f"{address}/room/default/report.html"
        pictures = "[...document.images].filter(i => i.src.length > 9)"  # "data:," waits to be filled
        assert page.evaluate(f"{pictures}.length") > 0
        broken = f"{pictures}.filter(i => !i.naturalWidth).length"
        assert page.evaluate(broken) == 0
    with opened(chromium, tmp_path / "runs" / "room" / "default") as (page, address):
        page.goto(f"{address}/comparison/0000.jpg")
        assert page.evaluate("document.images[0].naturalWidth") > 0
        page.goto(f"{address}/config.yaml")
        assert "experiment" in page.inner_text("body")
