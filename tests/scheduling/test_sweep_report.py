"""The page of a sweep: at its end, while it goes on, after a kill, and of runs without a sweep."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.sweep_page import name, write_run, write_sweep
from my3dis.config import Config
from my3dis.errors import DataError
from my3dis.reporting.sweep_page import render_sweep
from my3dis.scheduling.jobs import Job, JobEvent, Need, SweepPlan
from my3dis.scheduling.recording import MOST_SAMPLES, Recording
from my3dis.scheduling.sweep_advice import advice_for
from my3dis.scheduling.sweep_live import LiveSweep
from my3dis.scheduling.sweep_report import as_json, page_of, write_page
from my3dis.scheduling.sweep_state import SceneState, read_state, state_of_runs


class Rows(HTMLParser):
    """Collects the cells of the table of scenes, and every address that the page names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.addresses += [found[key] for key in ("href", "src") if found.get(key)]
        if tag == "table":
            self._inside = found.get("id") == "scenes-table"
        elif self._inside and tag == "tr":
            self.rows.append([])
        elif self._inside and tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self._inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of 100 scenes of which one failed."""
    root = tmp_path_factory.mktemp("swept")
    write_sweep(root, 100)
    return root


def test_page_of_a_finished_sweep(swept: Path) -> None:
    """Every scene has a row with its stages and scores and a link; the failed one comes first with advice."""
    text = write_page(read_state(swept)).read_text()
    found = Rows(text)
    assert len(found.rows) == 101
    heads, first = [head.strip() for head in found.rows[0]], found.rows[1]
    assert heads[:5] == ["scene", "status", "time", "candidates", "filter"]
    assert heads[-4:] == ["objects AP", "objects AP50", "objects AP25", "parts AP50"]
    assert first[:2] == [name(41), "failed"]
    assert "oom_kill 3 -&gt; 4" in text
    assert "experiment.parallel_scenes=1" in text
    assert f"{name(0)}/default/report.html" in found.addresses
    assert all(not a.startswith(("http", "//")) for a in found.addresses)
    for section in ("failures", "scenes", "means", "slowest", "memory", "jobs", "decisions"):
        assert f'id="{section}"' in text, section


def test_names_and_messages_are_escaped(swept: Path) -> None:
    """Markup in names, reasons and statuses is shown as text."""
    evil = "<script>alert(1)</script>"
    state = read_state(swept)
    scene = replace(state.scenes[0], scene=evil, status="failed", message=evil, evidence=(evil,))
    page = page_of(
        replace(state, scenes=(scene, replace(scene, status=evil)), run_name=evil, tag=evil), swept
    )
    assert "<script>alert" not in render_sweep(page)


def test_commands_in_advice_are_shown_as_such(swept: Path) -> None:
    """What stands between backticks is code on the page; one process of one job is not in the plural."""
    state = read_state(swept)
    scene = replace(state.scenes[0], status="failed", evidence=(), exit_code=3)
    recording = Recording()
    recording.take(0.0, "started", "a:candidates", {})
    text = render_sweep(page_of(replace(state, scenes=(scene,), recording=recording), swept))
    assert "<code>my3dis check SCAN</code>" in text
    assert "1 process of 1 job<" in text


def test_json_has_all_scenes_and_bounded_memory(swept: Path) -> None:
    """The document for scripts can be read back and holds counts, means and thinned memory."""
    content = json.loads(json.dumps(as_json(read_state(swept))))
    assert content["counts"] == {"done": 99, "failed": 1}
    assert len(content["scenes"]) == 100
    assert 2 <= len(content["memory"]) <= MOST_SAMPLES
    assert content["means"]["objects ap50"]["scenes"] == 99
    assert content["scenes"][name(41)]["advice"].startswith("It ran out of memory")


def test_runs_without_a_sweep(tmp_path: Path) -> None:
    """Runs that were made one by one have a page too; several names of one scene have a row each."""
    write_run(tmp_path / "a" / "default", "a", 1.0, failed=False)
    write_run(tmp_path / "b" / "default", "b", 2.0, failed=True)
    (tmp_path / "b" / "default" / "stage_timings.json").write_text("{}")
    state = read_state(tmp_path)
    assert state.status == "collected"
    assert [scene.scene for scene in state.scenes] == ["a"]
    assert "stage_timings.json" in state.notes[0]
    assert len(Rows(write_page(state).read_text()).rows) == 2
    path = tmp_path / "a" / "other" / "manifest.json"
    write_run(path.parent, "a", 1.0, failed=False)
    path.write_text(path.read_text().replace('"run_name": "default"', '"run_name": "other"'))
    assert [s.scene for s in state_of_runs(tmp_path).scenes] == ["a / default", "a / other"]
    assert [s.scene for s in state_of_runs(tmp_path, "other").scenes] == ["a"]
    with pytest.raises(DataError, match="found none of the name x"):
        state_of_runs(tmp_path, "x")


def test_a_killed_sweep_is_told_from_one_that_runs(tmp_path: Path) -> None:
    """Without an end and silent for long it is broken off; figures come from events and folders."""
    write_sweep(tmp_path, 4)
    path = tmp_path / "sweep.json"
    content = json.loads(path.read_text())
    del content["scenes"]
    states = {f"{name(n)}:{stage}": "done" for n in range(4) for stage in ("candidates", "track")}
    content |= {"status": "running", "job_states": states | {f"{name(3)}:track": "running"}}
    path.write_text(json.dumps(content))
    state = read_state(tmp_path)
    assert state.status == "broken off"
    assert [scene.status for scene in state.scenes] == ["done", "done", "done", "running"]
    assert state.scenes[0].seconds > 0
    assert "its process was killed" in write_page(state).read_text()
    path.write_text(json.dumps(content | {"updated": "2999-01-01T00:00:00Z"}))
    assert read_state(tmp_path).status == "running"
    path.write_text('{"status": 3}')
    with pytest.raises(DataError, match="damaged"):
        read_state(tmp_path)


def plan_of(root: Path, scenes: int) -> SweepPlan:
    jobs = tuple(
        Job(
            id=f"{name(n)}:candidates",
            scene=name(n),
            scan=root,
            stages=("candidates",),
            need=Need(),
            seconds=1.0,
        )
        for n in range(scenes)
    )
    names = tuple(name(n) for n in range(scenes + 1))  # the last has nothing to do
    return SweepPlan(config=Config(), output_root=root, scenes=names, jobs=jobs)


def test_page_is_refreshed_now_and_then(tmp_path: Path) -> None:
    """While a sweep goes on its page shows what waits, runs, failed and is done; not at every event."""
    for n in range(3):
        write_run(tmp_path / name(n) / "default", name(n), 1.0, failed=False)
    plan = plan_of(tmp_path, 3)
    live = LiveSweep(plan, every_s=3600.0)
    first, second, third = plan.jobs
    for kind, job in (("started", first), ("finished", first), ("started", second), ("failed", second)):
        live.take(JobEvent(kind=kind, text="failed: no room", job_id=job.id, facts=(("peak_rss_mb", 5.0),)))
    live.take(JobEvent(kind="started", text="", job_id=third.id))
    states = {first.id: "done", second.id: "failed", third.id: "running"}
    live.refresh(states, {})
    page = tmp_path / "sweep.html"
    assert not page.exists()
    live._next = 0.0
    live.refresh(states, {"peak_used_mb": 7.0, "decisions": [], "decisions_made": 0})
    text = page.read_text()
    assert {row[0]: row[1] for row in Rows(text).rows[1:]} == {
        name(0): "done", name(1): "failed", name(2): "running", name(3): "unchanged",
    }  # fmt: skip
    assert "no room" in text
    assert "data-alive" in text
    page.unlink()
    live.refresh(states, {})
    assert not page.exists()


def test_memory_is_thinned_without_losing_a_peak() -> None:
    """However many samples come, few are kept, the highest among them, up to the end."""
    recording = Recording()
    for n in range(50_000):
        recording.take(float(n), "memory", None, {"used_mb": 999.0 if n == 31_234 else n % 100, "running": 1})
    assert MOST_SAMPLES / 3 < len(recording.memory) <= MOST_SAMPLES
    assert max(point.used_mb for point in recording.memory) == 999.0
    assert recording.memory[-1].seconds > 49_000


@pytest.mark.parametrize(
    ("code", "evidence", "words"),
    [
        (2, (), "Correct the setting"),
        (3, (), "my3dis check"),
        (5, (), "room on the disk"),
        (None, (), "scene's log"),
        (None, ("oom_kill 1 -> 2",), "parallel_scenes=1"),
        (5, ("CUDA out of memory",), "points_per_batch"),
    ],
)
def test_advice_fits_the_failure(
    tmp_path: Path, code: int | None, evidence: tuple[str, ...], words: str
) -> None:
    """What to do depends on the exit code, and on evidence of a shortage first."""
    scene = SceneState(scene="a", status="failed", run_dir=tmp_path, exit_code=code, evidence=evidence)
    assert words in advice_for(scene)
