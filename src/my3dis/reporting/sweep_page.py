"""The page of a sweep, made by a template from its typed rows.

The rows of the table are written without a template: for 1,500 scenes that is most of the work.
"""

from __future__ import annotations

from html import escape

from markupsafe import Markup

from my3dis.reporting.page import (
    UNKNOWN,
    format_megabytes,
    format_score,
    format_seconds,
    render_template,
)
from my3dis.reporting.sweep_model import SceneRow, StageCell, SweepPage

__all__ = ["render_sweep"]


def render_sweep(page: SweepPage) -> str:
    """Return the whole HTML page; it asks for nothing outside itself."""
    gpu = any(row.peak_gpu_mb is not None for row in page.rows)
    tries = any(row.attempts > 1 for row in page.rows)
    rows = "\n".join(_row(row, gpu=gpu, tries=tries) for row in page.rows)
    return render_template(
        "sweep.html.j2",
        page=page,
        rows=Markup(rows),  # noqa: S704 - escaped below
        marked=_marked,
        gpu=gpu,
        tries=tries,
    )


def _marked(text: str) -> Markup:
    """Return text with what stands between backticks as code."""
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(part) if n % 2 else part for n, part in enumerate(text.split("`")))


def _row(row: SceneRow, *, gpu: bool, tries: bool) -> str:
    name, status = escape(row.name), escape(row.status)
    if row.href:
        name = f'<a href="{escape(row.href)}">{name}</a>'
    parts = [
        f'<tr><th scope="row" title="{escape(row.name)}">{name}</th>',
        f'<td class="text"><span class="is {status}">{status}</span></td>',
        _cell(row.seconds, format_seconds(row.seconds)),
        *(_stage(cell) for cell in row.cells),
        _cell(row.peak_rss_mb, format_megabytes(row.peak_rss_mb)),
    ]
    if gpu:
        parts.append(_cell(row.peak_gpu_mb, format_megabytes(row.peak_gpu_mb)))
    if tries:
        parts.append(_cell(row.attempts, str(row.attempts or UNKNOWN)))
    parts += [_cell(value, format_score(value), digits=4) for value in row.scores]
    return "".join([*parts, "</tr>"])


def _stage(cell: StageCell) -> str:
    title = f' title="{escape(cell.words)}"' if cell.words else ""
    timed = cell.seconds is not None and cell.status in ("done", "reused")
    shown = format_seconds(cell.seconds) if timed or not cell.status else escape(cell.status)
    kind = "" if cell.status in ("", "done") else f' class="x-{escape(cell.status)}"'
    return f'<td{kind}{title} data-v="{_value(cell.seconds, 2)}">{shown}</td>'


def _cell(value: float | None, shown: str, digits: int = 1) -> str:
    return f'<td data-v="{_value(value, digits)}">{shown}</td>'


def _value(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
