"""Old layouts: read back by NumPy and the standard library alone, and by our own import."""

from __future__ import annotations

import base64
import json
import tarfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from my3dis.archive import StreamingSegmentWriter, open_archive
from my3dis.cli.main import main
from my3dis.errors import DataError, ResourceError
from my3dis.exporters import npz
from my3dis.masks.build import from_codes
from my3dis.masks.codec import DECODED, decode, encode
from my3dis.plugins import exporter
from my3dis.runs.import_legacy import ImportOptions, import_legacy_run
from my3dis.types import MaskSet
from tests.archive.legacy import old_style
from tests.archive.legacy.old_run import write_manifest, write_old_run

SIZE = (23, 37)
LAYOUTS = ("packed", "dense", "pickled")
Found = dict[int, dict[int, np.ndarray]]


def write_run(folder: Path, frames: int = 3, per_frame: int = 4, size: tuple[int, int] = SIZE) -> Found:
    """A run of tracks on levels 2 and 4 and kept masks; gives frame → object → mask as exported."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    expected: Found = {}
    with (
        StreamingSegmentWriter(folder / "tracks.my3dis", purpose="tracks") as tracks,
        StreamingSegmentWriter(folder / "masks.my3dis", purpose="masks") as kept,
    ):
        for frame in range(0, 10 * frames, 10):
            masks = [old_style.blob(rng, size) for _ in range(per_frame)]
            numbers = np.arange(per_frame)
            rows = from_codes(
                [encode(mask) for mask in masks],
                frame=frame,
                image_size=size,
                mask_id=numbers,
                level=np.where(numbers % 2, 4, 2),
                parent_id=np.where(numbers % 2, numbers - 1, -1),
                track_id=numbers,
                stability=0.5,
            )
            tracks.append_frame(frame, rows)
            kept.append_frame(frame, rows)
            expected[frame] = {k + 1: mask for k, mask in enumerate(masks)}
    tree = [
        {"track_id": k, "level": 4 if k % 2 else 2, "parent_id": k - 1 if k % 2 else -1, "containment": 1.0}
        for k in range(per_frame)
    ]
    (folder / "relations.json").write_text(json.dumps({"format": 1, "tracks": tree, "merges": []}))
    return expected


def read_packed(path: Path) -> Found:
    """As the earlier system's tools do: the JSON by way of NumPy, the bits by way of base64."""
    found: Found = {}
    with np.load(path, allow_pickle=False) as archive:
        for entry in json.loads(archive["manifest.json"])["frames"]:
            frame = json.loads(archive[entry["entry"]])
            assert frame["frame_index"] == entry["frame_index"]
            assert sorted(frame["objects"]) == entry["objects"]
            of = found.setdefault(frame["frame_index"], {})
            for number, record in frame["objects"].items():
                bits = np.frombuffer(base64.b64decode(record["packed_bits_b64"]), np.uint8)
                height, width = record["shape"]
                pixels = np.unpackbits(bits, count=height * width)
                of[int(number)] = pixels.reshape(height, width).astype(bool)
    return found


def read_dense(path: Path) -> Found:
    found: Found = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            folder, _, kind = name.partition("/")
            if kind == "masks":
                masks, ids = archive[name], archive[f"{folder}/object_id"]
                assert masks.dtype == bool
                found[int(folder.removeprefix("frame_"))] = dict(zip(ids.tolist(), masks, strict=True))
    return found


def read_pickled(path: Path) -> Found:
    with np.load(path, allow_pickle=True) as archive:
        data = archive["data"].item()
    return {int(f): {int(o): m for o, m in of.items()} for f, of in data.items()}


READ = {"packed": read_packed, "dense": read_dense, "pickled": read_pickled}


def same(found: Mapping[int, Mapping[int, np.ndarray]], expected: Found) -> None:
    assert list(found) == list(expected)
    for frame, objects in expected.items():
        assert sorted(found[frame]) == sorted(objects)
        for number, mask in objects.items():
            np.testing.assert_array_equal(found[frame][number], mask)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_file_holds_the_tracks_of_all_levels(tmp_path: Path, layout: str) -> None:
    """NumPy alone reads every layout; only the first one, asked for by name, needs its pickles."""
    expected = write_run(tmp_path / "run")
    out = tmp_path / "tracks.npz"
    code = main(["export", str(tmp_path / "run"), "--to", "npz", str(out), "--option", f"layout={layout}"])
    assert code == 0
    same(READ[layout](out), expected)


def test_the_packed_layout_is_the_default(tmp_path: Path) -> None:
    """Without an option, nothing is written that needs unpickling."""
    expected = write_run(tmp_path / "run")
    assert npz.export(tmp_path / "run", tmp_path / "tracks.npz") == (tmp_path / "tracks.npz",)
    same(read_packed(tmp_path / "tracks.npz"), expected)
    assert exporter("npz").options[0].values == LAYOUTS


