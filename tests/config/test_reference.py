"""The generated documents are what the schema says now."""

from __future__ import annotations

from pathlib import Path

import pytest

from my3dis.config.fields import SETTINGS
from my3dis.config.load import load_config
from my3dis.config.reference import PAGES, env_example, with_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", PAGES)
def test_settings_tables_are_current(page: str) -> None:
    """The page holds the schema's table; if not: python -m my3dis.config.reference."""
    text = (ROOT / page).read_text("utf-8")
    assert with_table(text) == text
    for setting in SETTINGS.values():
        assert f"`{setting.key}`" in text
        assert f"`{setting.variable}`" in text


def test_env_example_is_current() -> None:
    """.env.example holds every variable; if not: python -m my3dis.config.reference."""
    assert (ROOT / ".env.example").read_text("utf-8") == env_example()


def test_env_example_uncommented_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every # before a variable removed, the example sets every setting to its default."""
    monkeypatch.chdir(tmp_path)
    lines = [
        line.removeprefix("#") if line.startswith("#MY3DIS_") else line for line in env_example().splitlines()
    ]
    assert sum(line.startswith("MY3DIS_") for line in lines) == len(SETTINGS)
    (tmp_path / ".env").write_text("\n".join(lines))
    assert load_config() == load_config(dotenv=None)


def test_page_without_markers_is_refused() -> None:
    """A document without the markers is not overwritten."""
    with pytest.raises(ValueError, match="markers"):
        with_table("text")
