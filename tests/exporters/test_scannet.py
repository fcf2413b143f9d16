"""ScanNet's benchmark files: the layout, and the evaluator's own reader of predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from my3dis.exporters import scannet
from my3dis.runs.predictions import find_predictions, load_prediction
from my3dis.stages.evaluate_files import evaluate_files
from tests.exporters.small_run import instances, write_run


def test_the_layout_is_the_benchmarks(tmp_path: Path) -> None:
    """A list of mask, label and confidence, and masks of 0 or 1 a line, read by plain NumPy."""
    run = write_run(tmp_path / "run")
    paths = scannet.PLUGIN.export(run, tmp_path / "out")
    assert paths == (tmp_path / "out" / "room0.txt", tmp_path / "out" / "predicted_masks")
    expected = instances()
    for k, line in enumerate(paths[0].read_text().splitlines()):
        name, label, confidence = line.split()
        assert name == f"predicted_masks/room0_{k:03d}.txt"
        assert int(label) == expected.label[k]
        assert np.float32(float(confidence)) == expected.score[k]
        mask = np.loadtxt(tmp_path / "out" / name)
        assert mask.shape == (36,)
        np.testing.assert_array_equal(np.flatnonzero(mask), expected.points_of(k))
    assert k == 3


def test_the_evaluator_scores_them_as_the_run(tmp_path: Path) -> None:
    """Read back by the evaluator, all levels together have the same figures, to the last digit."""
    run = write_run(tmp_path / "run")
    scannet.PLUGIN.export(run, tmp_path / "out")
    (prediction,) = find_predictions(tmp_path / "out")
    found = load_prediction(prediction, 36)
    assert found.point_index.tolist() == instances().point_index.tolist()
    truth = np.repeat([5001, 5002, 6003], 12)
    np.savetxt(tmp_path / "room0.txt", truth, fmt="%d")
    own, again = (
        evaluate_files(path, tmp_path / "room0.txt", protocol="class_agnostic_parts")
        for path in (run / "instances.npz", tmp_path / "out")
    )
    flat, back = (
        [
            (row.scores, row.ap, row.ap50, row.ap25)
            for row in scores.instances
            if row.selection == "all levels"
        ]
        for scores in (own, again)
    )
    assert flat == back
    assert [row[0] for row in flat] == ["ranked", "constant"]
    assert all(value for row in flat for value in row)


def test_one_level_and_a_label_for_those_without(tmp_path: Path) -> None:
    """Only the instances of the level are listed; an own label is kept."""
    run = write_run(tmp_path / "run")
    assert scannet.PLUGIN.with_options is not None
    scannet.PLUGIN.with_options({"level": "2", "label": "3"})(run, tmp_path / "out")
    lines = (tmp_path / "out" / "room0.txt").read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["5", "3"]
