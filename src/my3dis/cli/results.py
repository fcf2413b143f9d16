"""The commands that read results: evaluate, inspect, verify and export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["add_commands"]


def add_commands(commands: Commands[Parser]) -> None:
    """Add the commands."""
    evaluate = add_command(
        commands,
        "evaluate",
        "score 3D instances against ground truth",
        """
my3dis evaluate runs/scene0000_00/default --gt scans/scene0000_00/gt
my3dis evaluate instances.npz --gt gt_instances.txt --json scores.json
""",
    )
    evaluate.add_argument("predictions", metavar="RUN_DIR|instances.npz", type=Path, help="what to score")
    evaluate.add_argument("--gt", metavar="FILE|DIR", type=Path, required=True, help="ground truth")
    evaluate.add_argument("--protocol", metavar="NAME", help="how to score; default class_agnostic")
    evaluate.add_argument("--json", metavar="FILE", type=Path, help="write all scores there too")
    evaluate.set_defaults(call=_evaluate)

    export = add_command(
        commands,
        "export",
        "write a run's results in another format",
        "my3dis export runs/scene0000_00/default --to ply instances.ply",
    )
    export.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="folder of the run")
    export.add_argument("--to", metavar="FORMAT", required=True, help="a format that `my3dis plugins` lists")
    export.add_argument("out", metavar="OUT", type=Path, help="file or folder to write")
    export.set_defaults(call=_export)


def _evaluate(arguments: argparse.Namespace, console: Console) -> int:
    del console
    from my3dis.runs.scores import format_scores, save_scores
    from my3dis.stages.evaluate import evaluate_files

    protocol = {} if arguments.protocol is None else {"protocol": arguments.protocol}
    scores = evaluate_files(arguments.predictions, arguments.gt, **protocol)
    print(format_scores(scores))
    if arguments.json is not None:
        save_scores(arguments.json, scores)
    return 0


def _export(arguments: argparse.Namespace, console: Console) -> int:
    del console
    from my3dis import plugins

    plugin = plugins.exporter(arguments.to)
    if not arguments.run_dir.is_dir():
        raise DataError(f"expected the folder of a run, found none at {arguments.run_dir}; check the path")
    for path in plugin.export(arguments.run_dir, arguments.out):
        print(path)
    return 0
