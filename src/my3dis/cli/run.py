"""The commands that make runs: demo, run and stage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command, add_executor, add_settings
from my3dis.errors import ConfigError, StageError

if TYPE_CHECKING:
    from rich.console import Console

    from my3dis.cli.run_json import JsonOutput
    from my3dis.config import Config
    from my3dis.scheduling.sweep import SweepResult

__all__ = ["add_commands"]

_STAGES = ("candidates", "filter", "track", "lift", "evaluate", "report")


def add_commands(commands: Commands[Parser]) -> None:
    """Add the commands."""
    demo = add_command(
        commands,
        "demo",
        "run the built-in scan through all stages",
        "my3dis demo\nmy3dis demo --output /tmp/demo",
    )
    demo.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("my3dis-demo"), help="default ./my3dis-demo"
    )
    demo.set_defaults(call=_demo)
    _add_run(commands)
    _add_stage(commands)


def _add_run(commands: Commands[Parser]) -> None:
    run = add_command(
        commands,
        "run",
        "take one scan, or a list of scenes, through all stages",
        """
my3dis run --scan scans/scene0000_00 --output runs
my3dis run --scan video.mp4 --output runs --frames 0:600:10 --levels 2,4
my3dis run --scan scans/scene0000_00 --output runs --set stages.lift.min_points=100
my3dis run experiment.yaml               every scene that the settings name, several at once
my3dis run experiment.yaml --dry-run     say what would be done
my3dis run experiment.yaml --executor ray --address auto
                                         the same on a Ray cluster; --executor slurm through SLURM
my3dis run experiment.yaml --json        the result for scripts, failures included

The same command continues a run that was stopped, and repeats only what a changed setting affects.
""",
    )
    run.add_argument("config", metavar="CONFIG.yaml", nargs="?", type=Path, help="settings file")
    run.add_argument(
        "--config", metavar="FILE", type=Path, dest="config_option", help="the same, as an option"
    )
    run.add_argument("--scan", metavar="PATH", type=Path, help="folder or video file of one scan")
    add_settings(run)
    add_executor(run)
    run.add_argument("--keep", action="store_true", help="refuse to replace results made with other settings")
    _add_profile(run)
    run.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")
    run.add_argument(
        "--json",
        action="store_true",
        help="print the result (or the plan) as JSON and nothing else to stdout",
    )
    run.set_defaults(call=_run)


def _add_stage(commands: Commands[Parser]) -> None:
    stage = add_command(
        commands,
        "stage",
        "make one stage of a finished run again",
        """
my3dis stage lift runs/scan1/default
my3dis stage track runs/scan1/default --levels 4
my3dis stage track runs/scan1/default --levels 4 --profile-memory
                                         print the stage's memory over its frames, with peak and slope, and
                                         keep it in the run's folder

