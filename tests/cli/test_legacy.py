"""``my3dis import-legacy``: an old run's folder becomes a run that every other command understands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from my3dis.archive import open_archive
from my3dis.archive.writer import StreamingSegmentWriter
from my3dis.cli.main import main
from my3dis.masks.codec import decode, encode
from my3dis.runs.manifest import StageStatus, read_manifest
from my3dis.runs.relations import load_relations
from my3dis.types import MaskSet, MaskSource
from tests.archive.legacy import corpus, old_style
from tests.archive.legacy.old_run import POSITIONS, SIZE, OldRun, write_manifest, write_old_run

RUN = Path("scene_00001_00") / "old"


@pytest.fixture
def old(tmp_path: Path) -> OldRun:
    return write_old_run(tmp_path / "old")


def imported(tmp_path: Path, *options: str) -> Path:
    assert main(["import-legacy", str(tmp_path / "old"), str(tmp_path / "runs"), "-q", *options]) == 0
    return tmp_path / "runs" / RUN


def pairs(masks: MaskSet) -> list[tuple[int, bytes]]:
    return [(level, rle) for level, rle in zip(masks.level.tolist(), masks.rle, strict=True)]


def expected(masks: list[tuple[int, np.ndarray]]) -> list[tuple[int, bytes]]:
    return [(level, encode(mask)) for level, mask in masks]


def test_masks_and_tracks_are_those_of_the_old_run(tmp_path: Path, old: OldRun) -> None:
    """Both levels are in one archive per kind, pixel for pixel, on the frames of the scan."""
    run = imported(tmp_path)
    for name, content in (("candidates", old.candidates), ("masks", old.kept)):
        with open_archive(run / f"{name}.my3dis") as reader:
            assert reader.finished
            assert reader.frames() == list(POSITIONS)
            for frame, masks in content.items():
                assert pairs(reader.frame(frame)) == expected(masks)
    with open_archive(run / "tracks.my3dis") as reader:
        for frame in POSITIONS:
            rows = reader.frame(frame)
            assert set(rows.source.tolist()) == {MaskSource.TRACK}
            both = [(lv, m) for lv in (2, 4) for m in old.tracks[lv][frame].values()]
            assert sorted(pairs(rows)) == sorted(expected(both))
    assert main(["verify", str(run)]) == 0
    assert main(["inspect", str(run), "--json"]) == 0


def test_objects_of_two_levels_with_one_id_stay_two_tracks(tmp_path: Path, old: OldRun) -> None:
    """Object ids repeat from level to level; every (level, object) becomes one track over all frames."""
    run = imported(tmp_path)
    with open_archive(run / "tracks.my3dis") as reader:
        tracks = reader.tracks()
        seen = {}
        for track, level in zip(tracks.track_id.tolist(), tracks.level.tolist(), strict=True):
            history = [(rows.frame, rows.rle[0]) for rows in reader.track(track)]
            seen.setdefault(level, []).append(history)
    for level, frames in old.tracks.items():
        numbers = sorted({o for of in frames.values() for o in of})
        histories = [[(f, encode(of[o])) for f, of in frames.items() if o in of] for o in numbers]
        assert sorted(seen[level]) == sorted(histories)


def test_parents_survive_the_new_numbers(tmp_path: Path, old: OldRun) -> None:
    """A recorded parent is found again, of a candidate in its frame and of a track in the tree."""
    run = imported(tmp_path)
    with open_archive(run / "candidates.my3dis") as reader:
        for frame, masks in old.candidates.items():
            found = reader.frame(frame)
            rle_of = dict(zip(found.mask_id.tolist(), found.rle, strict=True))
            parents = [rle_of.get(p) for p in found.parent_id.tolist()]
            coarse = [encode(mask) for level, mask in masks if level == 2]
            assert parents == [None] * 3 + coarse
    relations = load_relations(run / "relations.json")
    linked = {entry.track_id: entry.parent_id for entry in relations.parents if entry.parent_id >= 0}
    ((child, parent),) = linked.items()
    with open_archive(run / "tracks.my3dis") as reader:
        first = {track: next(iter(reader.track(track))) for track in (child, parent)}
    assert first[child].rle[0] == encode(next(of[2] for of in old.tracks[4].values() if 2 in of))
    assert first[parent].rle[0] == encode(next(of[1] for of in old.tracks[2].values() if 1 in of))
    assert (int(first[child].level[0]), int(first[parent].level[0])) == (4, 2)


def test_kept_masks_keep_the_ids_of_their_candidates(tmp_path: Path, old: OldRun) -> None:
    """What the old filter dropped is recorded as dropped; the rest has the same ids in both archives."""
    run = imported(tmp_path)
    with open_archive(run / "candidates.my3dis") as all_, open_archive(run / "masks.my3dis") as kept:
        for frame in POSITIONS:
            ids = dict(zip(all_.frame(frame).mask_id.tolist(), all_.frame(frame).rle, strict=True))
            some = kept.frame(frame)
            assert [ids[i] for i in some.mask_id.tolist()] == list(some.rle)
        dropped = list(kept.dropped())
    assert len(dropped) == len(POSITIONS) * 2
    assert {d.reason for d in dropped} == {"earlier_filter"}


def test_recorded_boxes_fit_after_one_pixel_is_added(
    tmp_path: Path, old: OldRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """Inclusive boxes of the old run equal the measured half-open ones; without the pixel all differ."""
    imported(tmp_path)
    assert "box_differs" not in manifest_warnings(tmp_path)
    path = old.root / "level_2" / "filtered" / "filtered.json"
    shutil.rmtree(old.root / "level_2" / "raw")
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        for item in frame["items"]:
            item["bbox"] = [item["bbox"][0], item["bbox"][1], item["bbox"][2] + 1, item["bbox"][3] + 1]
    path.write_text(json.dumps(content))
    imported(tmp_path)
    assert "box_differs" in manifest_warnings(tmp_path)


def manifest_warnings(tmp_path: Path) -> set[str]:
    manifest = read_manifest(tmp_path / "runs" / RUN / "manifest.json")
    return {reason for record in manifest.stages for reason, _, _ in record.warnings}


def test_the_manifest_says_where_it_comes_from(tmp_path: Path, old: OldRun) -> None:
    """Every stage names the old folder and files; what an old run cannot have is skipped with a reason."""
    run = imported(tmp_path)
    manifest = read_manifest(run / "manifest.json")
    assert (manifest.status, manifest.scene, manifest.levels) == ("finished", "scene_00001_00", (2, 4))
    assert manifest.frame_slice == "4:45:20"
    settings = yaml.safe_load((run / "config.yaml").read_text())["stages"]
    assert settings["ssam"]["proposer"] == "semantic_sam"
    assert settings["tracker"]["propagator"] == "sam2_video"
    assert (settings["ssam"]["min_area"], settings["ssam"]["stability_threshold"]) == (300, 0.5)
    for name in ("candidates", "filter", "track"):
        record = manifest.stage(name)
        assert record is not None
        assert record.status is StageStatus.DONE
        assert dict(record.inputs)["imported from"] == str(old.root)
    lift = manifest.stage("lift")
    assert lift is not None
    assert lift.status is StageStatus.SKIPPED
    summary = json.loads((run / "workflow_summary.json").read_text())
    assert summary["status"] == "finished"
    assert (tmp_path / "runs" / "workflow_history.csv").is_file()


def test_missing_pieces_are_counted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No raw masks, a level without tracks, no tree and no images: each has its sentence."""
    old = write_old_run(tmp_path / "old", with_raw=False)
    shutil.rmtree(old.root / "level_4" / "tracking")
    (old.root / "relations.json").unlink()
    assert main(["import-legacy", str(old.root), str(tmp_path / "runs")]) == 0
    captured = capsys.readouterr()
    assert "6 of 18 candidates were recorded as boxes only" in captured.err
    assert "no raw masks, tracked masks" in captured.err
    assert "the colour frames are not available" in captured.out
    assert {"no_pixels", "no_tracking", "no_relations"} <= manifest_warnings(tmp_path)