def test_a_folder_has_the_files_of_an_old_run(tmp_path: Path) -> None:
    """Tracks per level, kept masks with boxes that end on the last pixel, frames of objects, and a tree."""
    expected = write_run(tmp_path / "run")
    npz.export(tmp_path / "run", tmp_path / "old")
    level_4 = {frame: {o: m for o, m in of.items() if o % 2 == 0} for frame, of in expected.items()}
    folder = tmp_path / "old" / "level_4"
    same(read_packed(folder / "tracking" / "video_segments.npz"), level_4)
    with zipfile.ZipFile(folder / "tracking" / "object_segments.npz") as archive:
        objects = json.loads(archive.read("manifest.json"))["objects"]
    assert {int(o): [s["frame_index"] for s in seen] for o, seen in objects.items()} == {
        2: [0, 10, 20],
        4: [0, 10, 20],
    }
    filtered = json.loads((folder / "filtered" / "filtered.json").read_text())["frames"]
    item, mask = filtered[0]["items"][0], expected[0][2]
    ys, xs = np.nonzero(mask)
    x0, y0, x1, y1 = xs.min(), ys.min(), xs.max(), ys.max()
    assert item["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    assert (item["area"], item["stability_score"], item["level"]) == (mask.sum(), 0.5, 4)
    tree = json.loads((tmp_path / "old" / "relations.json").read_text())
    assert tree["hierarchy"]["4"]["2"] == {"parent": 1, "children": []}
    assert tree["hierarchy"]["2"]["3"] == {"parent": None, "children": [4]}
    assert tree["paths"]["4"] == [3, 4]
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    assert (manifest["levels"], manifest["selected_indices"]) == ([2, 4], [0, 10, 20])


def test_raw_candidates_are_chunks_that_tarfile_reads(tmp_path: Path) -> None:
    """The candidates of a run are written as chunks of packed masks with a manifest."""
    old = write_old_run(tmp_path / "old")
    run = import_legacy_run(old.root, tmp_path / "runs").run_dir
    npz.export(run, tmp_path / "again")
    folder = tmp_path / "again" / "level_2" / "raw"
    (name,) = (chunk["name"] for chunk in json.loads((folder / "manifest.json").read_text())["chunks"])
    with tarfile.open(folder / name) as chunk:
        member = chunk.extractfile("frame_00004/masks.npz")
        assert member is not None
        with np.load(member, allow_pickle=False) as arrays:
            height, width = arrays["mask_shape"]
            pixels = np.unpackbits(arrays["packed_masks"], axis=1, count=height * width)
    masks = [mask for level, mask in old.candidates[4] if level == 2]
    np.testing.assert_array_equal(pixels.reshape(-1, height, width), masks)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_writing_costs_memory_for_one_mask(tmp_path: Path, layout: str) -> None:
    """Five times the frames cost no more memory, and no two masks are decoded at once."""
    peaks = []
    export = exporter("npz").with_options
    assert export is not None
    for frames in (4, 20):
        write_run(tmp_path / f"run{frames}", frames, 6, (240, 320))
        DECODED.reset_peak()
        tracemalloc.start()
        export({"layout": layout})(tmp_path / f"run{frames}", tmp_path / f"{layout}{frames}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert DECODED.peak <= DECODED.alive + 2
    assert peaks[1] < peaks[0] + 100_000, peaks


def test_a_run_without_tracks_is_refused(tmp_path: Path) -> None:
    """The error names what is missing and the stage that makes it."""
    with pytest.raises(DataError, match=r"expected tracks at .*run the stage track"):
        npz.export(tmp_path, tmp_path / "x.npz")


def test_an_unknown_layout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error lists the layouts."""
    arguments = ["export", str(tmp_path), "--to", "npz", str(tmp_path / "x"), "--option", "layout=flat"]
    assert main(arguments) == 2
    assert "expected layout=packed|dense|pickled" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """An unwritable target is no traceback and leaves nothing behind."""
    write_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="choose another place"):
        npz.export(tmp_path / "run", tmp_path / "file" / "x.npz")


def archives(run: Path) -> dict[str, list[object]]:
    """What a round trip must bring back: frames, levels, pixels, sources, and parents' pixels."""
    found: dict[str, list[object]] = {}
    for name in ("candidates", "masks", "tracks"):
        if (run / f"{name}.my3dis").is_file():
            with open_archive(run / f"{name}.my3dis") as reader:
                found[name] = [frame_content(reader.frame(frame)) for frame in reader.frames()]
    return found


def frame_content(masks: MaskSet) -> object:
    rle_of = dict(zip(masks.mask_id.tolist(), masks.rle, strict=True))
    rows = zip(
        masks.level.tolist(),
        masks.rle,
        masks.source.tolist(),
        [str(rle_of.get(parent)) for parent in masks.parent_id.tolist()],
        strict=True,
    )
    return masks.frame, masks.image_size, sorted(rows)


def histories(run: Path) -> list[object]:
    """Every track as the pixels that it has on each frame, with those of its parent."""
    parents = {
        e["track_id"]: e["parent_id"] for e in json.loads((run / "relations.json").read_text())["tracks"]
    }
    with open_archive(run / "tracks.my3dis") as reader:
        seen = {t: [(r.frame, r.rle[0]) for r in reader.track(t)] for t in reader.tracks().track_id.tolist()}
    return sorted((history, seen.get(parents[track], [])) for track, history in seen.items())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_generated_run_survives_the_round_trip(tmp_path: Path, layout: str) -> None:
    """Import an old run, export it, import that: candidates, kept masks, tracks and parents are the same."""
    old = write_old_run(tmp_path / "old")
    first = import_legacy_run(old.root, tmp_path / "first").run_dir
    export = exporter("npz").with_options
    assert export is not None
    export({"layout": layout})(first, tmp_path / "out" / "old")
    second = import_legacy_run(tmp_path / "out" / "old", tmp_path / "second").run_dir
    assert archives(second) == archives(first)
    assert histories(second) == histories(first)
    # And once more: an exported run is an old run like any other.
    export({"layout": layout})(second, tmp_path / "again" / "old")
    third = import_legacy_run(tmp_path / "again" / "old", tmp_path / "third").run_dir
    assert archives(third) == archives(first)


def write_recorded(data: Path, root: Path, frames: int) -> dict[tuple[int, int, int], bytes]:
    """An old run's folder of the recorded one; gives (level, frame, object) → COCO code of its tracks."""
    from pycocotools import mask as coco

    relations = json.loads((data / "ssam" / "relations.json").read_text())
    names = [name + ".png" for name in (relations[f"{k:05d}"]["frame_name"] for k in range(frames))]
    for level in (2, 4):
        kept = {}
        for k in range(frames):
            label = cv2.imread(str(data / "ssam" / f"level_{level}" / f"{k:05d}.png"), cv2.IMREAD_UNCHANGED)
            rows = [row for row in relations[f"{k:05d}"]["rows"] if row["level"] == level]
            masks = [(row, label == row["id"]) for row in rows if (label == row["id"]).any()]
            metas = [
                old_style.item(mask, k, level, names[k])
                | {"unique_id": row["id"], "parent_unique_id": row["parent"]}
                for row, mask in masks
            ]
            kept[k] = list(zip(metas, [mask for _, mask in masks], strict=True))
        old_style.write_filtered(root / f"level_{level}" / "filtered" / "filtered.json", kept)
        items = [meta for entries in kept.values() for meta, _ in entries]
        old_style.write_candidates(root / f"level_{level}" / "candidates" / "candidates.json", items)
    codes: dict[tuple[int, int, int], bytes] = {}
    writers = {2: old_style.write_pickled_dense, 4: old_style.write_json_zip}
    for level, write in writers.items():
        recorded = json.loads((data / "sam2_3frame_runs" / f"demo_level_{level}.json").read_text())
        tracks: Found = {}
        for k in range(frames):
            for number, counts in recorded["frames"][f"{k:05d}"].items():
                code = {"size": recorded["size"], "counts": counts.encode()}
                with warnings.catch_warnings():  # pycocotools speaks an older dialect of NumPy's protocol
                    warnings.simplefilter("ignore", DeprecationWarning)
                    tracks.setdefault(k, {})[int(number)] = coco.decode(code).astype(bool)
                codes[level, k, int(number)] = counts.encode()
        write(root / f"level_{level}" / "tracking" / "video_segments.npz", tracks)
    selected = {"selected_frames": names, "selected_indices": None, "frames": f"0:{frames}:1"}
    write_manifest(root, **selected)
    return codes


def test_the_recorded_run_survives_the_round_trip(shared_data: Path, tmp_path: Path) -> None:
    """Masks of real models at 1920x1440, imported, exported, imported again: every pixel as recorded."""
    frames = 2
    data = shared_data / "recorded_multiscan"
    codes = write_recorded(data, tmp_path / "old", frames)
    options = ImportOptions(scan=None)
    first = import_legacy_run(tmp_path / "old", tmp_path / "first", options).run_dir
    with open_archive(first / "tracks.my3dis") as reader:
        for frame in range(frames):
            rows = reader.frame(frame)
            found = sorted(zip(rows.level.tolist(), rows.rle, strict=True))
            assert found == sorted((level, rle) for (level, k, _), rle in codes.items() if k == frame)
    label = cv2.imread(str(data / "ssam" / "level_4" / "00001.png"), cv2.IMREAD_UNCHANGED)
    with open_archive(first / "masks.my3dis") as reader:
        masks = reader.frame(1, 4)
        union = np.zeros(label.shape, bool)
        for rle in masks.rle:
            union |= decode(rle, masks.image_size)
        linked = reader.frame(1)
    np.testing.assert_array_equal(union, label > 0)
    assert (linked.parent_id[linked.level == 4] >= 0).all()
    for layout in ("packed", "dense"):
        export = exporter("npz").with_options
        assert export is not None
        export({"layout": layout})(first, tmp_path / layout / "old")
        second = import_legacy_run(tmp_path / layout / "old", tmp_path / f"runs-{layout}").run_dir
        assert archives(second) == archives(first)
        assert histories(second) == histories(first)
