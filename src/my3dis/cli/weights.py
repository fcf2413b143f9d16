"""The command ``my3dis weights``: which weights there are, where they are, and whether they are whole."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.backends.torch_models.extras import needs_extra
from my3dis.backends.torch_models.sources import (
    BACKENDS,
    SOURCES,
    WeightSource,
    how_to_get,
    setting_of,
    sources_of,
    variable_of,
)
from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.errors import EXIT_OK, ConfigError, PluginError

if TYPE_CHECKING:
    from rich.console import Console

    from my3dis.config import Config

__all__ = ["add_commands"]

_CHOICES = "list, path, convert or verify"


def add_commands(commands: Commands[Parser]) -> None:
    """Add the command with its four actions."""
    weights = add_command(
        commands,
        "weights",
        "list model weights, find, convert and verify them",
        """
my3dis weights list                                   what there is, under which licence, what is here
my3dis weights path sam2_auto                         where that back end would load from, and why
my3dis weights convert swinl_only_sam_many2many.pth swinl.safetensors
my3dis weights verify swinl.safetensors               opens it and checks every tensor
MY3DIS_STAGES__SSAM__CHECKPOINT=swinl.safetensors my3dis weights path semantic_sam
""",
    )
    weights.set_defaults(call=_without_action)
    actions = weights.add_subparsers(metavar="ACTION", dest="action", title="actions")

    listing = add_command(
        actions,
        "list",
        "list the published weights, where they come from, their licence, and which are here",
        "my3dis weights list",
    )
    listing.set_defaults(call=_list)

    path = add_command(
        actions,
        "path",
        "print where a back end would load from (standard output: the path alone), and why",
        """
