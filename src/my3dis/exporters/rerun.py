"""A recording for the Rerun viewer: cameras, images, tracked masks and 3D instances, frame by frame.

``OUT`` is one ``.rrd`` file (``rerun OUT`` opens it), with these entities on the timeline ``frame``, which
counts frames of the scan, and on ``time`` where the scan tells times::

    world/camera                     pose (where the scan has one)
    world/camera/image               the picture as JPEG, with intrinsics
    world/camera/image/level_<L>     tracks of the level as a segmentation: 0 = none, else track id + 1
    world/points/level_<L>           the scan's points, coloured by the instances of the level

Pictures and segmentations are at most ``width`` pixels wide (640; ``width=full`` keeps their size). Where
masks of a level overlap the smaller one is on top. Ids beyond 65,534 begin again from 1. Needs the extra
``rerun``. Memory holds one frame and the points.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from my3dis.archive import ArchiveReader, open_archive
from my3dis.archive.instances import read_instances
from my3dis.datasets.ply import read_ply
from my3dis.errors import DataError, PluginError, ResourceError
from my3dis.exporters.ply import instance_of_points
from my3dis.exporters.run_folder import LEVEL_OPTION, chosen_levels, open_run_scan, scene_of, tracks_of
from my3dis.exporters.writing import new_file
from my3dis.masks.codec import decode_crop
from my3dis.masks.palette import colors_for_ids
from my3dis.protocols import ExporterPlugin, ExportOption, SceneReader
from my3dis.types import NO_ID, Frame, MaskSet

if TYPE_CHECKING:
    import rerun

__all__ = ["PLUGIN"]

_LOG = logging.getLogger(__name__)

_WIDTH = "640"
_JPEG_QUALITY = 85
_MOST_CLASSES = 65_535
"""Classes of a segmentation are 16-bit numbers."""

_FOOTER_BYTES = 64
_FRAMES_PER_FLUSH = 16


def _library() -> ModuleType:
    try:
        import rerun
    except ImportError as error:
        raise PluginError(
            "export --to rerun: expected rerun-sdk, found none; pip install 'my3dis[rerun]'"
        ) from error
    module: ModuleType = rerun
    return module


@dataclass(frozen=True, slots=True)
class _Export:
    """Writes some levels at one size."""

    level: str = "all"
    width: str = _WIDTH

    def __call__(self, run_dir: Path, out: Path) -> tuple[Path, ...]:
        """Write a run as one recording; what the run lacks of scan or instances is said and left out.

        Raises:
            PluginError: if rerun-sdk is not installed.
            DataError: if the run has no tracks, or its records are damaged.
            ArchiveError: if the archive is damaged.
            ConfigError: if the run has no such level.
            ResourceError: if the file cannot be written.
        """
        rr = _library()
        with open_archive(tracks_of(run_dir)) as reader:
            levels = chosen_levels(reader.levels(), self.level)
            scan = open_run_scan(run_dir)
            with new_file(out) as unfinished:
                # Rerun writes from a thread of its own and only prints what goes wrong there.
                unfinished.touch()
                stream = rr.RecordingStream("my3dis", send_properties=False)
                stream.save(unfinished, default_blueprint=_blueprint(levels))
                try:
                    stream.send_recording_name(f"{scene_of(run_dir)} {run_dir.absolute().name}")
                    _log_classes(rr, stream, reader)
                    _log_points(rr, stream, run_dir, levels)
                    for n, masks in enumerate(reader.iter_frames(), start=1):
                        self._log_frame(rr, stream, (masks, levels), _load(scan, masks.frame))
                        if n % _FRAMES_PER_FLUSH == 0:
                            # Else frames wait in memory for a disk that is slower than we are.
                            _flush(stream, out)
                    _flush(stream, out)
                finally:
                    stream.disconnect()
                _require_complete(unfinished, out)
        return (out,)

    def _log_frame(
        self,
        rr: ModuleType,
        stream: rerun.RecordingStream,
        shown: tuple[MaskSet, tuple[int, ...]],
        frame: Frame | None,
    ) -> None:
        masks, levels = shown
        height, width = masks.image_size
        scale = 1.0 if self.width == "full" else min(1.0, max(1, int(self.width)) / width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        stream.set_time("frame", sequence=masks.frame)
        if frame is not None:
            _log_camera(rr, stream, frame, size)
        for level in levels:
            labels = _labels(masks.at_level(level), size)
            stream.log(f"world/camera/image/level_{level}", rr.SegmentationImage(labels))


def _log_camera(rr: ModuleType, stream: rerun.RecordingStream, frame: Frame, size: tuple[int, int]) -> None:
    import cv2

    if frame.timestamp_s is not None:
        stream.set_time("time", duration=frame.timestamp_s)
    if frame.world_from_camera is not None:
        pose = frame.world_from_camera
        stream.log("world/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    else:
        stream.log("world/camera", rr.Clear(recursive=False))
    if frame.color_camera is not None:
        camera = frame.color_camera.scaled_to(*size)
        stream.log(
            "world/camera/image",
            rr.Pinhole(
                resolution=list(size),
                focal_length=[camera.fx, camera.fy],
                # Rerun puts pixel centres at halves, we at whole numbers.
                principal_point=[camera.cx + 0.5, camera.cy + 0.5],
                camera_xyz=rr.ViewCoordinates.RDF,
            ),
        )
    picture = cv2.resize(frame.color, size, interpolation=cv2.INTER_AREA)
    quality = [int(cv2.IMWRITE_JPEG_QUALITY), _JPEG_QUALITY]
    done, code = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), quality)
    if done:
        contents = code.tobytes()
        stream.log("world/camera/image", rr.EncodedImage(contents=contents, media_type="image/jpeg"))


def _labels(masks: MaskSet, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Return (h, w) uint16 class of the smallest mask on each pixel, 0 = none; decodes one mask at a time."""
    import cv2

    labels = np.zeros(masks.image_size, np.uint16)
    for k in np.argsort(-masks.area_px, kind="stable").tolist():
        track = int(masks.track_id[k])
        if track == NO_ID:
            continue
        x0, y0, x1, y1 = masks.boxes[k].tolist()
        inside = decode_crop(masks.rle[k], masks.image_size, masks.boxes[k])
        labels[y0:y1, x0:x1][inside] = _class_of(track)
    resized = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.uint16)


