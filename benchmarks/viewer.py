"""How smoothly the report's viewer turns 200,000 points, how heavy the page is, and when it is painted.

``python benchmarks/viewer.py [--report FILE] [--points N] [--check]``; without ``--report`` a room of boxes
is drawn. Paint is the best of five, and that of an empty page stands beside it: it is what the browser and
the machine take anyway. Needs playwright and an installed Chromium. Rendering is by the processor
(SwiftShader) unless ``--gpu`` is given and the machine has a graphics card, which is many times as fast.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from my3dis.reporting.colors import family_colors
from my3dis.reporting.model import (
    Comparison,
    Drops,
    InstanceTable,
    Report,
    RoomSection,
    ScoreTable,
    StageTable,
    Timeline,
)
from my3dis.reporting.page import render_page
from my3dis.reporting.viewer import (
    ViewerContent,
    ViewerInstance,
    ViewerPoints,
    ViewerSection,
    encode_viewer,
)

PAGE_BOUND_MB = 8.0
PAINT_BOUND_MS = 2000.0
VIEWPORT = ViewportSize(width=1280, height=900)
BOXES = 60
TURNS = 40
THINNED = 0.1
"""About the least that the viewer draws while the view moves on a slow machine."""

# Each turn is drawn and then waited for: reading a pixel back is the only way to know that it is finished.
_ORBIT = """async ([turns, share]) => {
  const { scene } = document.getElementById("viewer").viewer;
  const gl = scene.renderer.getContext(), pixel = new Uint8Array(4), times = [];
  for (let i = 0; i < turns; i++) {
    await new Promise((done) => setTimeout(done, 0));
    const begun = performance.now();
    scene.orbit.rotate(0.05, 0.01 * Math.sin(i));
    const turned = performance.now();
    scene.drawNow(share);
    const asked = performance.now();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    times.push([performance.now() - begun, asked - turned]);
  }
  return times;
}"""
_PICK = """() => {
  const { scene } = document.getElementById("viewer").viewer, times = [];
  for (let i = 0; i < 20; i++) {
    const begun = performance.now();
    scene.pick(40 + 30 * i, 300);
    times.push(performance.now() - begun);
  }
  return times;
}"""
_PAINT = """new Promise((done) => {
  const look = () => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    paint ? done(paint.startTime) : setTimeout(look, 20);
  };
  look();
})"""
_CARD = """() => {
  const gl = document.getElementById("viewer").viewer.scene.renderer.getContext();
  return gl.getParameter(gl.getExtension("WEBGL_debug_renderer_info").UNMASKED_RENDERER_WEBGL);
}"""
_LEVEL = """() => {
  const viewer = document.getElementById("viewer").viewer, times = [];
  for (let i = 0; i < 10; i++) {
    const begun = performance.now();
    viewer.scene.recolor(viewer.paint({ ...viewer.state, level: i % 2, dark: false }));
    times.push(performance.now() - begun);
  }
  return times;
}"""


def room_page(points: int) -> bytes:
    """Return a page with boxes on a floor, every box an instance with six parts."""
    draw = np.random.default_rng(0)
    each = points // (BOXES + BOXES // 2)
    xyz, normal, owner = [], [], []
    for box in range(BOXES):
        size, corner = draw.uniform(0.2, 0.9, 3), np.append(draw.uniform(0, 9, 2), 0)
        side = draw.integers(0, 6, each)
        place, facing = draw.uniform(0, 1, (each, 3)), np.zeros((each, 3))
        place[np.arange(each), side % 3] = side // 3
        facing[np.arange(each), side % 3] = np.where(side >= 3, 1, -1)
        xyz.append(corner + place * size)
        normal.append(facing)
        owner.append(np.stack([np.full(each, box), BOXES + 6 * box + side], axis=1))
    rest = points - BOXES * each
    xyz.append(np.append(draw.uniform(0, 10, (rest, 2)), np.zeros((rest, 1)), axis=1))
    normal.append(np.tile([0.0, 0, 1], (rest, 1)))
    owner.append(np.full((rest, 2), -1))
    parents = {k: -1 if k < BOXES else (k - BOXES) // 6 for k in range(7 * BOXES)}
    colors = family_colors(list(parents), parents)
    owners = np.concatenate(owner).astype(np.int32)
    rows = tuple(
        ViewerInstance(
            instance_id=k, level=2 if k < BOXES else 4, parent=parent, color=colors[k], score=0.5,
            points=int((owners == k).sum()), runs=((0, 50),), seen=50,
        )
        for k, parent in parents.items()
    )  # fmt: skip
    cloud = ViewerPoints(
        xyz_m=np.concatenate(xyz),
        normal=np.concatenate(normal),
        color=draw.integers(60, 220, (points, 3)).astype(np.uint8),
        owner=(owners[:, 0], owners[:, 1]),
        spacing_m=0.02,
        total=points,
    )
    payload = encode_viewer(ViewerContent(points=cloud, levels=(2, 4), instances=rows, frames=range(50)))
    viewer = ViewerSection(payload=payload, levels=((2, BOXES), (4, 6 * BOXES)), shown=points, total=points)
    nothing = "Not measured."
    report = Report(
        scene="boxes", run_name="benchmark", dataset="none", summary=nothing, viewer=viewer,
        comparison=Comparison(notice=nothing), timeline=Timeline(notice=nothing),
        room=RoomSection(notice=nothing), scores=ScoreTable(notice=nothing),
        instances=InstanceTable(notice=nothing), stages=StageTable(notice=nothing),
        drops=Drops(notice=nothing),
    )  # fmt: skip
    return render_page(report).encode("utf-8")


def paints(browser: Browser, file: Path, repeats: int = 5) -> list[float]:
    """Return milliseconds until the first contentful paint of a page, each time in a new tab."""
    times = []
    for _ in range(repeats):
        page = browser.new_page(viewport=VIEWPORT)
        page.goto(file.as_uri())
        times.append(page.evaluate(_PAINT))
        page.close()
    return times


def measure(page: Page, file: Path) -> dict[str, list[float]]:
    """Open a page and return the time until the viewer is ready, and times of its work, in ms."""
    page.goto(file.as_uri())
    page.wait_for_selector('#viewer[data-state="ready"]', timeout=120_000)
    ready = page.evaluate("performance.now()")
    page.evaluate("document.getElementById('explore').scrollIntoView()")
    orbit = page.evaluate(_ORBIT, [TURNS, 1])[3:]
    thinned = page.evaluate(_ORBIT, [TURNS, THINNED])[3:]
    return {
        "viewer ready": [ready],
        "frame while turning": [whole for whole, _ in orbit],
        f"with {THINNED:.0%} of the points": [whole for whole, _ in thinned],
        "of it in our code": [own for _, own in orbit],
        "search under the pointer": page.evaluate(_PICK),
        "change of level": page.evaluate(_LEVEL),
    }


def main() -> int:
    """Measure, print and compare with the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--report", type=Path, help="a report.html instead of the room of boxes")
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--gpu", action="store_true", help="do not ask for software rendering")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound is broken")
    arguments = parser.parse_args()
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        print(f"no Chromium is installed (looked for {', '.join(names)})", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = arguments.report or Path(folder) / "report.html"
        if arguments.report is None:
            file.write_bytes(room_page(arguments.points))
        flags = [] if arguments.gpu else ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", *flags])
        empty = Path(folder) / "empty.html"
        empty.write_text("<!doctype html><title>empty</title><p>nothing")
        times = {
            name: paints(started, at) for name, at in (("empty page", empty), ("first paint", file.resolve()))
        }
        page = started.new_page(viewport=VIEWPORT)
        times |= measure(page, file.resolve())
        shown = page.evaluate("document.getElementById('viewer').viewer.points.count")
        card = page.evaluate(_CARD)
        size_mb = file.stat().st_size / 1e6
        started.close()
    print(f"{shown:,} points, 1280 x 900, drawn by {card}")
    print(f"{'page':26} {size_mb:8.2f} MB")
    for name, values in times.items():
        spread = f"  ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
        print(f"{name:26} {statistics.median(values):8.1f} ms{spread}")
    good = size_mb <= PAGE_BOUND_MB and min(times["first paint"]) < PAINT_BOUND_MS
    print(f"page <= {PAGE_BOUND_MB:.0f} MB, first paint < {PAINT_BOUND_MS:.0f} ms: {'yes' if good else 'NO'}")
    return 0 if good or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
