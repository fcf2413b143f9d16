"""The commands that read results: evaluate, inspect, verify and export."""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.errors import EXIT_OK, ArchiveError, ConfigError, DataError
from my3dis.runs.layout import RunLayout

if TYPE_CHECKING:
    from rich.console import Console

    from my3dis.protocols import Exporter, ExporterPlugin

__all__ = ["add_commands"]

_LOG = logging.getLogger(__name__)


def add_commands(commands: Commands[Parser]) -> None:
    """Add the commands."""
    _add_evaluate(commands)

    inspect = add_command(
        commands,
        "inspect",
        "say what is in a mask archive, or in all archives of a run",
        "my3dis inspect runs/scan1/default/tracks.my3dis\nmy3dis inspect runs/scan1/default --json",
    )
    inspect.add_argument("path", metavar="PATH", type=Path, help="archive, or folder of a run")
    inspect.add_argument(
        "--json", action="store_true", help="everything, the index of frames too; an array for a folder"
    )
    inspect.set_defaults(call=_inspect)

    _add_verify(commands)

    export = add_command(
        commands,
        "export",
        "write a run's results in another format",
        """
my3dis export runs/scene0000_00/default --to ply instances.ply
my3dis export runs/scene0000_00/default --to npz old_style --option layout=dense
""",
    )
    export.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="folder of the run")
    export.add_argument("--to", metavar="FORMAT", required=True, help="a format that `my3dis plugins` lists")
    export.add_argument("out", metavar="OUT", type=Path, help="file or folder to write")
    export.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a choice that the format offers, such as layout=dense for npz; repeatable",
    )
    export.set_defaults(call=_export)


def _add_evaluate(commands: Commands[Parser]) -> None:
    evaluate = add_command(
        commands,
        "evaluate",
        "score 3D instances, or tracks in the image, against ground truth",
        """
my3dis evaluate runs/scene0000_00/default --gt scans/scene0000_00/gt
my3dis evaluate instances.npz --gt gt_instances.txt --json scores.json
my3dis evaluate runs --gt gt_txt --protocol scannet_v2_merged --scenes val.txt
my3dis evaluate runs/scene0000_00/default --gt scans/scene0000_00/gt --protocol identity
docs/evaluation.md explains the protocols.
""",
    )
    evaluate.add_argument(
        "predictions",
        metavar="RUN_DIR|instances.npz|DIR",
        type=Path,
        help="what to score; DIR: many scenes, as runs, .npz files or ScanNet's text files",
    )
    evaluate.add_argument(
        "--gt",
        metavar="FILE|DIR",
        type=Path,
        required=True,
        help="ground truth; for many scenes a folder of <scene>.txt, <scene>.npz or scans",
    )
    evaluate.add_argument("--protocol", metavar="NAME", help="how to score; default class_agnostic")
    evaluate.add_argument("--run", metavar="NAME", help="which run, where scenes have several")
    evaluate.add_argument(
        "--scenes", metavar="FILE", type=Path, help="score the scenes listed there; default all"
    )
    evaluate.add_argument(
        "--ten",
        action="store_true",
        help="mean over ten overlaps up to 0.95 instead of ScanNet's nine; compares with no published figure",
    )
    evaluate.add_argument("--json", metavar="FILE", type=Path, help="write all scores there too")
    evaluate.set_defaults(call=_evaluate)


def _add_verify(commands: Commands[Parser]) -> None:
    verify = add_command(
        commands,
        "verify",
        "check every mask of an archive, or of all archives of a run",
        """
my3dis verify runs/scan1/default
my3dis verify --containment runs/scan1/default/masks.my3dis
my3dis verify runs/scan1/default/tracks.my3dis --salvage tracks-saved.my3dis
""",
    )
    verify.add_argument("path", metavar="PATH", type=Path, help="archive, or folder of a run")
    verify.add_argument(
        "--containment",
        action="store_true",
        help="also check that masks lie in their parents; masks that a tracker carried on need not",
    )
    verify.add_argument(
        "--salvage",
        metavar="OUT",
        type=Path,
        help="save all sound masks in a new archive, or in a new folder if PATH is one",
    )
    verify.set_defaults(call=_verify)


def _evaluate(arguments: argparse.Namespace, console: Console) -> int:
    del console
    from my3dis.runs.scores import format_scores, save_scores
    from my3dis.stages.evaluate_files import EvaluateOptions, evaluate_files

    protocol = {} if arguments.protocol is None else {"protocol": arguments.protocol}
    options = EvaluateOptions(run=arguments.run, scenes=arguments.scenes, ten=arguments.ten)
    scores = evaluate_files(arguments.predictions, arguments.gt, options=options, **protocol)
    print(format_scores(scores))
    if arguments.json is not None:
        save_scores(arguments.json, scores)
    return EXIT_OK


