"""The documentation site builds from a copy, without a network, and asks nobody for anything."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import chromium_of, playwright_here
from tests.conftest import ROOT

pytestmark = [pytest.mark.extras, pytest.mark.timeout(900)]

SOURCES = ("README.md", "CHANGELOG.md", "mkdocs.yml", "docs", "src", "benchmarks/README.md")
RESOURCES = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}
PICTURES = ("levels.jpg", "tracks.jpg", "scene.webp", "level-2.webp", "level-4.webp")


class Links(HTMLParser):
    """What a page names: its anchors, its links, and what is loaded with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids.update(found[name] for name in ("id", "name") if name in found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if RESOURCES.get(tag, "") in found:
            self.resources.append(found[RESOURCES[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy of what it is made of; skips where mkdocs is not installed."""
    for library in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"the extra docs is not installed: {library} is missing")
    root = tmp_path_factory.mktemp("copy")
    for name in SOURCES:
        (root / name).parent.mkdir(exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    own = {name: value for name, value in os.environ.items() if not name.startswith("MY3DIS_")}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=root,
        env={**own, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    found = sorted(p for p in site.rglob("*.html") if p.name != "404.html" and p.parent.name != "pictures")
    return {page: Links(page.read_text("utf-8")) for page in found}


def test_no_page_loads_anything_from_elsewhere(pages: dict[Path, Links]) -> None:
    """Scripts, styles, pictures and frames of every page lie beside it."""
    assert len(pages) > 20
    for page, links in pages.items():
        for address in links.resources:
            parts = urlsplit(address)
            assert parts.scheme in {"", "data"}, f"{page.name}: {address}"
            assert not parts.netloc, f"{page.name}: {address}"


def test_styles_load_nothing_from_elsewhere(site: Path) -> None:
    """No style sheet names a font or a picture of another server."""
    for sheet in site.rglob("*.css"):
        text = sheet.read_text("utf-8")
        assert "url(http" not in text.replace('"', "").replace("'", "").replace(" ", "")
        assert "@import" not in text


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Links]) -> None:
    """Links within the site name a file that is there, and an anchor that the page has."""
    for page, links in pages.items():
        for address in [*links.links, *links.resources]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = page if not parts.path else (page.parent / unquote(parts.path)).resolve()
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{page.name}: {address}"
            assert target.is_relative_to(site.resolve()) or target == page, f"{page.name}: {address}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{page.name}: {address}"


def test_pictures_are_there(site: Path) -> None:
    """The pictures of the quickstart are made by the build, are pictures, and stand in its page."""
    import cv2

    page = (site / "index.html").read_text("utf-8")
    for name in PICTURES:
        picture = cv2.imread(str(site / "pictures" / name))
        assert picture is not None
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 10
    for name in PICTURES[:4]:
        assert f'src="pictures/{name}"' in page
    assert "<!-- " + "picture:" not in page
    assert "<!-- " + "site:" not in page


def test_the_reference_has_all_public_names(site: Path) -> None:
    """Functions, records and protocols that users meet have an entry with their description."""
    entries = {
        "my3dis": ("my3dis.run_scan", "my3dis.open_scan", "my3dis.load_config"),
        "types": ("my3dis.types.MaskSet", "my3dis.types.Frame", "my3dis.types.InstanceSet"),
        "archive": ("my3dis.archive.open_archive", "my3dis.archive.StreamingSegmentWriter"),
        "codec": ("my3dis.masks.codec.decode",),
        "protocols": ("my3dis.protocols.SceneReader", "my3dis.protocols.MaskTracker"),
        "errors": ("my3dis.errors.DataError",),
    }
    for page, names in entries.items():
        ids = Links((site / "reference" / f"{page}.html").read_text("utf-8")).ids
        assert set(names) <= ids, page


def test_it_opens_from_disk_and_finds_words(site: Path) -> None:
    """In a browser, from a file, no page fails, nothing is asked of a server, and the search has results."""
    asked: list[str] = []
    wrong: list[str] = []
    with playwright_here() as playwright, chromium_of(playwright) as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto((site / "index.html").as_uri())
        page.click("input.md-search__input")
        page.keyboard.type("identity")  # the page listens to keys
        page.wait_for_selector(".md-search-result__link", state="attached", timeout=60_000)
        assert "concepts.html" in " ".join(
            link.get_attribute("href") or "" for link in page.query_selector_all(".md-search-result__link")
        )
        page.goto((site / "reference" / "types.html").as_uri())
    assert not wrong
    assert {urlsplit(address).scheme for address in asked} <= {"file", "data", "blob"}
