"""Scoring files: many scenes, benchmark folders, other forms of ground truth, and what is wrong with them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from my3dis.cli.main import main
from my3dis.errors import ConfigError, DataError
from my3dis.runs.instances import save_instances
from my3dis.runs.scores import format_scores, load_scores
from my3dis.stages.evaluate_files import EvaluateOptions, evaluate_files
from tests.metrics.build import instance_set

IDS = np.repeat([5001, 7002, 1003, 0], [300, 300, 200, 100])


def write_ids(path: Path, ids: np.ndarray = IDS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(str, ids.tolist())) + "\n")
    return path


def write_run(path: Path, *, found: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_instances(path, instance_set([range(300), range(300, 600)][:found], len(IDS)))


def write_benchmark(folder: Path, scene: str, lines: list[tuple[range, int, float]]) -> None:
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    text = ""
    for k, (points, label, score) in enumerate(lines):
        mask = np.zeros(len(IDS), int)
        mask[points.start : points.stop] = 1
        write_ids(folder / "masks" / f"{scene}_{k}.txt", mask)
        text += f"masks/{scene}_{k}.txt {label} {score}\n"
    (folder / f"{scene}.txt").write_text(text)


@pytest.fixture
def gt(tmp_path: Path) -> Path:
    for scene in ("a", "b"):
        write_ids(tmp_path / "gt" / f"{scene}.txt")
    return tmp_path / "gt"


@pytest.mark.parametrize("layout", ["{}.npz", "{}/instances.npz", "{}/default/instances.npz"])
def test_many_scenes_are_pooled(tmp_path: Path, gt: Path, layout: str) -> None:
    """Of two scenes with two objects each, three objects are found: R 3/4, P 1, constant AP 3/4."""
    write_run(tmp_path / "out" / layout.format("a"))
    write_run(tmp_path / "out" / layout.format("b"), found=1)
    scores = evaluate_files(tmp_path / "out", gt)
    row = scores.instances[1]
    assert (row.scenes, row.n_gt, row.ap, row.closed_form) == (("a", "b"), 4, 0.75, 0.75)
    text = format_scores(scores)
    assert "2 scenes (a, b)" in text
    assert "9 thresholds" in text
    assert "R(1+P)/2 agrees" in text


def test_missing_scenes_are_errors_that_name_them(tmp_path: Path, gt: Path) -> None:
    """A scene without predictions, and one without ground truth, stop the evaluation; a list selects."""
    write_run(tmp_path / "out" / "a.npz")
    with pytest.raises(DataError, match=r"predictions.*found none for b"):
        evaluate_files(tmp_path / "out", gt)
    write_run(tmp_path / "out" / "b.npz")
    write_run(tmp_path / "out" / "c.npz")
    with pytest.raises(DataError, match=r"ground truth.*found none for c"):
        evaluate_files(tmp_path / "out", gt)
    (tmp_path / "val.txt").write_text("b\na\n")
    chosen = evaluate_files(tmp_path / "out", gt, options=EvaluateOptions(scenes=tmp_path / "val.txt"))
    assert chosen.scenes == ("b", "a")


def test_one_of_several_runs_must_be_named(tmp_path: Path, gt: Path) -> None:
    """Two runs of a scene are not mixed up."""
    for run in ("one", "two"):
        for scene in "ab":
            write_run(tmp_path / "out" / scene / run / "instances.npz", found=1 + (run == "two"))
    with pytest.raises(ConfigError, match="one, two; name one with --run"):
        evaluate_files(tmp_path / "out", gt)
    assert evaluate_files(tmp_path / "out", gt, options=EvaluateOptions(run="two")).instances[0].ap == 1.0
    with pytest.raises(ConfigError, match="--run two chooses among the runs"):
        evaluate_files(tmp_path / "out" / "a" / "one", gt / "a.txt", options=EvaluateOptions(run="two"))


def test_scannets_text_files_are_scored_by_class(tmp_path: Path, gt: Path) -> None:
    """Chairs are found in both scenes, tables in one and with the wrong label in the other."""
    write_benchmark(tmp_path / "out", "a", [(range(300), 5, 0.9), (range(300, 600), 7, 0.8)])
    write_benchmark(tmp_path / "out", "b", [(range(300), 5, 0.9), (range(300, 600), 8, 0.8)])
    scores = evaluate_files(tmp_path / "out", gt, "scannet_v2")
    row = next(r for r in scores.instances if r.selection == "all levels" and r.scores == "ranked")
    assert [(c.label, c.ap) for c in row.classes] == [(5, 1.0), (7, 0.5)]
    assert row.ap == 0.75
    assert "2 classes" in format_scores(scores)


def test_scene_without_a_line_has_no_predictions(tmp_path: Path, gt: Path) -> None:
    """An empty text file is a scene in which nothing was found."""
    write_benchmark(tmp_path / "out", "a", [(range(300), 5, 0.9), (range(300, 600), 7, 0.8)])
    write_benchmark(tmp_path / "out", "b", [])
    assert evaluate_files(tmp_path / "out", gt, "scannet_v2").instances[-1].ap == 0.5


def test_dense_masks_and_npz_ground_truth(tmp_path: Path) -> None:
    """Search3D's arrays are read, and ground truth in an .npz."""
    masks = np.zeros((len(IDS), 2), bool)
    masks[:300, 0] = masks[300:600, 1] = True
    found = tmp_path / "a.npz"
    np.savez(found, pred_masks=masks, pred_scores=np.array([0.5, 0.9]), pred_classes=np.array([5, 7]))
    np.savez(tmp_path / "gt.npz", instances=IDS)
    assert evaluate_files(found, tmp_path / "gt.npz", "scannet_v2").instances[-1].ap == 1.0
    np.savez(tmp_path / "gt.npz", labels=IDS)
    with pytest.raises(DataError, match="found labels"):
        evaluate_files(found, tmp_path / "gt.npz", "scannet_v2")


