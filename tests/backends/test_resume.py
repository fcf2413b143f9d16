"""Every back end repeats after a stop what it declares and no more, and the results are the undisturbed ones.

Those with weights are held to it in their own folders, which need torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from my3dis import plugins
from my3dis.cli.main import main
from my3dis.config import Config
from my3dis.errors import PluginError
from my3dis.protocols import Resumable, Snapshotting
from tests.backends.resuming import (
    EVERY,
    FRAMES,
    TRACK_STOPS,
    Attempts,
    Cards,
    check,
    proposing,
    results_of,
    tracking,
)
from tests.small_scan import write_small_scan

WITH_WEIGHTS = {"sam2_video": "trackers", "sam2_auto": "proposers", "semantic_sam": "proposers"}
OUTPUTS = ("tracks.my3dis", "relations.json")


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    """The scan for trackers."""
    return Cards(tmp_path / "truth")


def test_those_with_weights_are_tested_elsewhere() -> None:
    """No back end is left out: each has a test here, or a file of the name in its own folder."""
    for name, kind in WITH_WEIGHTS.items():
        assert name in plugins.names(kind)
        assert (Path(__file__).parent / kind / name / "test_resume.py").is_file()


def test_plugins_shows_what_each_declares(capsys: pytest.CaptureFixture[str]) -> None:
    """`my3dis plugins` says of every proposer and tracker what a stopped stage repeats."""
    assert main(["plugins"]) == 0
    said = capsys.readouterr().out
    for kind, after, find in (
        ("proposers", "trackers", plugins.proposer),
        ("trackers", "exporters", plugins.tracker),
    ):
        listed = said.split(f"{kind}\n")[1].split(f"{after}\n")[0].splitlines()
        lines = {line.split()[0]: line for line in listed}
        for name in plugins.names(kind):
            assert f"resumable by {find(name).resumable})" in lines[name]


@pytest.mark.parametrize("name", [n for n in plugins.names("trackers") if n not in WITH_WEIGHTS])
def test_a_stopped_tracker_goes_on(name: str, cards: Cards, tmp_path: Path) -> None:
    """Stopped anywhere, forward or backward, tracking ends as undisturbed and repeats what is declared."""
    make = tracking(tmp_path, cards, propagator=name)
    check(make, plugins.tracker(name).resumable, OUTPUTS, TRACK_STOPS)


@pytest.mark.parametrize("name", [n for n in plugins.names("proposers") if n not in WITH_WEIGHTS])
def test_a_stopped_proposer_goes_on(name: str, built_in: Path, tmp_path: Path) -> None:
    """Stopped before any frame, proposing ends as undisturbed and repeats what is declared."""
    scan = plugins.open_scan(write_small_scan(built_in, tmp_path / "small", frames=3, scale=0.2))
    recorded = tmp_path / "recorded"
    for level in Config().experiment.levels:
        (recorded / f"level_{level}").mkdir(parents=True)
        for image in (tmp_path / "small" / "gt" / "part").iterdir():
            (recorded / f"level_{level}" / image.name).write_bytes(image.read_bytes())
    make = proposing(tmp_path, scan, range(3), proposer=name, recorded_root=str(recorded))
    check(make, plugins.proposer(name).resumable, ("candidates.my3dis",), (1, 2, 3))


@pytest.mark.parametrize("resumable", ["frame", "checkpoint", "stage"])
def test_what_a_tracker_declares_is_honoured(
    resumable: Resumable, cards: Cards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tracker repeats nothing, up to the last checkpoint, or everything, as its plug-in says."""
    plugin = replace(plugins.tracker("warp"), resumable=resumable)
    monkeypatch.setattr(plugins, "tracker", lambda name: plugin)
    check(tracking(tmp_path, cards, propagator="warp"), resumable, OUTPUTS, (EVERY, EVERY + 2, -2))