def _class_of(track: int) -> int:
    """Return the class of a track or instance; ids beyond 16 bits begin again from 1."""
    return track % _MOST_CLASSES + 1


def _log_classes(rr: ModuleType, stream: rerun.RecordingStream, reader: ArchiveReader) -> None:
    """Tell the colour and name of every track, the same as everywhere else."""
    tracks = reader.tracks().track_id
    colors = colors_for_ids(tracks).tolist()
    classes = [rr.AnnotationInfo(id=0, label="none", color=(0, 0, 0, 0))]
    for track, color in zip(tracks.tolist()[:_MOST_CLASSES], colors, strict=False):
        classes.append(rr.AnnotationInfo(id=_class_of(track), label=f"track {track}", color=tuple(color)))
    stream.log("world", rr.AnnotationContext(classes), static=True)
    stream.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)


def _log_points(
    rr: ModuleType, stream: rerun.RecordingStream, run_dir: Path, levels: tuple[int, ...]
) -> None:
    if not (run_dir / "instances.npz").is_file():
        _LOG.warning("%s has no 3D instances; the recording has no points (run the stage lift)", run_dir)
        return
    instances = read_instances(run_dir / "instances.npz")
    cloud = read_ply(run_dir / "instances.ply")
    if len(cloud) != instances.n_points:
        raise DataError(
            f"{run_dir / 'instances.ply'}: expected the {instances.n_points} points that the instances refer "
            f"to, found {len(cloud)}; run the stage lift again"
        )
    for level in levels:
        of_point = instance_of_points(instances, level)
        points = rr.Points3D(cloud.xyz_m, colors=colors_for_ids(of_point))
        stream.log(f"world/points/level_{level}", points, static=True)


def _load(scan: SceneReader | None, index: int) -> Frame | None:
    if scan is None:
        return None
    try:
        return scan.frame(index)
    except DataError as error:
        _LOG.warning("frame %d has neither picture nor camera in the recording: %s", index, error)
        return None


def _blueprint(levels: tuple[int, ...]) -> rerun.blueprint.Blueprint:
    """Return an arrangement: space on the left, the picture with the masks of each level on the right."""
    import rerun.blueprint as rrb

    # One level of points at a time, or they hide each other.
    hidden = [f"- /world/points/level_{level}" for level in levels[1:]]
    hidden += [f"- /world/camera/image/level_{level}" for level in levels]
    space = rrb.Spatial3DView(origin="/world", name="instances", contents=["+ $origin/**", *hidden])
    pictures = [
        rrb.Spatial2DView(
            origin="/world/camera/image",
            name=f"level {level}",
            contents=["+ /world/camera/image", f"+ /world/camera/image/level_{level}"],
        )
        for level in levels
    ]
    if not pictures:
        return rrb.Blueprint(space)
    return rrb.Blueprint(rrb.Horizontal(space, rrb.Vertical(*pictures), column_shares=[2, 1]))


def _flush(stream: rerun.RecordingStream, out: Path) -> None:
    try:
        stream.flush()
    except RuntimeError as error:
        raise ResourceError(
            f"cannot write {out}: {error}; free some space or choose another place"
        ) from error


def _require_complete(path: Path, out: Path) -> None:
    """Refuse a recording without its end, as on a disk that is full at the last moment."""
    with path.open("rb") as file:
        mark = file.read(4) + b"FOOT"
        file.seek(max(0, path.stat().st_size - _FOOTER_BYTES))
        complete = mark in file.read()
    if not complete:
        raise ResourceError(
            f"cannot write {out}: Rerun could not finish the file; free some space or choose another place"
        )


PLUGIN = ExporterPlugin(
    summary="a Rerun recording of cameras, images, tracks and instances",
    export=_Export(),
    options=(
        LEVEL_OPTION,
        ExportOption(
            name="width",
            values=(_WIDTH, "full"),
            whole_numbers=True,
            summary="most pixels of a row of pictures and segmentations",
        ),
    ),
    with_options=lambda chosen: _Export(**chosen),
)
