"""The report's viewer in headless Chromium, opened from the disk: a run of the built-in scan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from my3dis.pipeline import run_scan
from my3dis.reporting.colors import family_colors
from my3dis.types import InstanceSet
from tests.browser import SOFTWARE, chromium_of, playwright_here
from tests.small_scan import write_small_scan

pytestmark = pytest.mark.extras

FIRST_PAINT_MS = 2000
_NO_WEBGL = ("--disable-gpu", "--disable-software-rasterizer")


@dataclass
class Opened:
    """A page and what it did: console messages, errors, and requests that leave the file."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        return self.page.get_attribute("#viewer", "data-state")

    @property
    def picked(self) -> str:
        return self.page.get_attribute("#viewer", "data-picked") or ""

    @property
    def level(self) -> str:
        return self.page.get_attribute("#viewer", "data-level")

    def camera(self) -> list[float]:
        return self.page.evaluate("document.getElementById('viewer').viewer.scene.camera.position.toArray()")

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate(
            "new Promise(d => setTimeout(() => requestAnimationFrame(() => setTimeout(d, 0)), 60))"
        )

    def picture(self) -> np.ndarray:
        """Return what the canvas shows as (H, W, 3) RGB."""
        self.settle()
        data = np.frombuffer(self.page.locator("#viewer canvas").screenshot(), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]