def test_search3d_files_are_told_apart(tmp_path: Path) -> None:
    """Each protocol takes its own of the three files of a scan."""
    joint = np.where(IDS == 5001, 5_002_001, np.where(IDS == 7002, 7_002_001, 0))
    for ending, ids in (("obj_inst", IDS), ("part_inst", IDS % 1000 + 2000), ("obj_part_inst", joint)):
        write_ids(tmp_path / "gt" / f"scan_{ending}.txt", ids)
    write_benchmark(tmp_path / "out", "scan", [(range(300), 5002, 0.9), (range(300, 600), 7002, 0.8)])
    row = evaluate_files(tmp_path / "out", tmp_path / "gt", "search3d_joint").instances[0]
    assert (row.scenes, row.ap, row.min_region) == (("scan",), 1.0, 10)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda out, gt: (out / "a.txt").write_text("masks/a_0.txt 5\n"),
        lambda out, gt: (out / "a.txt").write_text("masks/a_0.txt 5 nan\n"),
        lambda out, gt: (out / "a.txt").write_text("../a_0.txt 5 1.0\n"),
        lambda out, gt: (out / "a.txt").write_text("masks/none.txt 5 1.0\n"),
        lambda out, gt: (out / "a.txt").write_text(f"masks/a_0.txt {2**40} 1.0\n"),
        lambda out, gt: (out / "a.txt").write_text("masks/a_0.txt 5 1e300\n"),
        lambda out, gt: (out / "a.txt").write_text("masks/a\0 5 1.0\n"),
        lambda out, gt: (out / "masks" / "a_0.txt").write_text("0.5\n" * len(IDS)),
        lambda out, gt: (out / "masks" / "a_0.txt").write_text("1\n0\nx\n"),
        lambda out, gt: (out / "masks" / "a_0.txt").write_text("1\n0\n"),
        lambda out, gt: (out / "a.npz").write_bytes(b"PK"),
        lambda out, gt: (gt / "a.txt").write_text("1\n-2\n"),
        lambda out, gt: (gt / "a.txt").write_bytes(b"\xff\xfe"),
        lambda out, gt: (gt / "a.txt").unlink(),
    ],
)
def test_wrong_input_is_one_sentence(
    tmp_path: Path, gt: Path, capsys: pytest.CaptureFixture[str], spoil: object
) -> None:
    """Damaged files end with exit code 3 and a sentence, never a traceback."""
    for scene in "ab":
        write_benchmark(tmp_path / "out", scene, [(range(300), 5, 0.9)])
    assert callable(spoil)
    spoil(tmp_path / "out", gt)
    assert main(["evaluate", str(tmp_path / "out"), "--gt", str(gt), "--protocol", "scannet_v2"]) == 3
    printed = capsys.readouterr()
    assert "expected" in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pred_masks": np.full((len(IDS), 1), 0.5)}, "masks of 0 and 1, found 0.5"),
        ({"pred_masks": np.full((len(IDS), 1), np.nan)}, "masks of 0 and 1, found nan"),
        ({"pred_masks": np.ones((1, len(IDS)), bool)}, "shapes"),
        ({"pred_scores": np.array([1e300])}, "finite confidences"),
        ({"pred_scores": np.array([1j])}, "confidences of complex"),
        ({"pred_scores": np.array([None])}, "Object arrays"),
        ({"pred_classes": np.array([5.5])}, "whole labels, found 5.5"),
        ({"pred_classes": np.array([np.nan])}, "whole labels, found nan"),
    ],
)
def test_arrays_of_another_kind_are_refused(
    tmp_path: Path, gt: Path, wrong: dict[str, np.ndarray], message: str
) -> None:
    """Probabilities are no masks, and nothing is rounded to what was expected."""
    right = {
        "pred_masks": np.ones((len(IDS), 1), bool),
        "pred_scores": np.ones(1),
        "pred_classes": np.ones(1),
    }
    np.savez(tmp_path / "a.npz", **right)
    assert evaluate_files(tmp_path / "a.npz", gt).instances
    np.savez(tmp_path / "a.npz", **{**right, **wrong})
    with pytest.raises(DataError, match=message):
        evaluate_files(tmp_path / "a.npz", gt)


