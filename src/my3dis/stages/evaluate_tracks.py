"""Score the tracks of a finished run in the image: identities by label images, outlines as DAVIS does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from my3dis.archive import open_archive
from my3dis.archive.reader import ArchiveReader
from my3dis.datasets.annotations import load_truth
from my3dis.datasets.files import list_files
from my3dis.datasets.ground_truth import load_annotation
from my3dis.datasets.truth_files import find_truth
from my3dis.errors import DataError
from my3dis.masks.codec import decode
from my3dis.metrics.boundary import boundary_f, sequence_score
from my3dis.metrics.frame_overlap import frame_overlap
from my3dis.metrics.hota import hota_scores
from my3dis.metrics.video import FrameOverlap, IdentityAccumulator, region_similarity
from my3dis.plugins import open_scan
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import Manifest, read_manifest
from my3dis.runs.scores import IdentityScore, Scores, Target, VideoScore
from my3dis.stages.evaluate import frame_name, visible_px

__all__ = ["TRACK_PROTOCOLS", "evaluate_tracks"]

TRACK_PROTOCOLS = ("identity", "davis")


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Tracked frames that have a label image, in order, and objects that do not count."""

    images: tuple[tuple[int, Path], ...]
    void_ids: frozenset[int]


def evaluate_tracks(run_dir: Path, gt: Path, protocol: str) -> Scores:
    """Score the tracks of every level of a run, two passes over the frames, one mask decoded at a time.

    Args:
        run_dir: the folder of a run.
        gt: for ``identity`` a ground-truth folder with ``instance/<frame>.png`` (and ``part/``), or a scan
            with one; for ``davis`` a folder of annotations, one PNG a frame.
        protocol: ``identity`` or ``davis``.

    Raises:
        DataError: if the run has no tracks, or label images are missing or do not belong to its frames.
    """
    layout = RunLayout(run_dir)
    if not layout.manifest.is_file() or not layout.tracks.is_file():
        raise DataError(f"expected the folder of a run with tracks for protocol {protocol}, found {run_dir}")
    if not gt.is_dir():
        raise DataError(f"expected a folder of label images for protocol {protocol}, found {gt}")
    manifest = read_manifest(layout.manifest)
    with open_archive(layout.tracks) as reader:
        if protocol == "davis":
            labelled = _labelled(reader, manifest, gt, frozenset())
            videos = [row for level in reader.levels() for row in _davis(reader, level, labelled, manifest)]
            return Scores(scenes=(manifest.scene,), videos=tuple(videos), notes=_notes(reader, labelled))
        truth = find_truth(gt) or gt
        if not (truth / "instance").is_dir():
            raise DataError(f"{truth}: expected label images instance/<frame>.png, found none")
        labelled = _labelled(reader, manifest, truth / "instance", load_truth(truth).structural_objects)
        rows = [_identity(reader, level, labelled, manifest, "objects") for level in reader.levels()]
        notes = _notes(reader, labelled)
        if (truth / "part").is_dir():
            excluded = [p for p, o in load_truth(truth).object_of_part if o in labelled.void_ids]
            parts = _labelled(reader, manifest, truth / "part", frozenset(excluded))
            rows += [_identity(reader, level, parts, manifest, "parts") for level in reader.levels()]
        return Scores(scenes=(manifest.scene,), identities=tuple(rows), notes=notes)


def _labelled(reader: ArchiveReader, manifest: Manifest, folder: Path, void: frozenset[int]) -> _Labelled:
    """Find the label image of every tracked frame: by order if there is one for each frame, else by name."""
    images = list_files(folder, (".png",))
    frames = reader.frames()
    if len(images) == manifest.frames_total:
        found = [(frame, images[frame]) for frame in frames if frame < len(images)]
    else:
        scan = open_scan(Path(manifest.scan), manifest.dataset)
        by_name = {path.stem: path for path in images}
        named = [(frame, by_name.get(frame_name(scan, frame))) for frame in frames]
        found = [(frame, path) for frame, path in named if path is not None]
    if not found:
        raise DataError(
            f"{folder}: expected label images of the run's {len(frames)} tracked frames, found {len(images)} "
            "images, none of which belongs to one; give the ground truth of the same scan"
        )
    return _Labelled(tuple(found), void)


def _notes(reader: ArchiveReader, labelled: _Labelled) -> tuple[str, ...]:
    missing = len(reader.frames()) - len(labelled.images)
    return (f"{missing} tracked frames have no label image and are not scored",) if missing else ()