def test_a_second_import_finds_nothing_to_do(
    tmp_path: Path, old: OldRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same folder again is taken over; a changed one is imported anew; another one is refused."""
    run = imported(tmp_path)
    before = (run / "tracks.my3dis").stat().st_mtime_ns
    imported(tmp_path)
    assert (run / "tracks.my3dis").stat().st_mtime_ns == before
    tracks = old_style.some_tracks(99, POSITIONS, SIZE)
    old_style.write_json_zip(old.root / "level_2" / "tracking" / "video_segments.npz", tracks)
    (old.root / "relations.json").unlink()
    imported(tmp_path)
    with open_archive(run / "tracks.my3dis") as reader:
        assert encode(next(iter(tracks[POSITIONS[1]].values()))) in reader.frame(POSITIONS[1]).rle
    capsys.readouterr()
    write_old_run(tmp_path / "elsewhere" / "old", seed=5)
    assert main(["import-legacy", str(tmp_path / "elsewhere" / "old"), str(tmp_path / "runs"), "-q"]) == 2
    assert "give this one another --name" in capsys.readouterr().err


@pytest.mark.parametrize("calls", [1, 2, 4, 7])
def test_an_import_that_was_stopped_goes_on(
    tmp_path: Path, old: OldRun, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """Stopped at any frame of any stage, the same command ends with what an unstopped one makes."""
    whole = imported(tmp_path)
    kept = {name: (whole / name).read_bytes() for name in ("relations.json",)}
    masks = {name: contents(whole / name) for name in ("candidates.my3dis", "masks.my3dis", "tracks.my3dis")}
    shutil.rmtree(tmp_path / "runs")
    append, left = StreamingSegmentWriter.append_frame, [calls]

    def stop(self: StreamingSegmentWriter, frame: int, payload: MaskSet) -> None:
        append(self, frame, payload)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(StreamingSegmentWriter, "append_frame", stop)
    assert main(["import-legacy", str(old.root), str(tmp_path / "runs"), "-q"]) == 130
    monkeypatch.undo()
    again = imported(tmp_path)
    assert {name: contents(again / name) for name in masks} == masks
    assert {name: (again / name).read_bytes() for name in kept} == kept


def contents(path: Path) -> list[object]:
    with open_archive(path) as reader:
        frames = [reader.frame(frame) for frame in reader.frames()]
    return [
        (f.frame, pairs(f), f.mask_id.tolist(), f.parent_id.tolist(), f.track_id.tolist()) for f in frames
    ]


def write_images(folder: Path, count: int, size: tuple[int, int] = SIZE) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k in range(count):
        cv2.imwrite(str(folder / f"{k:05d}.png"), rng.integers(0, 255, (*size, 3), np.uint8))
    return folder


@pytest.mark.parametrize("count", [60, 3])
def test_with_the_scan_the_report_can_be_drawn(
    tmp_path: Path, old: OldRun, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all images of the scan, or the selected ones alone, ``my3dis stage report`` works on the run."""
    scan = write_images(tmp_path / "scene_00001_00", count)
    run = imported(tmp_path, "--scan", str(scan))
    assert f"my3dis stage report {run}" in capsys.readouterr().out
    assert main(["stage", "report", str(run), "-q"]) == 0
    assert (run / "report.html").is_file()
    assert len(list((run / "comparison").glob("*.jpg"))) == 2
    again = f"my3dis import-legacy {old.root} {tmp_path / 'runs'} --scan {scan} --name old`"
    assert again in (run / "report.md").read_text()
    with open_archive(run / "tracks.my3dis") as reader:
        assert reader.frames() == (list(POSITIONS) if count == 60 else [0, 1, 2])


@pytest.mark.parametrize(
    ("images", "scene", "dataset"),
    [("hall/outputs/color", "hall", "multiscan"), ("scene_00002_00/pictures", "scene_00002_00", "images")],
)
def test_the_scene_is_not_named_after_the_folder_of_its_images(
    tmp_path: Path, old: OldRun, images: str, scene: str, dataset: str
) -> None:
    """An old run names the folder of its colour images; the scan around it, with its name, is opened."""
    write_manifest(old.root, data_path=str(write_images(tmp_path / images, 60)))
    assert main(["import-legacy", str(old.root), str(tmp_path / "runs"), "-q"]) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == [scene]
    assert read_manifest(tmp_path / "runs" / scene / "old" / "manifest.json").dataset == dataset


def test_a_scan_whose_frames_have_other_names_is_said(tmp_path: Path, old: OldRun) -> None:
    """Frames 4, 24, 44 of any scan would do; their names tell whether it is the one."""
    scan = write_images(tmp_path / "scene_00001_00", 60)
    imported(tmp_path, "--scan", str(scan))
    assert not manifest_warnings(tmp_path)
    write_manifest(old.root, selected_frames=["11077.png", "11095.png", "11112.png"])
    imported(tmp_path)
    assert not manifest_warnings(tmp_path)
    imported(tmp_path, "--scan", str(scan))
    assert manifest_warnings(tmp_path) == {"frame_names"}


def test_masks_can_be_brought_to_the_size_of_the_images(
    tmp_path: Path, old: OldRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --resize, smaller masks are enlarged by nearest neighbour; without, the difference is said."""
    scan = write_images(tmp_path / "scene_00001_00", 60, (2 * SIZE[0], 2 * SIZE[1]))
    imported(tmp_path, "--scan", str(scan))
    assert "image_size" in manifest_warnings(tmp_path)
    assert "no report yet: masks and images differ in size" in capsys.readouterr().out
    run = imported(tmp_path, "--scan", str(scan), "--resize")
    assert f"my3dis stage report {run}" in capsys.readouterr().out
    assert manifest_warnings(tmp_path) == {"resized"}
    frame = POSITIONS[0]
    with open_archive(run / "masks.my3dis") as reader:
        masks = reader.frame(frame)
    for (_, mask), rle in zip(old.kept[frame], masks.rle, strict=True):
        np.testing.assert_array_equal(decode(rle, masks.image_size), mask.repeat(2, 0).repeat(2, 1))


def test_the_oldest_runs_number_frames_among_the_selected(tmp_path: Path) -> None:
    """Without selected_indices, frame k is start + k * step of the recorded slice."""
    root = tmp_path / "old"
    tracks = old_style.some_tracks(1, (0, 1, 2), SIZE)
    old_style.write_pickled_dense(root / "level_2" / "tracking" / "video_segments.npz", tracks)
    names = ["11077.png", "11095.png", "11112.png"]
    write_manifest(root, selected_indices=None, selected_frames=names, frames="1200:1600:20", levels=[2])
    with open_archive(imported(tmp_path) / "tracks.my3dis") as reader:
        assert reader.frames() == [1200, 1220, 1240]


def test_a_run_without_a_manifest_keeps_its_numbers(tmp_path: Path) -> None:
    """Frame numbers are taken as they are, and the scene is named after the folder above."""
    tracks = old_style.some_tracks(1, (3, 9), SIZE)
    old_style.write_pickled_packed(tmp_path / "hall" / "old" / "level_2" / "video_segments_L02.npz", tracks)
    assert main(["import-legacy", str(tmp_path / "hall" / "old"), str(tmp_path / "runs"), "-q"]) == 0
    with open_archive(tmp_path / "runs" / "hall" / "old" / "tracks.my3dis") as reader:
        assert reader.frames() == [3, 9]
    manifest = read_manifest(tmp_path / "runs" / "hall" / "old" / "manifest.json")
    assert manifest.frames_selected == 2


@pytest.mark.parametrize("scene", ["../../evil", "/etc/evil", "..", "a/b", "x\0y"])
def test_a_scene_cannot_lead_out_of_the_folder(
    tmp_path: Path, old: OldRun, scene: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest that names a path as its scene is refused and nothing is written."""
    write_manifest(old.root, scene=scene)
    assert main(["import-legacy", str(old.root), str(tmp_path / "runs"), "-q"]) == 3
    assert "expected the plain name of a scene" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "name", ["pickle_global", "zip_member_claims_gigabytes", "json_deep_arrays", "json_shape_of_a_terapixel"]
)
def test_a_hostile_run_ends_with_one_sentence(
    tmp_path: Path, old: OldRun, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command exits with 3 and says what it refused; there is no traceback."""
    (case,) = (case for case in corpus.CASES if case.name == name)
    case.make(old.root / "level_2" / "tracking")
    assert main(["import-legacy", str(old.root), str(tmp_path / "runs"), "-q"]) == 3
    error = capsys.readouterr().err
    assert error.startswith("my3dis: error: ")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: None, "expected the folder of an old run, found none"),
        (lambda root: root.mkdir(), "expected folders level_2"),
        (lambda root: (root / "demo" / "level_2").mkdir(parents=True), "did you mean"),
        (lambda root: (root / "level_2").mkdir(parents=True), "there is nothing to import"),
    ],
)
def test_a_folder_that_is_no_old_run_is_refused(
    tmp_path: Path, make: object, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says what was expected and, one folder too high, which was meant."""
    make(tmp_path / "old")  # type: ignore[operator]
    assert main(["import-legacy", str(tmp_path / "old"), str(tmp_path / "runs"), "-q"]) == 3
    assert says in capsys.readouterr().err