def _inspect(arguments: argparse.Namespace, console: Console) -> int:
    del console
    from my3dis.archive.inspect import format_summary, inspect

    paths = _archives(arguments.path)
    if not arguments.json:
        print("\n\n".join(format_summary(inspect(path)) for path in paths))
    elif arguments.path.is_dir():
        print("[" + ",\n".join(inspect(path).to_json() for path in paths) + "]")
    else:
        print(inspect(paths[0]).to_json())
    return EXIT_OK


def _verify(arguments: argparse.Namespace, console: Console) -> int:
    del console
    from my3dis.archive.verify import format_report, verify

    code = EXIT_OK
    paths = _archives(arguments.path)
    for path in paths:
        try:
            report = verify(path, containment=arguments.containment)
        except ArchiveError as error:
            if len(paths) == 1:
                raise
            print(error)
            code = error.exit_code
            continue
        print(format_report(report))
        if not report.ok:
            code = ArchiveError.exit_code
        if arguments.salvage is not None:
            _salvage(path, arguments.salvage, into_folder=arguments.path.is_dir())
    return code


def _salvage(path: Path, out: Path, *, into_folder: bool) -> None:
    from my3dis.archive.salvage import format_salvage, salvage
    from my3dis.runs.files import make_folder

    print(format_salvage(salvage(path, make_folder(out) / path.name if into_folder else out)))


def _archives(path: Path) -> list[Path]:
    """Return the archive itself, or those of a run in the order in which they are made."""
    if not path.is_dir():
        return [path]
    layout = RunLayout(path)
    found = [file for file in (layout.candidates, layout.masks, layout.tracks) if file.is_file()]
    if not found:
        raise DataError(f"expected a mask archive or the folder of a run, found no archive in {path}")
    return found


def _export(arguments: argparse.Namespace, console: Console) -> int:
    del console
    from my3dis import plugins

    plugin = plugins.exporter(arguments.to)
    if not arguments.run_dir.is_dir():
        raise DataError(f"expected the folder of a run, found none at {arguments.run_dir}; check the path")
    export = _with_options(plugin, arguments.to, arguments.option)
    code = EXIT_OK
    try:
        paths = export(arguments.run_dir, arguments.out)
    except ArchiveError as error:
        paths = _export_sound_masks(export, arguments.run_dir, arguments.out, error)
        code = error.exit_code
    for path in paths:
        print(path)
    return code


def _export_sound_masks(export: Exporter, run_dir: Path, out: Path, error: ArchiveError) -> tuple[Path, ...]:
    """Export from a copy of a run that has the sound masks of its damaged archives, and say what is lost.

    Raises:
        ArchiveError: as given, if no archive of the run is damaged; else if nothing can be saved.
    """
    from my3dis.archive.salvage import format_salvage, salvage
    from my3dis.runs.files import make_folder

    # Beside the result there is room for a copy, or there is none for the result either.
    scratch = make_folder(out.absolute().parent)
    with tempfile.TemporaryDirectory(prefix=".tmp-sound-", dir=scratch) as folder:
        copy = make_folder(Path(folder) / run_dir.absolute().name)
        reports = []
        for entry in sorted(run_dir.absolute().iterdir()):
            if entry.suffix == ".my3dis" and not _is_sound(entry):
                reports.append(salvage(entry, copy / entry.name))
            elif ".my3dis-" not in entry.name:  # logs belong to the files themselves, not to their copies
                (copy / entry.name).symlink_to(entry)
        if not reports:
            raise error
        _LOG.warning(
            "%s; every sound mask is exported, and this command ends with %d", error, error.exit_code
        )
        for report in reports:
            _LOG.warning("%s", format_salvage(report))
        return export(copy, out)


def _is_sound(path: Path) -> bool:
    from my3dis.archive.verify import verify

    try:
        return verify(path).ok
    except ArchiveError:
        return False


def _with_options(plugin: ExporterPlugin, name: str, texts: list[str]) -> Exporter:
    """Return the exporter for what ``--option`` says; of several for one name the last wins."""
    chosen: dict[str, str] = {}
    for text in texts:
        option, separator, value = text.partition("=")
        known = {offered.name: offered for offered in plugin.options}
        if not separator or option not in known or not known[option].accepts(value):
            choices = "; ".join(f"{offered.name}={offered.choices}" for offered in plugin.options)
            raise ConfigError(
                f"--option: expected {choices or f'none, as the format {name} offers none'}; found {text!r}"
            )
        chosen[option] = value
    return plugin.with_options(chosen) if chosen and plugin.with_options else plugin.export
