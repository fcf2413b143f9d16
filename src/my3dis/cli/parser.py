"""A parser of arguments that names the nearest right word, and the options that several commands share."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from my3dis.config.load import Option, option_from_text
from my3dis.errors import ConfigError

__all__ = ["Commands", "Parser", "add_command", "add_executor", "add_settings", "make_parser"]

Commands = argparse._SubParsersAction


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError instead of printing the usage; the command line's `main` prints it."""
        wrong = re.search(r"invalid choice: '?([^']*)'? \(choose from (.*)\)$", message)
        if wrong:
            known = re.findall(r"[\w-]+", wrong[2])
            message = f"unknown {'command' if 'COMMAND' in message else 'value'} {wrong[1]!r}"
            message += _nearest(wrong[1], known)
        raise ConfigError(f"{message}\nTry '{self.prog} --help'.")

    def parse(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Return the parsed arguments.

        Raises:
            ConfigError: naming the nearest option or command.
        """
        parsed, extra = self.parse_known_args(arguments)
        if not extra:
            return parsed
        parser: Parser = getattr(parsed, "parser", self)
        wrong = next((word for word in extra if word.startswith("-")), extra[0])
        if not wrong.startswith("-"):
            parser.error(f"unexpected argument {wrong!r}")
        options = [name for action in parser._actions for name in action.option_strings]
        name = wrong.partition("=")[0]
        return parser.error(f"unknown option {name!r}{_nearest(name, options)}")


def make_parser(version: str, description: str, epilog: str) -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="my3dis",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"my3dis {version}")
    return parser


def add_command(commands: Commands[Parser], name: str, summary: str, examples: str) -> Parser:
    """Add a command with a one-line summary and examples in its help."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {line}".rstrip() for line in examples.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="store_true", help="say more while it works")
    loudness.add_argument(
        "-q", "--quiet", action="store_true", help="say only warnings, errors and the result"
    )
    return parser


def add_settings(parser: Parser) -> None:
    """Add the options that change settings; of several for one key the last wins."""
    parser.set_defaults(options=[])
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action=_Set,
        help="set any setting, VALUE read as YAML; repeatable (docs/configuration.md lists them)",
    )
    for option, key, metavar, text in (
        ("--dataset", "experiment.dataset", "NAME", "layout of the scan; default auto"),
        ("--output", "experiment.output_root", "DIR", "folder for all runs; default outputs"),
        ("--name", "experiment.name", "NAME", "name of this run's folder; default 'default'"),
        ("--levels", "experiment.levels", "L,L,..", "granularities, coarse to fine; default 2,4,6"),
        ("--frames", "experiment.frames", "START:END:STEP", "which frames, as a Python slice; default all"),
    ):
        kind = Path if option == "--output" else str
        parser.add_argument(option, metavar=metavar, action=_Set, dest=key, type=kind, help=text)


def add_executor(parser: Parser) -> None:
    """Add the options that say where the jobs of a list of scenes run; `add_settings` comes before."""
    for option, key, metavar, text in (
        ("--executor", "experiment.executor", "NAME", "where jobs run: local, ray or slurm; default local"),
        ("--address", "experiment.ray_address", "HOST:PORT", "of the Ray cluster; auto = of this machine"),
    ):
        parser.add_argument(option, metavar=metavar, action=_Set, dest=key, help=text)


class _Set(argparse.Action):
    """Collects settings in the order in which they stand on the command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        del parser
        option = option_string or ""
        made = option_from_text(str(values)) if option == "--set" else Option(self.dest, values, option)
        namespace.options = [*namespace.options, made]


def _nearest(wrong: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(known)}"
