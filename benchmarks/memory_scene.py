"""The scene of the memory benchmark, as plug-ins: frames drawn on demand, moving masks, a free tracker.

A scene is a folder with ``memory_scene.json``: sizes, a seed and a pool of outlines. Each of its objects has
an outline of the pool, is cut into three parts and each part into two (levels 2, 4 and 6, ten masks in all),
and drifts, turns, swells and ripples through the image until another object takes its place. Every mask of
every frame is drawn for itself, so no two codes are equal; nothing but the current objects is held.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.masks import codec
from my3dis.masks.build import from_codes
from my3dis.protocols import BackendOptions, DatasetPlugin, ProposerPlugin, TrackerPlugin
from my3dis.types import NO_ID, Frame, MaskSet, ScanOverview

__all__ = [
    "DATASET",
    "FILE",
    "LIFE_FRAMES",
    "MASKS_PER_OBJECT",
    "PROPOSER",
    "TRACKER",
    "Hold",
    "Scene",
    "SceneSettings",
    "write_scene",
]

FILE = "memory_scene.json"
NAME = "memory_scene"
LEVELS = (2, 4, 6)
MASKS_PER_OBJECT = 10
LIFE_FRAMES = 96
LEVEL_OF = np.repeat(np.array(LEVELS, np.int16), (1, 3, 6))
PARENT_OF = np.array([NO_ID, 0, 0, 0, 1, 1, 2, 2, 3, 3], np.int32)
# The sixths, labels 1 to 6, that each mask of an object is made of: first and last.
MEMBERS = ((1, 6), (1, 2), (3, 4), (5, 6), *((k, k) for k in range(1, 7)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSettings:
    """What a scene is drawn from.

    Attributes:
        frames: number of frames.
        objects: in every frame; each has ten masks.
        image_size: height and width in pixels.
        life: frames until another object takes an object's place.
        seed: for everything random.
        source: where the outlines come from, in words.
        outlines: (height, width, compressed counts) of each outline.
    """

    frames: int
    objects: int
    image_size: tuple[int, int]
    life: int
    seed: int
    source: str
    outlines: tuple[tuple[int, int, str], ...]


def write_scene(folder: Path, settings: SceneSettings) -> None:
    """Write the scene's one file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(asdict(settings)))


