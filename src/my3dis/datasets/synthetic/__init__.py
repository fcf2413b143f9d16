"""Procedural rooms with exact ground truth, rendered by NumPy; one of them comes as the built-in scan.

A room is a frozen description of solids and of a camera's way. Frames are rendered when asked for:
colour with patterns, lamp light, daylight and shadows; z depth; object and part ids; poses. `write_scan`
puts a room on disk in the exported ScanNet layout with ground truth, where every other part of the
package meets it like any scan.
"""

from my3dis.datasets.synthetic.reader import RoomReader
from my3dis.datasets.synthetic.render import Rendered, Renderer
from my3dis.datasets.synthetic.room import BUILT_IN_SEED, make_room
from my3dis.datasets.synthetic.scene import Room
from my3dis.datasets.synthetic.write import SCENE_NAME, built_in_scan, write_scan

__all__ = [
    "BUILT_IN_SEED",
    "SCENE_NAME",
    "Rendered",
    "Renderer",
    "Room",
    "RoomReader",
    "built_in_scan",
    "make_room",
    "write_scan",
]
