"""Pages of the site that lie elsewhere in the repository, or are made from docstrings; links between them.

Pages in docs/ link as the repository's own pages do (``../README.md``), so that they can be read there too.
"""

from __future__ import annotations

import ast
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ELSEWHERE = {
    "src/my3dis/archive/FORMAT.md": "format-archive.md",
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository that are pages of the site."""

_LINKS = {**_ELSEWHERE, "README.md": "index.md", "README.md#what-it-costs": "costs.md"}
"""Where links to files outside docs/ go instead."""


@dataclass(frozen=True)
class _Reference:
    """A page of the API reference.

    Attributes:
        title: its heading.
        module: whose ``__all__`` it lists.
        text: what stands below the heading.
        only: these names below the module alone, in this order; empty = all of ``__all__``, in the order
            of the source.
    """

    title: str
    module: str
    text: str
    only: tuple[str, ...] = ()


_REFERENCE = {
    "my3dis": _Reference(
        "Running and reading",
        "my3dis",
        "What most scripts need; `import my3dis` has these names and loads neither torch nor OpenCV. "
        "`my3dis.Frame`, `InstanceSet`, `MaskSet` and `TrackSet` are [records](types.md), "
        "`my3dis.StreamingSegmentWriter` is told with [the mask archive](archive.md), "
        "`my3dis.My3DISError` with [errors](errors.md), and the keys of `my3dis.Config` with "
        "[settings](../configuration.md).",
        ("run_scan", "RunResult", "open_scan", "load_config"),
    ),
    "types": _Reference(
        "Records",
        "my3dis.types",
        "Frozen and checked when they are made. RGB; boxes half-open xyxy; metres; camera axes x right, "
        "y down, z forward; `a_from_b` maps b to a; the id −1 is none; a smaller level is coarser.",
    ),
    "archive": _Reference(
        "The mask archive",
        "my3dis.archive",
        "Examples are in [reading masks](../reading-masks.md), the format itself in [its own page]"
        "(../format-archive.md).",
        (
            "open_archive",
            "ArchiveReader",
            "StreamingSegmentWriter",
            "DroppedMask",
            "verify.verify",
            "salvage.salvage",
            "inspect.inspect",
        ),
    ),
    "codec": _Reference(
        "Mask codes",
        "my3dis.masks.codec",
        "Masks are run-length codes (COCO compressed counts). Decode one when you need its pixels, and only "
        "its box where that is enough.",
        (
            "encode",
            "encode_in_box",
            "decode",
            "decode_crop",
            "iter_crops",
            "measure",
            "find_box",
            "MAX_DECODED",
        ),
    ),
    "overlap": _Reference(
        "Overlaps of masks", "my3dis.masks.overlap", "Exact, from the codes; nothing is decoded."
    ),
    "protocols": _Reference(
        "Protocols of plug-ins",
        "my3dis.protocols",
        "What a data set, a back end or an export format offers; [adding one](../plugins.md) shows how.",
    ),
    "errors": _Reference(
        "Errors",
        "my3dis.errors",
        "Every error that is raised on purpose is one of these, with its exit code on the command line; "
        "what single messages mean is told in [when something is wrong](../troubleshooting.md).",
    ),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    root = Path(config.config_file_path).parent
    for source, name in _ELSEWHERE.items():
        text = (root / source).read_text("utf-8")
        files.append(File.generated(config, name, content=_with_links(text, source)))
    costs = _section((root / "README.md").read_text("utf-8"), "What it costs")
    files.append(File.generated(config, "costs.md", content=_with_links(costs, "README.md")))
    for name, page in _REFERENCE.items():
        files.append(File.generated(config, f"reference/{name}.md", content=_reference(page, root)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Send links out of docs/ to the pages of the site, and show what is said on the site alone."""
    del config, files
    generated = page.file.generated_by is not None
    markdown = re.sub(r"<!-- site: (.*?) -->", r"\1", markdown)
    return markdown if generated else _with_links(markdown, f"docs/{page.file.src_uri}")


def _with_links(text: str, source: str) -> str:
    """Return a page with its relative links as they are in the site; ``source`` is where it lies."""

    def moved(link: re.Match[str]) -> str:
        path, anchor = link[1], link[2] or ""
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if place.startswith("docs/"):
            return f"]({place.removeprefix('docs/')}{anchor})"
        if place + anchor in _LINKS:
            return f"]({_LINKS[place + anchor]})"
        return f"]({_LINKS.get(place, path)}{anchor})"

    return re.sub(r"\]\(([^)#:\s]+)(#[^)]*)?\)", moved, text)


def _section(text: str, title: str) -> str:
    """Return one section of a page as a page of its own."""
    found = re.search(rf"^## ({re.escape(title)}\n.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"expected a section '## {title}' in the README, found none")
    return f"# {found[1]}"


def _reference(page: _Reference, root: Path) -> str:
    names = page.only or _public_names(root, page.module)
    return f"# {page.title}\n\n{page.text}\n\n" + "\n".join(f"::: {page.module}.{n}\n" for n in names)


def _public_names(root: Path, module: str) -> tuple[str, ...]:
    """Return ``__all__`` of a module without importing it, in the order of its definitions."""
    place = root / "src" / Path(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    names: list[str] = []
    order: dict[str, int] = {}
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            order[node.name] = node.lineno
    return tuple(sorted(names, key=lambda name: order.get(name, 0)))
