"""Which files an address may name: what people read of a run, nothing else and nothing outside the folder."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks.sweep_page import write_run
from my3dis.serving.files import LONGEST_ADDRESS, open_served, segments_of, served_names

SECRET = b"nobody may read this"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs beside secrets, with every kind of link out of it."""
    base = tmp_path_factory.mktemp("place")
    for outside in (base / "secret.txt", base / "report.html", base / "outside" / "manifest.json"):
        outside.parent.mkdir(exist_ok=True)
        outside.write_bytes(SECRET)
    (base / "outside" / "report.html").write_bytes(SECRET)
    root = base / "runs"
    for scene in ("room", "odd %2e%2e name"):
        write_run(root / scene / "default", scene, 1.0, failed=False)
    run = root / "room" / "default"
    (run / "comparison").mkdir()
    (run / "comparison" / "0000.jpg").write_bytes(b"picture")
    (run / "comparison" / "out.jpg").symlink_to(base / "secret.txt")
    (run / "check").symlink_to(base / "outside")
    (run / "config.yaml").symlink_to(base / "secret.txt")
    (run / "events.jsonl").symlink_to("events.jsonl")  # a loop
    (run / "job.log").mkdir()
    os.mkfifo(run / "memory_profile.json")
    for name in ("tracks.my3dis", "environment_snapshot.json", ".hidden.html", "secret.pem", "notes.md"):
        (run / name).write_bytes(SECRET)
    (root / "secret.html").write_bytes(SECRET)
    (root / "linked").symlink_to(base)
    (root / "room" / "linked").symlink_to(base / "outside")
    (root / ".git" / "x").mkdir(parents=True)
    (root / ".git" / "x" / "manifest.json").write_bytes(SECRET)
    return root.resolve()


def content(root: Path, target: str) -> bytes | None:
    """Return what a request would get."""
    segments = segments_of(target)
    opened = open_served(root, segments) if segments is not None else None
    if opened is None:
        return None
    with opened.file:
        data = opened.file.read()
    assert len(data) == opened.length
    return data


def test_files_for_people_are_served(place: Path) -> None:
    """The report, the timings and pictures of a run come with their types; names may be percent-encoded."""
    assert content(place, "/room/default/report.html") == b"<!doctype html>"
    assert content(place, "/room/default/report.html?again=1#scores") == b"<!doctype html>"
    assert content(place, "/%72oom/default/comparison/0000.jpg") == b"picture"
    assert content(place, f"/{quote('odd %2e%2e name')}/default/report.html") == b"<!doctype html>"
    opened = open_served(place, ("room", "default", "stage_timings.json"))
    assert opened is not None
    opened.file.close()
    assert opened.kind == "application/json"


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%252e%252e/secret.txt",
        "/room/default/../../../secret.txt",
        "/room/default/comparison/../../../../secret.txt",
        "/room/default/comparison/..%2f..%2f..%2f..%2fsecret.txt",
        "/room\\default\\report.html",
        "/room/default/report.html%00.jpg",
        "/room/default/comparison/%00.jpg",
        "/room/default//report.html",
        "//room/default/report.html",
        "/room/default/report.html/",
        "/./room/default/report.html",
        "/etc/passwd",
        "//etc/passwd",
        "http://elsewhere/room/default/report.html",
        "room/default/report.html",
        "*",
        "",
        "/%ff%fe",
        "/room/default/" + "a" * LONGEST_ADDRESS,
        "/room/default/" + "a" * 1000 + ".jpg",
        "/room/" + "b" * 300 + "/report.html",
        # Links that lead outside, loops, what is no file.
        "/linked/report.html",
        "/linked/secret.txt",
        "/room/linked/report.html",
        "/room/default/comparison/out.jpg",
        "/room/default/check/secret.jpg",
        "/room/default/config.yaml",
        "/room/default/events.jsonl",
        "/room/default/job.log",
        "/room/default/memory_profile.json",
        # What lies inside, but is not for reading here.
        "/room/default/tracks.my3dis",
        "/room/default/environment_snapshot.json",
        "/room/default/.hidden.html",
        "/room/default/secret.pem",
        "/room/default/notes.md",
        "/secret.html",
        "/.git/x/manifest.json",
        "/room/default",
        "/room/default/",
        "/room",
        "/room/default/comparison",
        "/room/default/comparison/0000.jpg/x",
        "/absent/default/report.html",
    ],
)
def test_nothing_else_is(place: Path, target: str) -> None:
    """Ways out of the folder, folders, links that lead outside and files that are not listed get nothing."""
    assert content(place, target) is None


STARTS = st.sampled_from(["", "room/", "room/default/", "room/default/comparison/", "room/default/check/"])
NAMES = st.sampled_from(["report.html", "secret.txt", "out.jpg", "0000.jpg", "config.yaml", "manifest.json"])
STEPS = st.sampled_from(["..", ".", "/", "//", "%2e", "%2f", "%5c", "\\", "%00", "%", "%25", ";", "linked"])
TARGETS = st.builds(
    lambda start, steps, name: f"/{start}{''.join(steps)}{name}",
    STARTS,
    st.lists(st.one_of(STEPS, st.text(max_size=3), NAMES), max_size=8),
    NAMES,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TARGETS)
@example("/room/default/check/../../../../secret.txt")
def test_no_address_reaches_a_secret(place: Path, target: str) -> None:
    """Whatever the address is made of, the answer is a listed file inside the folder or nothing."""
    found = content(place, target)
    assert found is None or (found != SECRET and SECRET not in found)
    segments = segments_of(target)
    if found is not None:
        assert segments is not None
        assert segments[-1] in served_names(place / "room" / "default") or segments[-1] == "0000.jpg"


def test_a_single_run_has_no_runs_below_it(place: Path) -> None:
    """Where a run itself is served its files stand at the top; addresses of folders above are none."""
    run = place / "room" / "default"
    assert content(run, "/report.html") == b"<!doctype html>"
    assert content(run, "/comparison/0000.jpg") == b"picture"
    for target in ("/default/report.html", "/room/default/report.html", "/sweep.html", "/comparison/out.jpg"):
        assert content(run, target) is None


def test_a_report_of_another_name_is_served(tmp_path: Path) -> None:
    """A report that the settings call otherwise may be had, with its text."""
    write_run(tmp_path / "room" / "default", "room", 1.0, failed=True)
    run = tmp_path / "room" / "default"
    (run / "living.html").write_text("page")
    (run / "living.md").write_text("text")
    assert content(tmp_path, "/room/default/living.html") == b"page"
    assert content(tmp_path, "/room/default/living.md") == b"text"