my3dis weights path semantic_sam
my3dis weights path sam2.1-tiny
my3dis weights path sam2_video --config my.yaml
""",
    )
    path.add_argument(
        "name", metavar="NAME", help="a back end, or weights as `my3dis weights list` names them"
    )
    path.add_argument("--config", metavar="FILE", type=Path, help="settings file that counts too")
    path.set_defaults(call=_path)

    convert = add_command(
        actions,
        "convert",
        "make safetensors, which cannot hold code, of a Semantic-SAM checkpoint",
        "my3dis weights convert swint_only_sam_many2many.pth swint.safetensors",
    )
    convert.add_argument("source", metavar="IN.pth", type=Path, help="the checkpoint as published")
    convert.add_argument("target", metavar="OUT.safetensors", type=Path, help="the file to write")
    convert.add_argument("--force", action="store_true", help="replace the file when it is there")
    convert.set_defaults(call=_convert)

    verify = add_command(
        actions,
        "verify",
        "load weights as their back end does, check that all are there, and print their SHA-256",
        "my3dis weights verify swint.safetensors\nmy3dis weights verify facebook/sam2.1-hiera-tiny",
    )
    verify.add_argument(
        "path",
        metavar="PATH|ID",
        help="file, folder with config.json and safetensors, or id of a model in the hub's local cache",
    )
    verify.set_defaults(call=_verify)


def _without_action(arguments: argparse.Namespace, console: Console) -> int:
    del console
    parser: Parser = arguments.parser
    return parser.error(f"expected an action: {_CHOICES}")


def _list(arguments: argparse.Namespace, console: Console) -> int:
    del arguments, console
    config = _settings(None)
    for backend in BACKENDS:
        print(f"{backend}: set {setting_of(backend)} or {variable_of(backend)}")
        for source in sources_of(backend):
            found = _here(source, config)
            print(f"  {source.name:<22} {source.checkpoint:<34} licence: {source.licence}")
            print(f"  {'':<22} from {source.url}")
            if source.remark:
                print(f"  {'':<22} {source.remark}")
            print(f"  {'':<22} {f'here: {found}' if found else 'not here'}")
    for key, value in _set_checkpoints(config):
        print(f"set now: {key} = {value}")
    return EXIT_OK


def _path(arguments: argparse.Namespace, console: Console) -> int:
    del console
    config = _settings(arguments.config)
    name: str = arguments.name
    if name in BACKENDS:
        path, why = _path_of_backend(name, config, arguments.config)
    else:
        source = next((source for source in SOURCES if source.name == name), None)
        if source is None:
            known = [*BACKENDS, *(source.name for source in SOURCES)]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise ConfigError(f"no back end and no weights are called {name!r}; {hint}")
        found = _here(source, config)
        if found is None:
            raise ConfigError(
                f"{name} is not on this machine; get it from {source.url}, then set "
                f"{setting_of(source.backend)}={source.checkpoint} or {variable_of(source.backend)}"
            )
        path, why = found, f"{source.checkpoint} as {source.backend} would find it"
    print(path)
    print(why, file=sys.stderr)
    return EXIT_OK


def _path_of_backend(backend: str, config: Config, file: Path | None) -> tuple[Path, str]:
    from my3dis.backends.torch_models.weights import HubId, local_weights

    value = dict(_set_checkpoints(config)).get(setting_of(backend))
    if value is None:
        raise ConfigError(f"{backend} has no checkpoint set; {how_to_get(backend)}")
    variable = variable_of(backend)
    if os.environ.get(variable):
        origin = f"the environment variable {variable}"
    else:
        origin = f".env or {file}" if file else ".env"
    found = local_weights(value)
    if found is not None:
        what = (
            "in the local cache of the hub" if HubId.parse(value) and not Path(value).exists() else "a path"
        )
        return found, f"{setting_of(backend)} is {value} by {origin}: {what}"
    if HubId.parse(value):
        raise PluginError(
            f"{backend} would download {value} (set by {origin}): it is neither a path nor in the local cache"
        )
    raise ConfigError(
        f"{backend} would load {value} (set by {origin}), which is not there; {how_to_get(backend)}"
    )


def _convert(arguments: argparse.Namespace, console: Console) -> int:
    del console
    source, target = arguments.source, arguments.target
    if target.suffix != ".safetensors":
        raise ConfigError(f"expected a target that ends in .safetensors, found {target}")
    if target.exists() and not arguments.force:
        raise ConfigError(f"{target} is there already; give another name, or --force to replace it")
    with needs_extra("my3dis weights convert", "semantic-sam"):
        from my3dis.backends.torch_models import convert
    from my3dis.runs.files import atomic_path, make_folder
    from my3dis.runs.provenance import file_digest

    found = convert.converted(source)
    digest = file_digest(source)
    make_folder(target.absolute().parent)
    with atomic_path(target.absolute()) as temporary:
        metadata = {"source": source.name, "source_sha256": digest}
        convert.write_safetensors(found.tensors, temporary, metadata)
    print(f"{found.model}: {len(found.tensors)} tensors")
    print(f"dropped: {', '.join(found.dropped) or 'nothing'}")
    print(f"sha256 {digest}  {source}")
    print(f"sha256 {file_digest(target)}  {target}")
    return EXIT_OK


def _verify(arguments: argparse.Namespace, console: Console) -> int:
    del console
    with needs_extra("my3dis weights verify", "models"):
        from my3dis.backends.torch_models.verify import verify_weights
    from my3dis.backends.torch_models.weights import local_weights
    from my3dis.runs.provenance import file_digest

    with needs_extra("my3dis weights verify", "models"):
        found = verify_weights(local_weights(arguments.path) or Path(arguments.path))
    print(f"{found.model}, for {', '.join(found.backends)}")
    for sentence in found.found:
        print(f"  {sentence}")
    for file in found.files:
        print(f"sha256 {file_digest(file)}  {file}")
    return EXIT_OK


def _settings(file: Path | None) -> Config:
    from my3dis.config.load import load_config

    return load_config(file)


def _set_checkpoints(config: Config) -> list[tuple[str, str]]:
    pairs = (
        ("stages.ssam.checkpoint", config.stages.ssam.checkpoint),
        ("stages.tracker.checkpoint", config.stages.tracker.checkpoint),
    )
    return [(key, value) for key, value in pairs if value]


def _here(source: WeightSource, config: Config) -> Path | None:
    """Return where weights are: set, in the hub's cache, or a file of that name in this folder."""
    from my3dis.backends.torch_models.weights import local_weights

    for key, value in _set_checkpoints(config):
        if key == setting_of(source.backend) and _is_same(source, value):
            return local_weights(value)
    return local_weights(source.checkpoint)


def _is_same(source: WeightSource, value: str) -> bool:
    return value == source.checkpoint or Path(value).name == source.checkpoint