@pytest.fixture(scope="module")
def report(built_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run over six small frames."""
    folder = tmp_path_factory.mktemp("viewer")
    scan = write_small_scan(built_in, folder / "room", frames=6, scale=0.5)
    result = run_scan(scan, folder / "runs")
    assert result.report is not None
    return result.report


@pytest.fixture(scope="module")
def instances(report: Path) -> InstanceSet:
    with np.load(report.parent / "instances.npz", allow_pickle=False) as file:
        return InstanceSet(
            n_points=int(file["n_points"]), cloud_digest="",
            **{name: file[name] for name in (
                "instance_id", "level", "parent_id", "label", "score", "point_offsets", "point_index")},
        )  # fmt: skip


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    with playwright_here() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(playwright: Any) -> Iterator[Any]:
    with chromium_of(playwright, *SOFTWARE) as started:
        yield started


@contextmanager
def opened(chromium: Any, report: Path, **options: Any) -> Iterator[Opened]:
    """Open the page from the disk; at the end it must have said nothing and asked for nothing."""
    context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    result = Opened(context.new_page())
    result.page.on("console", lambda message: result.said.append(f"{message.type}: {message.text}"))
    result.page.on("pageerror", lambda error: result.said.append(f"error: {error}"))
    result.page.on("request", lambda request: result.asked.append(request.url))
    result.page.goto(report.as_uri())
    result.page.wait_for_selector('#viewer:not([data-state="starting"])', timeout=60_000)
    result.page.evaluate("document.getElementById('explore').scrollIntoView()")
    try:
        yield result
        outside = [url for url in result.asked if url != report.as_uri() and not url.startswith("data:")]
        assert outside == []
        assert result.said == []
    finally:
        context.close()


@pytest.fixture
def view(chromium: Any, report: Path) -> Iterator[Opened]:
    with opened(chromium, report) as result:
        assert result.state == "ready"
        yield result


def color_of(instances: InstanceSet, instance: int) -> tuple[int, int, int]:
    ids = instances.instance_id.tolist()
    return family_colors(ids, dict(zip(ids, instances.parent_id.tolist(), strict=True)))[instance]


def middle_of(picture: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int]:
    """Return the (x, y) deepest inside the part of a picture that has a colour, however shaded."""
    unit = np.array(color) / np.linalg.norm(color)
    pixels = picture.astype(float)
    length = np.maximum(np.linalg.norm(pixels, axis=2), 1)
    same = ((pixels @ unit) / length > 0.9995) & (length > 60)
    depth = cv2.distanceTransform(same.astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    assert depth[y, x] > 3, f"nothing in the picture has the colour {color}"
    return int(x), int(y)


def largest(instances: InstanceSet, *, with_parts: bool = False) -> int:
    """Return the id of the largest instance of the coarsest level."""
    sizes = np.diff(instances.point_offsets)
    members = np.flatnonzero(instances.level == instances.level.min())
    if with_parts:
        members = members[np.isin(instances.instance_id[members], instances.parent_id)]
    return int(instances.instance_id[members[sizes[members].argmax()]])


def test_the_page_paints_early_and_asks_for_nothing(chromium: Any, report: Path) -> None:
    """From file://: first paint in under two seconds (best of three), no request, no console message."""
    times = []
    for _ in range(3):
        with opened(chromium, report) as view:
            times.append(
                view.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            )
        if times[-1] < FIRST_PAINT_MS:
            break
    assert min(times) < FIRST_PAINT_MS, f"first paint after {times} ms"
    assert report.stat().st_size < 8_000_000


def test_a_click_picks_what_has_the_instances_colour(view: Opened, instances: InstanceSet) -> None:
    """Where the picture has an instance's colour a click picks it; the panel tells its tree and frames."""
    wanted = largest(instances, with_parts=True)
    x, y = middle_of(view.picture(), color_of(instances, wanted))
    view.page.locator("#viewer canvas").click(position={"x": x, "y": y})
    assert view.picked == str(wanted)
    panel = view.page.locator("#viewer .panel")
    k = instances.instance_id.tolist().index(wanted)
    assert f"Instance {wanted}" in panel.inner_text()
    assert f"{100 * instances.score[k]:.1f} %" in panel.inner_text()
    assert f"{len(instances.points_of(k)):,}" in panel.inner_text()
    parts = set(instances.instance_id[instances.parent_id == wanted].tolist())
    shown = panel.locator(".tree button.one").evaluate_all("all => all.map(b => Number(b.dataset.instance))")
    assert set(shown) == parts
    assert panel.locator(".shot image").count() >= 1
    assert panel.locator(".shot path").first.get_attribute("d").startswith("M")
    assert f"Instance {wanted} picked" in view.page.locator('[data-part="live"]').inner_text()
    # The picked one keeps its colour, the others fade.
    middle_of(view.picture(), color_of(instances, wanted))
    view.page.keyboard.press("Escape")
    assert view.picked == ""


def test_parts_and_parents_are_one_click_away(view: Opened, instances: InstanceSet) -> None:
    """From the list to a parent, to its part at the next level, and back by the tree."""
    wanted = largest(instances, with_parts=True)
    view.page.locator(f'#viewer .panel button[data-instance="{wanted}"]').click()
    part = view.page.locator("#viewer .tree button.one").first
    name = part.get_attribute("data-instance")
    part.click()
    assert view.picked == name
    level = int(instances.level[instances.instance_id == int(name)][0])
    assert view.level == str(level)
    view.page.locator(f'#viewer .tree button[data-instance="{wanted}"]').click()
    assert (view.picked, view.level) == (str(wanted), str(instances.level.min()))


def test_the_slider_changes_the_level(view: Opened, instances: InstanceSet) -> None:
    """Each step shows another level, in words, in the list and in the picture; the last is own colours."""
    levels, counts = np.unique(instances.level, return_counts=True)
    slider = view.page.locator("#viewer-level")
    slider.focus()
    pictures = [view.picture()]
    for level, count in list(zip(levels.tolist(), counts.tolist(), strict=True))[1:]:
        view.page.keyboard.press("ArrowRight")
        assert view.level == str(level)
        words = f"level {level}, {count} instances"
        assert view.page.locator('[data-part="level"]').inner_text() == words
        assert slider.get_attribute("aria-valuetext") == words
        assert view.page.locator("#viewer .ones li").count() == min(count, 200)
        pictures.append(view.picture())
    view.page.keyboard.press("Home")
    assert view.level == "own"
    pictures.append(view.picture())
    for i, one in enumerate(pictures):
        for other in pictures[i + 1 :]:
            assert np.abs(one.astype(int) - other).mean() > 1


def test_keys_do_what_the_page_says(view: Opened, instances: InstanceSet) -> None:
    """Turn, zoom, levels, next, part, parent, walls and back, without a mouse."""
    page, press = view.page, view.page.keyboard.press
    page.locator("#viewer canvas").focus()
    before = view.camera()
    press("ArrowLeft")
    turned = view.camera()
    assert np.linalg.norm(np.subtract(turned, before)) > 0.1
    press("+")
    assert not np.allclose(view.camera(), turned)
    press("2")
    assert view.level == str(np.unique(instances.level)[1])
    press("0")
    assert view.level == "own"
    press("1")
    press("n")
    surest = view.picked
    at_first = instances.level == instances.level.min()
    assert instances.score[instances.instance_id == int(surest)] == instances.score[at_first].max()
    press("n")
    press("p")
    assert view.picked == surest
    press("Escape")
    with_parts = largest(instances, with_parts=True)
    while view.picked != str(with_parts):
        press("n")
    press("d")
    child = int(view.picked)
    assert instances.parent_id[instances.instance_id == child] == with_parts
    press("u")
    assert view.picked == str(with_parts)
    press("w")
    assert page.get_attribute('[data-part="through"]', "aria-pressed") == "false"
    press("Escape")
    assert view.picked == ""
    # Keys belong to the page outside the viewer.
    page.evaluate("document.activeElement.blur()")
    press("n")
    assert view.picked == ""
    page.locator(".keys summary").click()
    assert "fly to the picked one" in page.locator(".keys").inner_text()


def test_tracks_answer_to_the_pointer(view: Opened) -> None:
    """Pointing at a track names the frame and whether the object is there; a click picks it."""
    row = view.page.locator("#viewer .trace").first
    row.hover()
    readout = view.page.locator('[data-part="readout"]').inner_text()
    assert re.search(r"Instance \d+: seen in \d+ frames?.*; frame \d+: (has a|no) mask", readout)
    row.click()
    assert view.picked == row.get_attribute("data-instance")
    assert row.get_attribute("aria-pressed") == "true"


def test_dark_mode_is_dark_and_follows_the_system(chromium: Any, report: Path) -> None:
    """The picture's ground and the panel are dark; switching while the page is open works too."""
    with opened(chromium, report, color_scheme="dark") as view:
        dark = view.picture()
        assert dark[2, 2].max() < 60
        ink = view.page.evaluate("getComputedStyle(document.querySelector('.viewer .panel')).color")
        assert min(int(v) for v in re.findall(r"\d+", ink)[:3]) > 150
        view.page.emulate_media(color_scheme="light")
        assert view.picture()[2, 2].min() > 200


def test_a_finger_can_pick_on_a_phone(chromium: Any, report: Path, instances: InstanceSet) -> None:
    """At phone width nothing is wider than the screen, and a tap picks."""
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(chromium, report, **options) as view:
        assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        wanted = largest(instances)
        x, y = middle_of(view.picture(), color_of(instances, wanted))
        view.page.locator("#viewer canvas").tap(position={"x": x, "y": y})
        assert view.picked == str(wanted)


def test_all_points_are_drawn_once_the_view_rests(view: Opened) -> None:
    """A slow machine draws fewer points while it turns; afterwards the picture is whole again."""
    box = view.page.locator("#viewer canvas").bounding_box()
    view.page.mouse.move(box["x"] + 300, box["y"] + 200)
    view.page.mouse.down()
    for step in range(12):
        view.page.mouse.move(box["x"] + 300 + 10 * step, box["y"] + 200)
    view.page.mouse.up()
    assert view.picked == ""  # a drag is no click
    view.page.wait_for_timeout(500)
    view.settle()
    drawn, points = view.page.evaluate(
        "(({ scene, points }) => [scene.geometry.drawRange.count, points.count])"
        "(document.getElementById('viewer').viewer)"
    )
    assert drawn == points


def test_motion_is_left_out_on_request(chromium: Any, report: Path) -> None:
    """prefers-reduced-motion: the view jumps, without frames between."""
    with opened(chromium, report, reduced_motion="reduce") as view:
        view.page.locator("#viewer canvas").focus()
        view.page.keyboard.press("t")
        above = view.camera()
        view.settle()
        assert view.camera() == above


def test_without_webgl_the_rest_works_and_it_is_said(playwright: Any, report: Path) -> None:
    """No 3D picture: the page says why; lists, tree, masks and tracks can still be used."""
    with chromium_of(playwright, *_NO_WEBGL) as plain, opened(plain, report) as view:
        assert view.state == "flat"
        assert "no WebGL 2" in view.page.locator('[data-part="why"]').inner_text()
        assert not view.page.locator("#viewer canvas").is_visible()
        button = view.page.locator("#viewer .ones button").first
        name = button.get_attribute("data-instance")
        button.click()
        assert view.picked == name
        assert view.page.locator("#viewer .tree").is_visible()
        view.page.locator("#viewer-level").focus()
        view.page.keyboard.press("ArrowRight")
        assert view.page.locator("#viewer .trace").count() > 0
        view.said = [line for line in view.said if "WebGL" not in line]