def _overlaps(
    reader: ArchiveReader, level: int, images: Sequence[tuple[int, Path]], void: frozenset[int]
) -> Iterator[FrameOverlap]:
    for frame, path in images:
        labels = load_annotation(path)
        yield frame_overlap(reader.frame(frame, level), np.where(labels < 0, 0, labels), void)


def _identity(
    reader: ArchiveReader, level: int, labelled: _Labelled, manifest: Manifest, target: Target
) -> IdentityScore:
    least = visible_px(reader.image_size(labelled.images[0][0]))
    frames: Callable[[], Iterator[FrameOverlap]] = partial(
        _overlaps, reader, level, labelled.images, labelled.void_ids
    )
    accumulator = IdentityAccumulator(min_visible_px=least)
    for frame in frames():
        accumulator.add(frame)
    hota = hota_scores(frames, min_visible_px=least)
    return IdentityScore.of(accumulator.result(), level=level, target=target, scene=manifest.scene, hota=hota)


def _davis(
    reader: ArchiveReader, level: int, labelled: _Labelled, manifest: Manifest
) -> Iterator[VideoScore]:
    """Score each object with the track given to it; the first frame and the last do not count."""
    counted = labelled.images[1:-1]
    if not counted:
        raise DataError(f"expected 3 tracked frames or more with annotations, found {len(labelled.images)}")
    objects: set[int] = set()
    for _, path in labelled.images:
        objects |= {int(i) for i in np.unique(load_annotation(path)) if i > 0}
    track_of = _assign(_overlaps(reader, level, counted, frozenset()), sorted(objects))
    for gt in sorted(objects):
        track = track_of.get(gt)
        pairs = [_measure(reader, level, frame, path, (track, gt)) for frame, path in counted]
        j, f = (sequence_score(np.array(column)) for column in zip(*pairs, strict=True))
        yield VideoScore.of(j, f, scene=manifest.scene, level=level, object=gt, track=track)


def _assign(frames: Iterator[FrameOverlap], objects: Sequence[int]) -> dict[int, int]:
    """Return the track of each object: one to one, with the greatest sum of mean J."""
    shared: defaultdict[tuple[int, int], float] = defaultdict(float)
    together: Counter[tuple[int, int]] = Counter()
    seen_track: Counter[int] = Counter()
    seen_gt: Counter[int] = Counter()
    n = 0
    for frame in frames:
        n += 1
        tracks, gts = frame.track_id.tolist(), frame.gt_id.tolist()
        seen_track.update(tracks)
        seen_gt.update(gts)
        for t, track in enumerate(tracks):
            for g, gt in enumerate(gts):
                j = region_similarity(frame.shared_px[t, g], frame.track_px[t], frame.gt_px[g])
                shared[track, gt] += float(j)
                together[track, gt] += 1
    tracks = sorted(seen_track)
    j_sum = np.zeros((len(objects), len(tracks)))
    for g, gt in enumerate(objects):
        for t, track in enumerate(tracks):
            # Frames in which neither is there agree.
            absent = n - seen_gt[gt] - seen_track[track] + together[track, gt]
            j_sum[g, t] = shared[track, gt] + absent if shared[track, gt] else 0.0
    rows, columns = linear_sum_assignment(j_sum, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {objects[g]: tracks[t] for g, t in pairs if j_sum[g, t]}


def _measure(
    reader: ArchiveReader, level: int, frame: int, path: Path, pair: tuple[int | None, int]
) -> tuple[float, float]:
    """Return J and F of one object in one frame; void pixels count for neither mask."""
    labels = load_annotation(path)
    found = _mask_of(reader, level, frame, pair[0])
    if found.shape != labels.shape:
        rows, columns = (np.arange(n) * m // n for n, m in zip(labels.shape, found.shape, strict=True))
        found = found[rows[:, None], columns[None, :]]
    found = found & (labels >= 0)
    truth = labels == pair[1]
    j = region_similarity((found & truth).sum(), found.sum(), truth.sum())
    return float(j), boundary_f(found, truth)


def _mask_of(reader: ArchiveReader, level: int, frame: int, track: int | None) -> NDArray[np.bool_]:
    masks = reader.frame(frame, level)
    for rle, track_id in zip(masks.rle, masks.track_id.tolist(), strict=True):
        if track_id == track:
            return decode(rle, masks.image_size)
    return np.zeros(masks.image_size, np.bool_)
