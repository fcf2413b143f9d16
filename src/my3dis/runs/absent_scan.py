"""Stands for a scan whose images are not there: an imported run still has a name, a size and frames."""

from __future__ import annotations

from pathlib import Path

from my3dis.errors import DataError
from my3dis.types import Frame, ScanOverview, SceneCloud

__all__ = ["AbsentScan"]


class AbsentScan:
    """A scene reader without images.

    Args:
        scene: name of the scan.
        place: where its images should be.
        frame_count: frames before slicing, as far as known.
        image_size: (H, W) of the masks.
    """

    def __init__(self, scene: str, place: Path, frame_count: int, image_size: tuple[int, int]) -> None:
        self._overview = ScanOverview(
            scene=scene,
            dataset="auto",  # should the images come back, any reader may open them
            root=place,
            frame_count=frame_count,
            image_size=image_size,
            missing=(
                f"the colour frames, which are not at {place}; masks and tracks are imported, the report and "
                "later stages need the scan: give its folder with --scan",
            ),
        )
        self._count = frame_count

    @property
    def overview(self) -> ScanOverview:
        """What is known of the scan."""
        return self._overview

    def __len__(self) -> int:
        return self._count

    def frame(self, index: int) -> Frame:
        """Refuse: there are no images.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"expected the image of frame {index} of {self._overview.root}, found none: this run was "
            "imported without its scan; import it again with --scan"
        )

    def cloud(self) -> SceneCloud | None:
        """Return None: there are no points."""
        return None

    def fingerprint(self) -> str:
        """Return a digest that no scan has."""
        return "absent"
