"""The page and the text."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest

from my3dis.reporting.model import (
    Drops,
    Figure,
    LabelledText,
    ScoreTable,
    Setting,
    StageRow,
    StageTable,
    WarningRow,
)
from my3dis.reporting.page import (
    format_megabytes,
    format_seconds,
    markdown_code,
    render_page,
    render_text,
)
from tests.reporting.fakes import small_report

EVIL = "<script>alert('x')</script> & `|* \"q\" <img src=x onerror=y>"


class Tags(HTMLParser):
    """Collects what a browser would see as elements."""

    VOID = frozenset({"meta", "link", "img", "br", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def test_the_page_asks_for_nothing_outside_itself() -> None:
    """No address but data and fragments, no import, no url(), and a policy that would block any."""
    page = render_page(small_report())
    for _, attributes in parsed(page).seen:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#"))
    assert "://" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in html.unescape(page)


def evil_report():
    return small_report(
        scene=EVIL,
        run_name=EVIL,
        summary=EVIL,
        found=(EVIL,),
        figures=(Figure(label=EVIL, value=EVIL, notes=(EVIL,)),),
        warnings=(WarningRow(stage=EVIL, reason=EVIL, message=EVIL),),
        scores=ScoreTable(notice=EVIL),
        stages=StageTable(rows=(StageRow(name=EVIL, status=EVIL, back_end=EVIL, note=EVIL),)),
        drops=Drops(notice=EVIL),
        environment=(LabelledText(label=EVIL, text=EVIL),),
        settings=(Setting(key=EVIL, value=EVIL, changed=True),),
        command=EVIL,
    )


def test_names_cannot_inject_anything() -> None:
    """A scene called <script> is shown as such: no element or attribute comes from it."""
    plain = [tag for tag, _ in parsed(render_page(small_report())).seen]
    page = render_page(evil_report())
    tags = parsed(page)
    assert [tag for tag, _ in tags.seen].count("script") == plain.count("script") == 1
    assert not any("onerror" in attributes for _, attributes in tags.seen)
    assert "alert('x')" not in page
    assert html.escape(EVIL, quote=False).split("&amp;")[0].replace("'", "&#39;") in page


def test_names_cannot_break_the_text() -> None:
    """Markdown's and HTML's special characters are escaped wherever a name goes."""
    text = render_text(evil_report())
    outside_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert not re.search(r"(?<!\\)<(script|img)", outside_code)
    for line in text.splitlines():
        if line.startswith("|") and "alert" in line:
            assert not re.search(r"(?<!\\)\|\*", line)


def test_a_process_keeps_the_templates_it_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version that is installed while a sweep goes on does not change, or break, its page."""
    before = render_page(small_report())
    monkeypatch.setattr("jinja2.Template.is_up_to_date", False)
    monkeypatch.setattr("jinja2.PackageLoader.get_source", lambda *_: ("{{ of_the_other }}", None, None))
    assert render_page(small_report()) == before


def test_missing_parts_have_their_reason_in_place() -> None:
    """Each notice stands under its own heading, in the page and in the text."""
    report = small_report()
    page, text = render_page(report), render_text(report)
    for heading, notice in (
        ("Over time", "No tracks."),
        ("In 3D", "No points."),
        ("Scores", "No ground truth."),
        ("Instances", "No instances."),
        ("Stages", "No times."),
        ("Filter", "No filter."),
    ):
        assert re.search(rf">{heading}</h2>\s*<p class=\"notice\".*?{notice}", page)
        assert re.search(rf"## {heading}\n\n> \*\*Not shown\.\*\* {notice}", text)


def test_pictures_have_words() -> None:
    """Every picture has an alternative text, and every button a name."""
    tags = parsed(render_page(small_report())).seen
    assert all("alt" in attributes for tag, attributes in tags if tag == "img")
    assert sum(bool(attributes.get("alt")) for tag, attributes in tags if tag == "img") == 2
    assert all(attributes.get("aria-label") for tag, attributes in tags if tag == "button")


def test_costs_can_be_left_out() -> None:
    """Without timings there is neither a time nor a memory column."""
    rows = (StageRow(name="track", status="done", seconds=3.0, peak_rss_mb=2048.0),)
    shown = render_page(small_report(stages=StageTable(rows=rows)))
    hidden = render_page(small_report(stages=StageTable(rows=rows, show_costs=False)))
    assert "2.0 GB" in shown
    assert "3.0 s" in shown
    assert "2.0 GB" not in hidden
    assert "peak memory" not in hidden
    assert "2.0 GB" in render_text(small_report(stages=StageTable(rows=rows)))
    assert "2.0 GB" not in render_text(small_report(stages=StageTable(rows=rows, show_costs=False)))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (75.2, "75 s"),
        (125, "2 min 05 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_durations_read_well(seconds: float | None, words: str) -> None:
    """Short times have a decimal, long ones minutes or hours."""
    assert format_seconds(seconds) == words


def test_amounts_of_memory_read_well() -> None:
    """Gigabytes from 1024 MB on; a dash for what is unknown."""
    assert [format_megabytes(v) for v in (None, 812.4, 1536)] == ["–", "812 MB", "1.5 GB"]


def test_code_spans_hold_back_quotes() -> None:
    """A code span's fence is longer than any run of back-quotes in it."""
    assert markdown_code("a ``b`` c") == "```a ``b`` c```"
    assert markdown_code("`x`") == "`` `x` ``"
