"""The report stage on a run made by hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest

from my3dis.config import Config
from my3dis.runs.layout import RunLayout
from my3dis.stages import report
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from tests.reporting.fakes import FRAMES, FakeReader, floor_and_box, write_run

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)


def config_with(**stages: dict[str, object]) -> Config:
    # Small pictures keep the tests quick.
    stages["report"] = {"max_width": 200} | stages.get("report", {})
    return Config.model_validate({"experiment": {"levels": [2, 4]}, "stages": stages})


class Run:
    """A run folder, a reader, and what the stage said while it ran."""

    def __init__(self, folder: Path, scene: str = "room", *, with_cloud: bool = True) -> None:
        cloud = floor_and_box()
        self.reader = FakeReader(scene, cloud=cloud if with_cloud else None)
        self.layout = RunLayout(folder / "runs" / "room" / "default")
        write_run(self.layout, config_with(), cloud)
        self.warnings: list[StageWarning] = []
        self.progress: list[tuple[int, int]] = []

    def report(self, config: Config | None = None) -> StageOutcome:
        return report.run(
            StageContext(
                reader=self.reader,
                frames=tuple(range(FRAMES)),
                layout=self.layout,
                config=config or config_with(),
                stage_digest="digest",
                progress=lambda done, total: self.progress.append((done, total)),
                warn=self.warnings.append,
            )
        )

    @property
    def page(self) -> str:
        return self.layout.report("report").read_text("utf-8")

    @property
    def text(self) -> str:
        return self.layout.report_text("report").read_text("utf-8")

    def pictures(self) -> list[str]:
        return sorted(path.name for path in self.layout.comparison.iterdir())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def section(page: str, name: str) -> str:
    return page.partition(f'<h2 id="{name}">')[2].partition("</section>")[0]


def test_a_finished_run_is_told_completely(run: Run) -> None:
    """Frames, tracks, 3D, stages, drops, warnings and the way to repeat it are in page and text."""
    outcome = run.report()
    facts = dict(outcome.facts)
    assert outcome.masks_in == 31  # two masks in each of 12 frames, a third in 3 + 4 of them
    assert facts["pictures"] == 3
    assert facts["html_bytes"] == len(run.page.encode())
    assert run.pictures() == ["0000.jpg", "0010.jpg", "0011.jpg"]
    assert run.progress[-1] == (4, 4)  # three pictures and the page
    assert run.warnings == []
    for words in ("3 frames have no pose.", "watershed (version 1)", "warp (version 1", "103 MB", "2.4.6"):
        assert words in run.page
        assert words in run.text
    assert "12 dropped" in section(run.page, "filter")
    assert "Level 4: 1 instance" in section(run.page, "room")
    assert "lost and found again 1 time" in section(run.page, "time")
    assert "[Frame 11](<comparison/0011.jpg>)" in run.text
    assert "my3dis run --scan somewhere/room --output" in run.page
    assert "my3dis run --scan somewhere/room --output" in run.text


def test_joined_pictures_keep_to_the_maximum_width(run: Run) -> None:
    """The joined picture is at most max_width wide."""
    run.report(config_with(report={"max_width": 700}))
    sheets = [cv2.imread(str(run.layout.comparison / name)) for name in ("0000.jpg", "0011.jpg")]
    assert all(sheet.shape[1] <= 700 for sheet in sheets)


def test_only_the_files_of_the_report_are_written(run: Run) -> None:
    """Pictures, page and text; pictures of an earlier report go."""
    before = {path.name for path in run.layout.root.iterdir()}
    run.report(config_with(tracker={"comparison_sampling": {"every": 2, "max": 12}}))
    assert len(run.pictures()) == 7
    run.report()
    assert len(run.pictures()) == 3
    assert {p.name for p in run.layout.root.iterdir()} - before == {"comparison", "report.html", "report.md"}


def test_frames_are_opened_one_by_one_and_only_the_drawn_ones(run: Run) -> None:
    """With at most two pictures only two colour frames are opened for them."""
    run.report(config_with(tracker={"comparison_sampling": {"every": 1, "max": 2}}, lift={"enabled": False}))
    assert run.reader.opened[:2] == [0, 11]
    assert run.pictures() == ["0000.jpg", "0011.jpg"]


def test_switched_off_pictures_are_a_warning_and_a_notice(run: Run) -> None:
    """render_viz=false: a structured warning for each level, and the reason where the pictures would be."""
    run.report()
    run.report(config_with(tracker={"render_viz": False}))
    assert [(w.stage, w.reason, w.level) for w in run.warnings] == [
        ("report", "no_comparison", 2),
        ("report", "no_comparison", 4),
    ]
    assert "stages.tracker.render_viz=false" in run.warnings[0].message
    assert "stages.tracker.render_viz=false" in section(run.page, "frames")
    assert "stages.tracker.render\\_viz=false" in run.text
    assert run.page.count("No comparison pictures were drawn") == 2  # once as a warning, once in place
    assert run.pictures() == []


def test_without_tracks_the_kept_masks_are_drawn_and_it_is_said(run: Run) -> None:
    """Tracking switched off: the filter's masks stand in, the page says so, the timeline says why."""
    run.report(config_with(tracker={"enabled": False}))
    assert "stages.tracker.enabled=false" in section(run.page, "frames")
    assert "masks that the filter kept" in section(run.page, "frames")
    assert "stages.tracker.enabled=false" in section(run.page, "time")
    assert len(run.pictures()) == 3
    assert run.warnings == []


