"""Record how far a network is from recorded values, and print the table when the tests are over.

A test stores each comparison as a property of its report, which workers of pytest-xdist send along; the
summary collects them from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

__all__ = ["Parity", "print_parity"]

_PROPERTY = "parity"
_PRINTED = "_parity_printed"


@dataclass(frozen=True)
class Parity:
    """Writes comparisons into the report of one test; `table` and `case` are heading and column."""

    table: str
    case: str
    record_property: Callable[[str, object], None]

    def record(self, stage: str, error: float, tolerance: float) -> None:
        """Keep the largest error of a stage (a row of the table) beside its tolerance."""
        self.record_property(_PROPERTY, [self.table, self.case, stage, error, tolerance])


def print_parity(terminalreporter: TerminalReporter) -> None:
    """Print one table per heading, a row per stage and a column per case, at the end of a run."""
    if getattr(terminalreporter, _PRINTED, False):
        return
    setattr(terminalreporter, _PRINTED, True)
    tables: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == _PROPERTY:
                    table, case, stage, error, tolerance = value
                    rows = tables.setdefault(table, {}).setdefault(stage, {})
                    before, _ = rows.get(case, (0.0, tolerance))
                    rows[case] = (max(before, error), tolerance)
    for table, rows in sorted(tables.items()):
        cases = sorted({case for row in rows.values() for case in row})
        terminalreporter.section(f"parity: {table} (max abs error)")
        width = max(len(stage) for stage in ("stage", *rows))
        columns = "".join(f"{case:>{max(10, len(case)) + 1}}" for case in cases)
        terminalreporter.write_line(f"{'stage':<{width}}{'tolerance':>11}{columns}")
        for stage, row in rows.items():
            tolerance = max(tolerance for _, tolerance in row.values())
            shown = {case: f"{row[case][0]:.1e}" if case in row else "-" for case in cases}
            cells = "".join(f"{shown[case]:>{max(10, len(case)) + 1}}" for case in cases)
            terminalreporter.write_line(f"{stage:<{width}}{tolerance:>11.0e}{cells}")
