"""One row per mask as Parquet, for pandas, polars, DuckDB and Spark.

``OUT`` ending in ``.parquet`` gives one file with the masks of the last stage that wrote some (tracks, else
kept masks, else candidates); any other ``OUT`` is a folder with one file per archive of the run. Rows are
ordered by frame, level and mask id. ``rle`` holds plain COCO compressed counts, so that
``pycocotools.mask.decode({"size": [height, width], "counts": rle})`` gives the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from my3dis.archive import ArchiveReader, open_archive
from my3dis.errors import PluginError
from my3dis.exporters.run_folder import ARCHIVES, mask_archives
from my3dis.exporters.writing import new_file
from my3dis.protocols import ExporterPlugin
from my3dis.types import MaskSet

if TYPE_CHECKING:
    import pyarrow

__all__ = ["ARCHIVES", "PLUGIN", "export", "write_parquet"]

# A row group is what readers load at once and what this exporter holds: a few frames, whatever their number.
_GROUP_BYTES = 8 << 20
_GROUP_ROWS = 1 << 14


def export(run_dir: Path, out: Path) -> tuple[Path, ...]:
    """Write a run's masks as Parquet; see the module for what ``out`` means.

    Holds one row group in memory, about 8 MB of codes.

    Raises:
        DataError: if the run has no archive.
        ArchiveError: if an archive is damaged.
        PluginError: if pyarrow is not installed.
        ResourceError: if a file cannot be written.
    """
    found = mask_archives(run_dir)
    if out.suffix.lower() == ".parquet":
        return (write_parquet(next(iter(found.values())), out),)
    return tuple(write_parquet(path, out / f"{name}.parquet") for name, path in found.items())


def write_parquet(archive: Path, out: Path) -> Path:
    """Write the masks of one archive as one Parquet file, frame by frame, and return its path.

    The file appears under its name only when it is complete. See `export` for errors.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise PluginError(
            "export --to parquet: expected pyarrow, found none; pip install 'my3dis[parquet]'"
        ) from error
    with new_file(out) as partial, open_archive(archive) as reader:
        schema = _schema(reader)
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for group in _groups(reader):
                writer.write_table(_table(schema, group), row_group_size=2 * _GROUP_ROWS)
    return out


def _groups(reader: ArchiveReader) -> Iterator[list[MaskSet]]:
    """Yield a few frames at a time, so that no group of rows is larger than it need be."""
    group: list[MaskSet] = []
    rows = size = 0
    for masks in reader.iter_frames():
        if not len(masks):
            continue
        group.append(masks)
        rows += len(masks)
        size += sum(map(len, masks.rle))
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def _schema(reader: ArchiveReader) -> pyarrow.Schema:
    import pyarrow as pa

    columns = {
        "frame": pa.int32(),
        "level": pa.int16(),
        "mask_id": pa.int32(),
        "track_id": pa.int32(),
        "parent_id": pa.int32(),
        "x0": pa.int32(),
        "y0": pa.int32(),
        "x1": pa.int32(),
        "y1": pa.int32(),
        "area_px": pa.int64(),
        "score": pa.float32(),
        "stability": pa.float32(),
        "source": pa.int8(),
        "height": pa.int32(),
        "width": pa.int32(),
        "rle": pa.binary(),
    }
    about = {"my3dis.purpose": reader.purpose or "", "my3dis.finished": str(reader.finished).lower()}
    return pa.schema(list(columns.items()), metadata=about)


def _table(schema: pyarrow.Schema, group: list[MaskSet]) -> pyarrow.Table:
    import pyarrow as pa

    counts = [len(masks) for masks in group]
    boxes = np.concatenate([masks.boxes for masks in group])
    columns: dict[str, NDArray[np.generic] | list[bytes]] = {
        "frame": np.repeat([masks.frame for masks in group], counts),
        **{name: boxes[:, i] for i, name in enumerate(("x0", "y0", "x1", "y1"))},
        "height": np.repeat([masks.image_size[0] for masks in group], counts),
        "width": np.repeat([masks.image_size[1] for masks in group], counts),
        "rle": [rle for masks in group for rle in masks.rle],
    }
    for name in schema.names:
        if name not in columns:
            columns[name] = np.concatenate([getattr(masks, name) for masks in group])
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


PLUGIN = ExporterPlugin(summary="one row per mask, for pandas, polars and DuckDB", export=export)