@dataclass(frozen=True, slots=True, eq=False)
class _Object:
    """One object: sixths of its outline as labels 1 to 6, and how it moves."""

    labels: NDArray[np.uint8]
    start_xy: NDArray[np.float64]
    step_xy: NDArray[np.float64]
    angle: float
    turn: float
    phase: float
    colors: NDArray[np.uint8]

    def drawn(self, age: int, image_size: tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Return the labels after so many frames, and where in the image their first pixel is (x, y)."""
        import cv2

        height, width = self.labels.shape
        centre = self.start_xy + age * self.step_xy
        size = 1 + 0.12 * np.sin(0.05 * age + self.phase)
        angle = self.angle + age * self.turn
        ripple = np.float32(0.02 * max(height, width))
        upright = np.abs([[np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        reach = size * (upright @ (width / 2, height / 2) + 2 * ripple)
        x0, y0 = (int(max(0, v)) for v in np.floor(centre - reach))
        x1, y1 = (
            int(min(side, v)) for side, v in zip(image_size[::-1], np.ceil(centre + reach), strict=True)
        )
        x = (np.arange(x0, x1) - centre[0]).astype(np.float32)[None, :]
        y = (np.arange(y0, y1) - centre[1]).astype(np.float32)[:, None]
        cosine, sine = np.float32(np.cos(angle) / size), np.float32(np.sin(angle) / size)
        waves = np.float32(2 * np.pi * 3 / max(height, width))
        along_x = ripple * np.sin(waves * x + np.float32(0.21 * age + self.phase))
        along_y = ripple * np.sin(waves * y - np.float32(0.17 * age + self.phase))
        from_x = cosine * x + (sine * y + along_y + np.float32(width / 2))
        from_y = (cosine * y + np.float32(height / 2)) - sine * x + along_x
        labels = cv2.remap(self.labels, from_x, from_y, cv2.INTER_NEAREST, borderValue=0)
        left, top, width, height = cv2.boundingRect(labels)
        return labels[top : top + height, left : left + width].copy(), (x0 + left, y0 + top)


class Scene:
    """Draws the frames and masks of a scene folder."""

    def __init__(self, folder: Path) -> None:
        plain = json.loads((folder / FILE).read_text())
        plain["image_size"] = tuple(plain["image_size"])
        self.folder = folder
        self.settings = SceneSettings(**plain)
        self._held: dict[int, tuple[int, _Object]] = {}
        self._latest: tuple[int, list[tuple[NDArray[np.uint8], tuple[int, int], _Object]]] = (-1, [])

    @cached_property
    def ground(self) -> NDArray[np.uint8]:
        """A grey wall with slow shades, the same in every frame."""
        height, width = self.settings.image_size
        shade = 120 + 40 * np.sin(np.arange(width) / width * 5)[None, :]
        shade = shade + 30 * np.cos(np.arange(height) / height * 4)[:, None]
        return np.repeat(shade.astype(np.uint8)[:, :, None], 3, axis=2)

    def drawn(self, frame: int) -> list[tuple[NDArray[np.uint8], tuple[int, int], _Object]]:
        """Return the labels of every object in a frame with their place; the latest frame is held."""
        if self._latest[0] != frame:
            found = []
            for slot in range(self.settings.objects):
                shifted = frame + slot * self.settings.life // self.settings.objects
                item = self._object(slot, shifted // self.settings.life)
                age = shifted % self.settings.life
                found.append((*item.drawn(age, self.settings.image_size), item))
            self._latest = (frame, found)
        return self._latest[1]

    def color(self, frame: int) -> NDArray[np.uint8]:
        """Return the picture of a frame, (H, W, 3)."""
        import cv2

        picture = self.ground.copy()
        for labels, (x, y), item in self.drawn(frame):
            height, width = labels.shape
            painted = cv2.LUT(cv2.merge([labels] * 3), item.colors)
            place = picture[y : y + height, x : x + width]
            cv2.copyTo(painted, labels, place)
        return picture

    def masks(self, frame: int) -> MaskSet:
        """Return the masks of a frame, ten per object, with their parents."""
        size, rng = self.settings.image_size, np.random.default_rng((self.settings.seed, 7, frame))
        rles: list[bytes] = []
        for labels, corner, _ in self.drawn(frame):
            rles += _codes(labels, corner, size)
        n, objects = len(rles), self.settings.objects
        first = np.repeat(np.arange(objects, dtype=np.int32) * MASKS_PER_OBJECT, MASKS_PER_OBJECT)
        parent = np.tile(PARENT_OF, objects)
        return from_codes(
            rles,
            frame=frame,
            image_size=size,
            mask_id=np.arange(n),
            level=np.tile(LEVEL_OF, objects),
            parent_id=np.where(parent == NO_ID, NO_ID, parent + first),
            score=rng.uniform(0.8, 1, n),
            stability=rng.uniform(0.92, 1, n),
        )

    def _object(self, slot: int, generation: int) -> _Object:
        held = self._held.get(slot)
        if held is None or held[0] != generation:
            rng = np.random.default_rng((self.settings.seed, slot, generation))
            held = self._held[slot] = (generation, self._born(slot, rng))
        return held[1]

    def _born(self, slot: int, rng: np.random.Generator) -> _Object:
        height, width = self.settings.image_size
        labels = _sixths(self._outline(rng), rng)
        columns = max(1, round(np.sqrt(self.settings.objects * width / height)))
        rows = -(-self.settings.objects // columns)
        cell = np.array([width / columns, height / rows])
        place = (np.array([slot % columns, slot // columns]) + rng.uniform(0.35, 0.65, 2)) * cell
        # Never slower than a pixel a frame along x and y, so that no frame repeats a mask; never so fast that
        # the object leaves a small image in its life.
        fastest = np.clip(0.6 * np.array([width, height]) / self.settings.life, 1.1, 2.2)
        speed = rng.uniform(1.1, fastest) * max(1.0, height / 1440) * rng.choice([-1.0, 1.0], 2)
        start = place - speed * self.settings.life / 2
        margin = 0.2 * height
        for axis, length in enumerate((width, height)):
            end = start[axis] + speed[axis] * self.settings.life
            start[axis] += max(0.0, margin - min(start[axis], end))
            start[axis] -= max(0.0, max(start[axis], end) - (length - margin))
        colors = np.zeros((256, 1, 3), np.uint8)
        colors[1:7, 0] = np.clip(rng.integers(30, 225, 3) + rng.integers(-25, 25, (6, 3)), 0, 255)
        return _Object(
            labels=labels,
            start_xy=start,
            step_xy=speed,
            angle=rng.uniform(0, 2 * np.pi),
            turn=rng.uniform(-0.006, 0.006),
            phase=rng.uniform(0, 2 * np.pi),
            colors=colors,
        )

    def _outline(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return an outline of the pool, mirrored by chance and resized."""
        import cv2

        height, width, counts = self.settings.outlines[rng.integers(len(self.settings.outlines))]
        shape = codec.decode(counts.encode(), (height, width)).view(np.uint8)
        if rng.random() < 0.5:
            shape = np.ascontiguousarray(shape[:, ::-1])
        side = rng.uniform(0.12, 0.24) * self.settings.image_size[0]
        factor = side / np.sqrt(max(1, int(shape.sum())))
        factor = min(factor, 0.45 * self.settings.image_size[0] / max(shape.shape))
        size = (max(8, round(width * factor)), max(8, round(height * factor)))
        return cv2.resize(shape, size, interpolation=cv2.INTER_NEAREST)


def _sixths(outline: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut an outline into three parts of equal area and each into two, along ragged lines."""
    import cv2

    rows, columns = np.nonzero(outline)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    points -= points.mean(axis=0)
    _, axes = np.linalg.eigh(points.T @ points)
    coarse = rng.normal(size=(2, 9, 9)).astype(np.float32)
    bend = [cv2.resize(c, outline.shape[::-1], interpolation=cv2.INTER_CUBIC)[rows, columns] for c in coarse]
    spread = 0.08 * np.sqrt(len(rows))
    along = points @ axes[:, 1] + spread * bend[0] + rng.normal(0, 0.7, len(rows))
    across = points @ axes[:, 0] + spread * bend[1] + rng.normal(0, 0.7, len(rows))
    third = np.searchsorted(np.quantile(along, (1 / 3, 2 / 3)), along)
    labels = np.zeros(outline.shape, np.uint8)
    for part in range(3):
        inside = third == part
        half = across[inside] > np.median(across[inside])
        labels[rows[inside], columns[inside]] = 1 + 2 * part + half
    return labels


def _codes(
    labels: NDArray[np.uint8], corner_xy: tuple[int, int], image_size: tuple[int, int]
) -> Iterator[bytes]:
    """Yield the codes of an object's ten masks, each drawn in its own box."""
    import cv2

    for first, last in MEMBERS:
        whole = cv2.inRange(labels, first, last)
        x, y, width, height = cv2.boundingRect(whole)
        box = (corner_xy[0] + x, corner_xy[1] + y, corner_xy[0] + x + width, corner_xy[1] + y + height)
        yield codec.encode_in_box(whole[y : y + height, x : x + width] > 0, box, image_size)


@lru_cache(maxsize=1)
def _scene(folder: Path) -> Scene:
    return Scene(folder)


class _Reader:
    """The scene as a scan: colour frames, nothing else."""

    def __init__(self, folder: Path) -> None:
        self._scene = _scene(folder.absolute())

    @property
    def overview(self) -> ScanOverview:
        settings = self._scene.settings
        return ScanOverview(
            scene=self._scene.folder.name,
            dataset=NAME,
            root=self._scene.folder,
            frame_count=settings.frames,
            image_size=settings.image_size,
            found=(f"{settings.frames} frames drawn on demand; outlines: {settings.source}",),
            missing=("no depth and no poses: nothing is lifted",),
        )

    def __len__(self) -> int:
        return self._scene.settings.frames

    def frame(self, index: int) -> Frame:
        return Frame(index=index, name=f"{index:05d}", color=self._scene.color(index))

    def cloud(self) -> None:
        return None

    def fingerprint(self) -> str:
        return hashlib.sha256((self._scene.folder / FILE).read_bytes()).hexdigest()


class _Proposer:
    """Hands over the masks of a frame."""

    def __init__(self, options: BackendOptions) -> None:
        assert options.recorded_root is not None
        self._scene = _scene(options.recorded_root.absolute())

    def propose(self, frame: Frame, levels: Sequence[int]) -> MaskSet:
        masks = self._scene.masks(frame.index)
        return masks.select(np.flatnonzero(np.isin(masks.level, levels)))


class Hold:
    """A tracker that costs nothing: an object stays where it was, and is less sure with every frame."""

    def __init__(self, options: BackendOptions) -> None:
        del options  # nothing can be set
        self._held: MaskSet | None = None

    def step(self, frame: Frame) -> MaskSet:
        """Return what is held."""
        if self._held is None:
            return MaskSet.empty(frame.index, frame.image_size)
        self._held = replace(self._held, frame=frame.index, score=self._held.score * np.float32(0.9))
        return self._held

    def prompt(self, frame: Frame, masks: MaskSet) -> None:
        """Take masks in the place of those held before."""
        kept = [] if self._held is None else [self._without(masks.track_id.tolist())]
        fresh = replace(masks, frame=frame.index, score=np.ones(len(masks), np.float32))
        joined = [
            replace(part, mask_id=part.track_id, parent_id=np.full(len(part), NO_ID, np.int32))
            for part in (*kept, fresh)
        ]
        self._held = MaskSet.concatenate(joined)

    def drop(self, track_ids: Sequence[int]) -> None:
        """Forget objects."""
        if self._held is not None and len(track_ids):
            self._held = self._without(track_ids)

    def _without(self, track_ids: Sequence[int]) -> MaskSet:
        assert self._held is not None
        return self._held.select(np.flatnonzero(~np.isin(self._held.track_id, track_ids)))


DATASET = DatasetPlugin(
    summary="scene of the memory benchmark",
    detect=lambda path: (path / FILE).is_file(),
    open=_Reader,
    priority=1000,
)
PROPOSER = ProposerPlugin(summary="masks of the memory benchmark", version="1", create=_Proposer)
TRACKER = TrackerPlugin(summary="holds masks where they are", version="1", create=Hold)
