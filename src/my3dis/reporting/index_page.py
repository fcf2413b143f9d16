"""The index of runs, made by a template from its typed rows.

The rows of the table are written without a template: for 1,500 runs that is most of the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from markupsafe import Markup

from my3dis.reporting.index_model import IndexPage, IndexRow
from my3dis.reporting.page import (
    UNKNOWN,
    format_count,
    format_megabytes,
    format_score,
    format_seconds,
    render_template,
)

__all__ = ["render_index"]


def render_index(page: IndexPage) -> str:
    """Return the whole HTML page; it asks for nothing outside itself."""
    several = len({row.run_name for row in page.rows}) > 1
    return render_template(
        "index.html.j2",
        page=page,
        several=several,
        rows=Markup("\n".join(_row(row, several=several) for row in page.rows)),  # noqa: S704 - escaped below
        datasets=_choices(row.dataset for row in page.rows),
        statuses=_choices(row.status for row in page.rows),
    )


def _choices(values: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Return every value with how often it comes; the unknown one is no choice."""
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    counts.pop("", None)
    return tuple(sorted(counts.items()))


def _row(row: IndexRow, *, several: bool) -> str:
    name, status = escape(row.scene), escape(row.status)
    shown = f'<a href="{escape(row.href)}">{name}</a>' if row.href else name
    title = name if not row.words else f"{name}: {escape(row.words)}"
    changed = escape(row.updated[:16].replace("T", " "))
    scored = "yes" if row.has_scores else "no"
    parts = [
        f'<tr data-dataset="{escape(row.dataset)}" data-status="{status}" data-scores="{scored}">',
        f'<th scope="row" title="{title}">{shown}</th>',
    ]
    if several:
        parts.append(f'<td class="text">{escape(row.run_name)}</td>')
    words = f' title="{escape(row.words)}"' if row.words else ""
    parts += [
        f'<td class="text">{escape(row.dataset) or UNKNOWN}</td>',
        f'<td class="text"{words}><span class="is {status}">{status}</span></td>',
        _cell(row.seconds, format_seconds(row.seconds)),
        _cell(row.peak_rss_mb, format_megabytes(row.peak_rss_mb)),
        _cell(row.frames, UNKNOWN if row.frames is None else format_count(row.frames)),
        *(_cell(value, format_score(value), digits=4) for value in row.scores),
        f'<td data-v="{escape(row.updated)}">{changed or UNKNOWN}</td></tr>',
    ]
    return "".join(parts)


def _cell(value: float | None, shown: str, digits: int = 1) -> str:
    return f'<td data-v="{"" if value is None else f"{value:.{digits}f}"}">{shown}</td>'
