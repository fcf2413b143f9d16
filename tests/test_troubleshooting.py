"""The page of messages names messages that the program really gives."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"


def texts() -> set[str]:
    """Return every text in the sources, with … for what is filled in."""
    found: set[str] = set()
    for path in (ROOT / "src" / "my3dis").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.add("".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values))
    return found


@pytest.fixture(scope="module")
def messages() -> set[str]:
    return texts()


def beginnings() -> list[str]:
    return re.findall(r"^### `(.*)`$", PAGE.read_text("utf-8"), re.MULTILINE)


def test_every_entry_is_a_message_of_the_program(messages: set[str]) -> None:
    """Each heading is how a text in the sources begins."""
    assert len(beginnings()) == PAGE.read_text("utf-8").count("\n### ")
    lost = [
        one
        for one in beginnings()
        if not any(text.startswith(one.removesuffix("…").strip()) for text in messages)
    ]
    assert not lost


def test_no_entry_is_there_twice() -> None:
    """A message is explained in one place."""
    assert len(set(beginnings())) == len(beginnings())
