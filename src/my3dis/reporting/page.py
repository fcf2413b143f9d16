"""The page and the text of a report, made by templates from its typed rows."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from my3dis.reporting.bars import render_bars
from my3dis.reporting.colors import hex_color
from my3dis.reporting.curves import Chart, render_svg
from my3dis.reporting.formats import (
    UNKNOWN,
    format_count,
    format_megabytes,
    format_score,
    format_seconds,
)
from my3dis.reporting.gantt import render_gantt
from my3dis.reporting.model import Panel, Report, WarningRow
from my3dis.reporting.pictures import data_uri

__all__ = [
    "UNKNOWN",
    "format_count",
    "format_megabytes",
    "format_score",
    "format_seconds",
    "render_page",
    "render_template",
    "render_text",
]

_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def render_page(report: Report) -> str:
    """Return the whole HTML page; it asks for nothing outside itself."""
    return _environment().get_template("report.html.j2").render(report=report)


def render_text(report: Report) -> str:
    """Return the same facts as Markdown, with links to the comparison pictures."""
    text = _environment().get_template("report.md.j2").render(report=report)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def render_template(name: str, **values: object) -> str:
    """Return a template filled with values; text is escaped, pictures come in by the filters."""
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("my3dis.reporting", "templates"),
        autoescape=True,
        # A sweep that lasts for days draws its page with the version it began with, whatever is installed.
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=format_count,
        seconds=format_seconds,
        megabytes=format_megabytes,
        score=format_score,
        hex=hex_color,
        chart=_chart_svg,
        bars=lambda chart: Markup(render_bars(chart)),  # noqa: S704 - escaped where it is drawn
        gantt=lambda gantt: Markup(render_gantt(gantt)),  # noqa: S704 - the same
        uri=_panel_uri,
        md=markdown_text,
        code=markdown_code,
        origin=_origin,
    )
    environment.globals["viewer_script"] = viewer_script
    return environment


@cache
def viewer_script() -> Markup:
    """Return the bundled viewer, as it goes between script tags; its build made sure that it may."""
    script = files("my3dis.reporting").joinpath("templates/viewer.js").read_text("utf-8")
    return Markup(script)  # noqa: S704 - our own file


def markdown_text(value: object) -> Markup:
    """Return text with everything escaped that Markdown or HTML would read as markup."""
    line = " ".join(str(value).split())
    # Every character with a meaning is preceded by a backslash, "<" and "&" included.
    return Markup(_MARKDOWN_SPECIAL.sub(r"\\\1", line).replace("&", r"\&"))  # noqa: S704 - escaped here


def markdown_code(value: object) -> Markup:
    """Return a code span that holds any text on one line."""
    line = " ".join(str(value).split())
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return Markup(f"{fence}{pad}{line}{pad}{fence}")  # noqa: S704 - the fence is longer than any run inside


def _chart_svg(chart: Chart, height: int = 300) -> Markup:
    return Markup(render_svg([chart], height=height))  # noqa: S704 - escaped where it is drawn


def _panel_uri(panel: Panel) -> str:
    return data_uri(panel.data, panel.kind)


def _origin(warning: WarningRow) -> str:
    """Return where a warning comes from: its stage, level and code."""
    parts = [warning.stage, warning.reason.replace("_", " ")]
    if warning.level is not None:
        parts.insert(1, f"level {warning.level}")
    if warning.count > 1:
        parts.append(f"{warning.count} times")
    return " · ".join(parts)