def test_a_level_without_masks_is_a_warning_of_that_level(run: Run) -> None:
    """Level 6 was asked for and has no mask: its panel is bare and a warning names it."""
    config = config_with()
    experiment = config.experiment.model_copy(update={"levels": [2, 4, 6]})
    run.report(config.model_copy(update={"experiment": experiment}))
    assert [(w.reason, w.level) for w in run.warnings] == [("no_comparison", 6)]
    assert "level 6: 0 masks" in run.page


def test_an_empty_run_has_a_reason_in_every_section(run: Run) -> None:
    """Nothing but the scan: the page is made and each part says what is missing."""
    shutil.rmtree(run.layout.root)
    run.layout.root.mkdir()
    run.reader = FakeReader()
    run.report()
    for name, words in (
        ("frames", "tracks.my3dis is not in the run"),
        ("time", "tracks.my3dis is not in the run"),
        ("room", "instances.npz is not in the run"),
        ("scores", "scores.json is not in the run"),
        ("instances", "instances.npz is not in the run"),
        ("stages", "no stage_timings.json"),
        ("filter", "masks.my3dis is not in the run"),
        ("details", "no environment_snapshot.json"),
    ):
        assert words in section(run.page, name).replace("&#39;", "'"), name
    assert {w.reason for w in run.warnings} == {"no_comparison"}


def test_a_stages_own_reason_is_given(run: Run) -> None:
    """The manifest says why a stage was skipped; that sentence stands in its place."""
    run.report()
    assert "The stage evaluate was skipped: the scan has no ground truth." in section(run.page, "scores")


def test_points_that_changed_are_not_painted(run: Run) -> None:
    """Instances of another cloud are listed but not drawn on the wrong points."""
    other = floor_and_box()
    run.reader._cloud = type(other)(xyz_m=other.xyz_m[:-3], digest="shorter")
    run.report()
    assert "points have changed since lifting" in section(run.page, "room")
    assert "<table>" in section(run.page, "instances")


def test_costs_are_hidden_on_request(run: Run) -> None:
    """record_timings=false: no time and no memory anywhere."""
    run.report(config_with(report={"record_timings": False}))
    assert "103 MB" not in run.page
    assert "103 MB" not in run.text
    assert "Peak memory" not in run.page


def test_switched_off_reports_are_skipped(run: Run) -> None:
    """stages.report.enabled=false writes nothing and says why."""
    outcome = run.report(config_with(report={"enabled": False}))
    assert "stages.report.enabled" in (outcome.skipped or "")
    assert not run.layout.report("report").exists()


def test_a_scene_called_script_does_no_harm(tmp_path: Path) -> None:
    """Names are escaped from the reader to the page."""
    run = Run(tmp_path, scene="<script>alert(1)</script>")
    run.report()
    assert "<script>alert" not in run.page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in run.page


def test_the_same_run_makes_the_same_report(run: Run) -> None:
    """Page and pictures are equal byte by byte the second time."""
    run.report()
    first = run.page, (run.layout.comparison / "0000.jpg").read_bytes()
    run.report()
    assert (run.page, (run.layout.comparison / "0000.jpg").read_bytes()) == first


def test_a_repeated_stage_takes_back_its_earlier_warnings(run: Run) -> None:
    """Only what a stage said in its last attempt is in the report."""
    with run.layout.events.open("a") as events:
        events.write('{"event": "stage_started", "stage": "lift"}\n')
    run.report()
    assert "3 frames have no pose." not in run.page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(run: Run, tmp_path: Path, width: int) -> None:
    """At phone and desktop width the page does not scroll sideways, and every picture is loaded."""
    run.report()
    probe = tmp_path / "probe.html"
    page = run.page.replace(
        "<script>",
        "<script>addEventListener('load', () => setTimeout(() => { const bad = [...document.images].filter("
        "i => i.closest('figure') && !i.naturalWidth).length; parent.postMessage("
        "[document.documentElement.scrollWidth, innerWidth, bad].join(' '), '*'); }, 50));",
        1,
    )
    framed = tmp_path / "framed.html"
    framed.write_text(page)
    probe.write_text(
        f"<!doctype html><title>waiting</title><body style='margin:0'><iframe src='{framed.as_uri()}' "
        f"style='width:{width}px;height:800px;border:0'></iframe><p id='said'></p><script>"
        "addEventListener('message', e => "
        "{ document.getElementById('said').textContent = 'SAID ' + e.data; });"
        "</script></body>"
    )
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1400,900",
            "--virtual-time-budget=4000",
            "--dump-dom",
            probe.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = re.search(r"SAID (\d+) (\d+) (\d+)", done.stdout)
    assert said, f"the browser gave no answer: {done.stderr[-500:]}"
    content, window, broken = (int(value) for value in said.groups())
    assert window == width
    assert content <= width
    assert broken == 0