Stages that read its result become stale; `my3dis run` makes them again.
""",
    )
    stage.add_argument("stage", metavar="STAGE", choices=_STAGES, help=", ".join(_STAGES))
    stage.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="folder of the run")
    stage.add_argument("--levels", metavar="L,L,..", help="only these of the run's levels")
    _add_profile(stage)
    stage.set_defaults(call=_stage)


def _add_profile(parser: Parser) -> None:
    """Add the option that keeps the curve of memory."""
    parser.add_argument(
        "--profile-memory",
        action="store_true",
        help="print memory over the frames done, sampled every 50 ms and at each frame, with peak and slope; "
        "kept as memory_profile.json and memory_profile.svg in the run's folder",
    )


def _demo(arguments: argparse.Namespace, console: Console) -> int:
    from my3dis.cli.console import display_for, print_result
    from my3dis.config import Config
    from my3dis.datasets.synthetic import built_in_scan
    from my3dis.pipeline import run_scan
    from my3dis.runs.files import make_folder

    display = display_for(arguments, console)
    folder = make_folder(arguments.output.absolute())
    display.say("Demo", "writing the built-in scan: a small room, drawn by this program")
    scan = built_in_scan(folder / "scan")
    # Defaults only: what the user has set for real scans would make the demo another one on each machine.
    print_result(run_scan(scan, folder, Config(), display=display))
    return 0


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from my3dis.cli.run_json import JsonOutput

    output = JsonOutput(wanted=arguments.json)
    with output.telling_errors():
        return _run_settings(arguments, console, output)


def _run_settings(arguments: argparse.Namespace, console: Console, output: JsonOutput) -> int:
    from my3dis.cli.console import display_for, print_memory, print_result
    from my3dis.config.load import load_config
    from my3dis.pipeline import run_scan

    file = _settings_file(arguments)
    config = load_config(file, options=arguments.options)
    if arguments.scan is None:
        if arguments.dry_run:
            return _print_plan(arguments, config, output)
        return _run_list(arguments, console, config, output)
    display = display_for(arguments, console)
    if config.experiment.executor != "local":
        display.say("Executor", f"one scan runs here; {config.experiment.executor} is for lists of scenes")
    result = run_scan(
        arguments.scan,
        None,
        config,
        keep=arguments.keep,
        dry_run=arguments.dry_run,
        profile_memory=arguments.profile_memory,
        display=display,
    )
    if output.wanted:
        output.print_run(result, planned=arguments.dry_run)
    elif not arguments.dry_run:
        print_memory(result)
        print_result(result)
    return 0


def _settings_file(arguments: argparse.Namespace) -> Path | None:
    file: Path | None = arguments.config or arguments.config_option
    if arguments.config and arguments.config_option:
        raise ConfigError("expected one settings file, found two: CONFIG.yaml and --config; leave one out")
    if file is not None and file.is_dir():
        raise ConfigError(f"expected a settings file, found the folder {file}; did you mean --scan {file}?")
    return file


def _print_plan(arguments: argparse.Namespace, config: Config, output: JsonOutput) -> int:
    from my3dis.scheduling.executors.choose import executor_for
    from my3dis.scheduling.plan import format_plan, survey_sweep

    executor = executor_for(config)
    survey = survey_sweep(config, keep=arguments.keep, gpus=executor.gpus())
    if output.wanted:
        output.print_plan(survey.plan, survey.notes)
    else:
        there = executor.describe(survey.plan)
        print(format_plan(survey.plan, survey.notes, survey.capacity, elsewhere=there))
    return 0


def _run_list(arguments: argparse.Namespace, console: Console, config: Config, output: JsonOutput) -> int:
    from my3dis.cli.console import dashboard_of
    from my3dis.scheduling.executors.choose import executor_for
    from my3dis.scheduling.executors.options import ExecutorOptions
    from my3dis.scheduling.plan import plan_sweep
    from my3dis.scheduling.sweep import run_sweep

    executor = executor_for(config, ExecutorOptions(profile_memory=arguments.profile_memory))
    plan = plan_sweep(config, keep=arguments.keep, gpus=executor.gpus())
    dashboard = dashboard_of(plan, arguments, console)
    with dashboard:
        result = run_sweep(
            plan, executor, lambda event: dashboard.tell(event.kind, event.text, event.job_id, event.facts)
        )
    if output.wanted:
        output.print_sweep(plan.output_root)
    else:
        _print_table(result)
        print(result.page)
    if result.was_interrupted:
        raise KeyboardInterrupt
    if result.failed:
        raise StageError(
            f"{result.failed} of {len(result.scenes)} scenes failed (see above); run the same command to try "
            "them again"
        )
    return 0


def _print_table(result: SweepResult) -> None:
    width = max(len(scene.scene) for scene in result.scenes)
    for scene in result.scenes:
        said = scene.message if scene.status == "failed" else scene.report or scene.run_dir
        print(f"{scene.scene:<{width}}  {scene.status:<9} {said}")
        for sentence in scene.evidence:
            print(f"{'':<{width}}            {sentence}")


def _stage(arguments: argparse.Namespace, console: Console) -> int:
    from my3dis.cli.console import display_for, print_memory
    from my3dis.pipeline import run_stage

    levels = None
    if arguments.levels is not None:
        parts = arguments.levels.strip("[] ").split(",")
        if not all(part.strip().isdecimal() for part in parts):
            raise ConfigError(f"--levels: expected numbers such as 2,4; found {arguments.levels!r}")
        levels = tuple(int(part) for part in parts)
    result = run_stage(
        arguments.run_dir,
        arguments.stage,
        levels=levels,
        profile_memory=arguments.profile_memory,
        display=display_for(arguments, console),
    )
    print_memory(result)
    print(result.run_dir)
    return 0
