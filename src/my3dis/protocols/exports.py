"""What an exporter must offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = [
    "ExportOption",
    "Exporter",
    "ExporterPlugin",
]


class Exporter(Protocol):
    """Writes results of a finished run in another format."""

    def __call__(self, run_dir: Path, out: Path) -> tuple[Path, ...]:
        """Write and return the paths written.

        Raises:
            DataError: if the run lacks what this format needs.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOption:
    """A choice that an output format offers: ``my3dis export ... --option NAME=VALUE``.

    Attributes:
        name: of the option.
        values: what it may be; the first is what `ExporterPlugin.export` does.
        summary: one line for error messages and help.
        whole_numbers: whether any whole number from 0 on is a value too.
    """

    name: str
    values: tuple[str, ...]
    summary: str
    whole_numbers: bool = False

    @property
    def choices(self) -> str:
        """The values as an error message shows them."""
        return "|".join((*self.values, "N") if self.whole_numbers else self.values)

    def accepts(self, value: str) -> bool:
        """Return whether a text is one of the values."""
        is_number = value.isascii() and value.isdecimal() and len(value) <= 9
        return value in self.values or (self.whole_numbers and is_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterPlugin:
    """An output format.

    Attributes:
        summary: one line for ``my3dis plugins``.
        export: write a run's results with the first value of every option.
        options: the choices that the format offers.
        with_options: return the exporter for chosen values, by the options' names; the names and values
            that it is given are always some of ``options``. None when there are no options.
    """

    summary: str
    export: Exporter
    options: tuple[ExportOption, ...] = ()
    with_options: Callable[[Mapping[str, str]], Exporter] | None = None