@pytest.mark.parametrize("resumable", ["frame", "checkpoint", "stage"])
def test_what_a_proposer_declares_is_honoured(
    resumable: Resumable, built_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not resumable by frame begins anew: nothing of a proposer is saved."""
    scan = plugins.open_scan(write_small_scan(built_in, tmp_path / "small", frames=3, scale=0.2))
    plugin = replace(plugins.proposer("oracle"), resumable=resumable)
    monkeypatch.setattr(plugins, "proposer", lambda name: plugin)
    make = proposing(tmp_path, scan, range(3), proposer="oracle")
    check(make, "frame" if resumable == "frame" else "stage", ("candidates.my3dis",), (3,))


def stopped(cards: Cards, folder: Path, **tracker: object) -> tuple[Attempts, list[object]]:
    """Return a stage stopped after two checkpoints, and what the undisturbed one gives."""
    make = tracking(folder, cards, propagator="warp", **tracker)
    undisturbed, one = make("undisturbed"), make("stopped")
    undisturbed.attempt()
    one.attempt(stop_at=2 * EVERY + 2)
    return one, results_of(undisturbed.layout, *OUTPUTS)


def test_events_say_where_it_goes_on(cards: Cards, tmp_path: Path) -> None:
    """The event names the pass, the frame and how much is done; the outcome counts it."""
    one, _ = stopped(cards, tmp_path)
    loads, outcome = one.attempt()
    assert loads[0] == 2 * EVERY
    ((event, facts),) = one.events
    assert (event, facts["pass"], facts["frames_done"]) == ("stage_resumed", "forward", 2 * EVERY)
    done = f"after {2 * EVERY} of {FRAMES} frames of the pass forward"
    assert facts["message"] == f"resumed at frame {2 * EVERY}, {done}, from a checkpoint"
    assert outcome is not None
    assert dict(outcome.facts)["frames_resumed"] == 2 * EVERY


@pytest.mark.parametrize("every", [0, None])
def test_without_checkpoints_the_stage_begins_anew(every: int | None, cards: Cards, tmp_path: Path) -> None:
    """0 and null make none; the stage is repeated and nothing is told."""
    one, expected = stopped(cards, tmp_path, checkpoint_every=every)
    assert not one.layout.track_checkpoint.exists()
    loads, _ = one.attempt()
    assert loads[0] == 0
    assert results_of(one.layout, *OUTPUTS) == expected
    assert (one.events, one.warnings) == ([], [])


def test_a_foreign_checkpoint_is_not_used(cards: Cards, tmp_path: Path) -> None:
    """One of other settings or inputs is thrown away without a word, and the stage begins anew."""
    one, _ = stopped(cards, tmp_path)
    assert one.layout.track_checkpoint.exists()
    loads, _ = one.attempt(digest="another")
    assert loads[0] == 0
    assert (one.events, one.warnings) == ([], [])
    assert not one.layout.track_checkpoint.exists()


@pytest.mark.parametrize("damage", ["cut", "bit", "other file", "archive", "archive gone"])
def test_damage_is_one_warning_and_a_fresh_start(damage: str, cards: Cards, tmp_path: Path) -> None:
    """A damaged checkpoint, or one whose archive is not there any more, costs the stage and nothing else."""
    one, expected = stopped(cards, tmp_path)
    path = one.layout.track_checkpoint
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-100])
    elif damage == "bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "other file":
        path.write_bytes(b"something else altogether")
    elif damage == "archive":
        one.layout.tracks.write_bytes(b"x" * 5000)
    else:
        one.layout.tracks.unlink()
    loads, _ = one.attempt()
    assert loads[0] == 0
    assert one.warnings == ["damaged_checkpoint"]
    assert results_of(one.layout, *OUTPUTS) == expected


def test_a_checkpoint_of_a_stage_that_is_switched_off_goes(cards: Cards, tmp_path: Path) -> None:
    """Switched off after a stop, the stage leaves no checkpoint behind."""
    one, _ = stopped(cards, tmp_path)
    one.settings["tracker"] = {"enabled": False}
    one.attempt()
    assert not one.layout.track_checkpoint.exists()


def test_one_file_of_bounded_size(cards: Cards, tmp_path: Path) -> None:
    """Checkpoints replace each other; their size is that of what is held, not of the scan."""
    sizes = []
    for stop in (EVERY + 1, 3 * EVERY + 1):
        one = tracking(tmp_path, cards, propagator="warp")(str(stop))
        one.attempt(stop_at=stop)
        (path,) = one.layout.root.glob("*checkpoint*")
        sizes.append(path.stat().st_size)
    assert sizes[1] < 2 * sizes[0]


def test_a_tracker_without_state_to_offer_is_told(
    cards: Cards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in that declares checkpoints and has no snapshot is an error that says what to do."""

    class Forgetful:
        def step(self, frame: object) -> object:
            return cards.candidates(frame.index).select([])  # type: ignore[attr-defined]

        def prompt(self, frame: object, masks: object) -> None:
            pass

        def drop(self, track_ids: object) -> None:
            pass

    plugin = replace(plugins.tracker("flow"), create=lambda options: Forgetful())  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(plugins, "tracker", lambda name: plugin)
    one = tracking(tmp_path, cards, propagator="flow")("one")
    with pytest.raises(
        PluginError, match="expected to offer snapshot and restore; declare resumable='stage'"
    ):
        one.attempt()


def test_trackers_that_declare_checkpoints_offer_them(cards: Cards) -> None:
    """The declaration and the protocol agree for what is built in and needs no weights."""
    from my3dis.protocols import BackendOptions

    for name in plugins.names("trackers"):
        plugin = plugins.tracker(name)
        if name not in WITH_WEIGHTS:
            tracker = plugin.create(BackendOptions(ground_truth=cards.truth))
            assert isinstance(tracker, Snapshotting) == (plugin.resumable != "stage")