def test_flags_that_are_no_flags_are_refused(tmp_path: Path) -> None:
    """In ground truth NaN is not structural, and ids are whole."""
    write_run(tmp_path / "a.npz")
    for wrong in ({"structural": np.full(len(IDS), np.nan)}, {"structural_objects": np.array([1.5])}):
        np.savez(tmp_path / "gt.npz", instances=IDS, **wrong)
        with pytest.raises(DataError, match="found something else"):
            evaluate_files(tmp_path / "a.npz", tmp_path / "gt.npz")


def test_ids_without_labels_are_said_to_count_for_nothing(tmp_path: Path) -> None:
    """Ids 1, 2, 3 are no ScanNet ids: AP is undefined, and the output says what is wanted."""
    write_run(tmp_path / "a.npz")
    scores = evaluate_files(tmp_path / "a.npz", write_ids(tmp_path / "gt.txt", IDS % 1000))
    assert scores.instances[0].ap is None
    assert "note: no instance of the ground truth counts" in format_scores(scores)
    assert "label * 1000 + instance" in format_scores(scores)


def test_paths_that_cannot_be_looked_at_are_one_sentence(
    tmp_path: Path, gt: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder without rights, and a name that is too long, are the user's to mend, not bugs of ours."""
    write_run(tmp_path / "a.npz")
    with pytest.raises(DataError, match="found: file name too long"):
        evaluate_files(tmp_path / "a.npz", tmp_path / ("x" * 5000))

    def denied(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "exists", denied)
    assert main(["evaluate", str(tmp_path / "a.npz"), "--gt", str(gt)]) == 3
    assert "found: permission denied; fix it or its rights" in capsys.readouterr().err


def test_a_list_of_scenes_needs_many(tmp_path: Path, gt: Path) -> None:
    """With the ground truth of one scene a list would be ignored, so it is refused."""
    write_run(tmp_path / "a.npz")
    (tmp_path / "val.txt").write_text("b\n")
    with pytest.raises(ConfigError, match="--scenes chooses among many"):
        evaluate_files(tmp_path / "a.npz", gt / "a.txt", options=EvaluateOptions(scenes=tmp_path / "val.txt"))


def test_ten_thresholds_are_labelled(tmp_path: Path, gt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten overlaps are a choice that the output and the file name."""
    for scene in "ab":
        write_run(tmp_path / "out" / f"{scene}.npz")
    json = tmp_path / "scores.json"
    assert main(["evaluate", str(tmp_path / "out"), "--gt", str(gt), "--ten", "--json", str(json)]) == 0
    printed = capsys.readouterr().out
    assert "10 overlaps, IoU > 0.50 to 0.95 (not the nine" in printed
    assert load_scores(json).thresholds[-1] == 0.95
