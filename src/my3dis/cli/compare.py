"""The commands that look at several runs: report and compare."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.cli.run_json import JsonOutput
from my3dis.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from my3dis.runs.comparison import Difference, FigurePair, RunComparison, SweepComparison

__all__ = ["add_commands"]

_MOST_SCENES = 40
Show = Callable[[float | None], str]


def add_commands(commands: Commands[Parser]) -> None:
    """Add the commands."""
    report = add_command(
        commands,
        "report",
        "write one page about all runs of a folder: times, memory, scores, failures",
        """
my3dis report runs                 writes runs/sweep.html and prints its path
my3dis report runs --all           every run below the folder, not only those of its last sweep
my3dis report runs --json          the same for scripts

`my3dis run` writes the page of a sweep by itself; for one run see `my3dis stage report RUN_DIR`.
""",
    )
    report.add_argument("output_root", metavar="OUTPUT_ROOT", type=Path, help="folder of all runs")
    report.add_argument("--all", action="store_true", help="every run below the folder")
    report.add_argument("--name", metavar="NAME", help="with --all: only runs of this name")
    report.add_argument("--output", metavar="FILE", type=Path, help="default OUTPUT_ROOT/sweep.html")
    report.add_argument("--json", action="store_true", help="print everything as JSON; writes no page")
    report.set_defaults(call=_report)

    compare = add_command(
        commands,
        "compare",
        "show how two runs differ, or two folders of runs scene by scene",
        """
my3dis compare runs/scan1/default runs/scan1/other
my3dis compare runs_before runs_after
my3dis compare runs_before runs_after --json
""",
    )
    for name in ("a", "b"):
        compare.add_argument(
            name, metavar=f"RUN_{name.upper()}", type=Path, help="folder of a run, or of all runs"
        )
    compare.add_argument("--json", action="store_true", help="print everything as JSON")
    compare.set_defaults(call=_compare)


def _report(arguments: argparse.Namespace, console: Console) -> int:
    del console
    from my3dis.scheduling.sweep_report import as_json, write_page
    from my3dis.scheduling.sweep_state import read_state, state_of_runs

    output = JsonOutput(wanted=arguments.json)
    with output.telling_errors():
        if arguments.name and not arguments.all:
            raise ConfigError("--name goes with --all; without it the page shows the folder's last sweep")
        root: Path = arguments.output_root.absolute()
        state = state_of_runs(root, arguments.name) if arguments.all else read_state(root)
        if output.wanted:
            output.print(as_json(state))
        else:
            print(write_page(state, arguments.output))
    return EXIT_OK


def _compare(arguments: argparse.Namespace, console: Console) -> int:
    del console
    from my3dis.runs.compare_folders import compare_folders
    from my3dis.runs.comparison import RunComparison

    output = JsonOutput(wanted=arguments.json)
    with output.telling_errors():
        comparison = compare_folders(arguments.a, arguments.b)
    if output.wanted:
        output.print(comparison.as_json())
    elif isinstance(comparison, RunComparison):
        _print_runs(comparison)
    else:
        _print_sweeps(comparison)
    return EXIT_OK


def _print_runs(c: RunComparison) -> None:
    print(f"A  {c.a}  ({c.statuses[0]})\nB  {c.b}  ({c.statuses[1]})")
    _print_differences("settings", c.settings)
    _print_differences("versions and environment", c.versions)
    _print_differences("inputs", c.inputs)
    _print_figures("seconds", c.seconds, _tenths, ratio=True)
    _print_figures("peak memory, MB", c.memory_mb, _whole, ratio=True)
    _print_figures("peak GPU memory, MB", c.gpu_mb, _whole, ratio=True)
    _print_figures("counts", c.counts, _whole, ratio=True)
    _print_figures("scores, %", c.scores, _percent, ratio=False)


def _print_sweeps(c: SweepComparison) -> None:
    print(f"A  {c.a}\nB  {c.b}")
    count = len(c.scenes)
    both = f"{count:,} scene{'s are' if count != 1 else ' is'} in both"
    print(f"\n{both}; {len(c.only_a):,} only in A, {len(c.only_b):,} only in B")
    for name, scenes in (("A", c.only_a), ("B", c.only_b)):
        if scenes:
            more = f" and {len(scenes) - _MOST_SCENES:,} more" if len(scenes) > _MOST_SCENES else ""
            print(f"only in {name}: {', '.join(scenes[:_MOST_SCENES])}{more}")
    for note in c.notes:
        print(f"note: {note}")
    _print_differences("settings", c.settings)
    if c.varying:
        print(f"the settings of {len(c.varying):,} scenes differ in another way: {', '.join(c.varying[:5])}")
    _print_differences("versions and environment", c.versions)
    _print_figures("means over scenes: time and memory", c.means[:2], _tenths, ratio=True)
    _print_figures("means over scenes: scores, %", c.means[2:], _percent, ratio=False)
    measure = _first_measure(c)
    rows = []
    for scene in c.scenes[:_MOST_SCENES]:
        pair = next((p for p in scene.scores if p.name == measure), None)
        s = scene.seconds
        status = scene.statuses[0] if scene.statuses[0] == scene.statuses[1] else " > ".join(scene.statuses)
        times = (_tenths(s.a), _tenths(s.b), _ratio(s.ratio))
        scores = (_percent(pair.a), _percent(pair.b), _points(pair.difference)) if pair else ("–",) * 3
        rows.append((scene.scene, status, *times, *(scores if measure else ())))
    heads = ["scene", "status", "seconds A", "B", "B/A"]
    _print_table("scenes", [*heads, *([f"{measure} A", "B", "B-A"] if measure else [])], rows, text=2)
    if len(c.scenes) > _MOST_SCENES:
        print(f"and {len(c.scenes) - _MOST_SCENES:,} more scenes; --json prints all")


def _first_measure(c: SweepComparison) -> str | None:
    names = [pair.name for scene in c.scenes for pair in scene.scores]
    return next((name for name in names if name.endswith("AP50")), next(iter(names), None))


def _print_differences(title: str, rows: Sequence[Difference]) -> None:
    if not rows:
        print(f"\n{title}: the same")
        return
    table = [(row.name, row.a or "(absent)", row.b or "(absent)") for row in rows]
    _print_table(f"{title} that differ", ["", "A", "B"], table, text=3)


def _print_figures(title: str, pairs: Sequence[FigurePair], show: Show, *, ratio: bool) -> None:
    if not pairs:
        return
    rows = [
        (p.name, show(p.a), show(p.b), _ratio(p.ratio) if ratio else _points(p.difference)) for p in pairs
    ]
    _print_table(title, ["", "A", "B", "B/A" if ratio else "B-A"], rows, text=1)


def _print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, text: int) -> None:
    """Print a table, the first ``text`` columns to the left: in colour on a terminal, plainly elsewhere."""
    if not rows:
        return
    print()
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for n, head in enumerate(heads):
            table.add_column(head, justify="left" if n < text else "right", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(len(row[n]) for row in (heads, *rows)) for n in range(len(heads))]
    print(title)
    for row in (heads, *rows):
        cells = (
            cell.ljust(width) if n < text else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print(f"  {'  '.join(cells)}".rstrip())


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _tenths(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
