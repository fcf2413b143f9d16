"""Put the settings together: command line > environment > ``.env`` > YAML > defaults.

Each source becomes a `Layer` that knows where its values came from, so that a mistake is reported with the
key, the place and the nearest right key.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from my3dis.config.experiment import frames_from_text
from my3dis.config.fields import ENV_PREFIX, NESTING, SECTIONS, SETTINGS, nearest_key, variable_of
from my3dis.config.problems import describe, shown
from my3dis.config.schema import Config
from my3dis.config.yaml_text import read_yaml_file, read_yaml_value
from my3dis.errors import ConfigError

__all__ = ["NOT_SETTINGS", "Option", "load_config", "option_from_text"]

NOT_SETTINGS = frozenset({"MY3DIS_TEST_DATA"})
"""Variables with our prefix that are no settings: where the tests find their data."""

_FRAMES = "experiment.frames"
_LONGEST_KEY = 80


@dataclass(frozen=True, slots=True)
class Option:
    """One value given on the command line.

    Attributes:
        key: dotted key of a setting.
        value: what it is set to.
        origin: how the user wrote it, such as ``--levels``.
    """

    key: str
    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Layer:
    """The settings of one source: dotted key → value, and how to name the place of a key."""

    values: dict[str, object]
    place: Callable[[str], str]


def option_from_text(text: str) -> Option:
    """Return the option of a ``--set KEY=VALUE``; VALUE is read as YAML.

    Raises:
        ConfigError: if there is no ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"expected --set KEY=VALUE, found --set {text!r}; try --set stages.ssam.ssam_freq=2"
        )
    return Option(key.strip(), read_yaml_value(value), f"--set {key.strip()}")


def load_config(
    yaml_file: Path | None = None,
    *,
    options: Sequence[Option] = (),
    values: Mapping[str, object] | None = None,
    dotenv: Path | None = Path(".env"),
    environment: bool = True,
) -> Config:
    """Return the settings that all sources together give.

    Args:
        yaml_file: settings file, or None.
        options: values of the command line; the last one of a key wins.
        values: nested or dotted settings given in Python; they stand where the command line does.
        dotenv: file of variables, read when it is there; None reads none.
        environment: whether ``MY3DIS_*`` variables count; without them ``dotenv`` does not either.

    Raises:
        ConfigError: with one sentence per problem: the key, where it was set, what was expected and found.
    """
    layers = []
    if yaml_file is not None:
        layers.append(Layer(_flat(read_yaml_file(yaml_file)), lambda _: f"in {yaml_file}"))
    if environment:
        layers.extend(_environment_layers(dotenv))
    if values is not None:
        layers.append(Layer(_flat(values), lambda _: "in the settings given in Python"))
    if options:
        layers.append(_option_layer(options))
    return _validated(layers)


def _validated(layers: Sequence[Layer]) -> Config:
    problems = [sentence for layer in layers for sentence in _unknown(layer)]
    if problems:
        raise ConfigError(_joined(problems))
    merged: dict[str, object] = {}
    for layer in layers:
        merged.update(layer.values)
    try:
        return Config.model_validate(_nested(merged))
    except ValidationError as error:
        raise ConfigError(_joined(describe(error, lambda key: _place(layers, key)))) from None


def _place(layers: Sequence[Layer], key: str) -> str:
    for layer in reversed(layers):
        for name in layer.values:
            if name == key or name.startswith(f"{key}."):
                return layer.place(name)
    return "by default"


def _unknown(layer: Layer) -> Iterator[str]:
    """Yield a sentence for every key of a layer that the schema does not know."""
    for key, value in layer.values.items():
        place = layer.place(key)
        if key == _FRAMES:
            found = shown(value)
            yield f"{key}: expected start:end:step such as 1200:1600:20 or ::8, found {found} ({place})"
        elif key in SECTIONS:  # the section's values were no mapping
            yield f"{key}: expected a section with settings in it, found {shown(value)} ({place})"
        elif len(key) > _LONGEST_KEY:
            yield f"unknown setting {key[:_LONGEST_KEY]}... ({place}); see docs/configuration.md"
        elif key not in SETTINGS:
            near = nearest_key(key)
            if near and place.startswith("as "):
                near = variable_of(near)
            hint = f"did you mean {near}?" if near else "docs/configuration.md lists all settings"
            yield f"unknown setting {key} ({place}); {hint}"


def _joined(sentences: Sequence[str]) -> str:
    if len(sentences) == 1:
        return sentences[0]
    return f"{len(sentences)} settings are wrong:\n" + "\n".join(f"  - {sentence}" for sentence in sentences)


def _flat(values: Mapping[Any, object], prefix: str = "") -> dict[str, object]:
    """Return dotted keys of nested settings; ``experiment.frames`` may be text."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key == _FRAMES and isinstance(value, Mapping) and [*value.values()] == [None]:
            value = f"{next(iter(value))}:"  # noqa: PLW2901 (YAML reads `60:` as a mapping; it is a slice)
        if key == _FRAMES and isinstance(value, str):
            with contextlib.suppress(ValueError):  # what is no slice is reported with its place later
                value = frames_from_text(value)  # noqa: PLW2901 (text is another spelling of the section)
        if isinstance(value, Mapping) and key not in SETTINGS:
            flat.update(_flat(value, f"{key}."))
        elif not (value is None and key in SECTIONS):  # an empty section sets nothing
            flat[key] = value
    return flat


def _nested(flat: Mapping[str, object]) -> dict[str, object]:
    nested: dict[str, object] = {}
    for key, value in flat.items():
        *sections, leaf = key.split(".")
        place: dict[str, Any] = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = value
    return nested


def _option_layer(options: Sequence[Option]) -> Layer:
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for option in options:
        for key, value in _flat({option.key: option.value}).items():
            values[key] = value
            origins[key] = option.origin
    return Layer(values, lambda key: f"given with {origins[key]}")


def _environment_layers(dotenv: Path | None) -> Iterator[Layer]:
    """Yield the layers of ``.env`` and of the environment, read by pydantic-settings."""
    from pydantic_settings import (
        BaseSettings,
        DotEnvSettingsSource,
        EnvSettingsSource,
        SettingsConfigDict,
    )

    class Variables(BaseSettings):
        model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True)

    if dotenv is not None and dotenv.is_file():
        try:
            source = DotEnvSettingsSource(Variables, env_file=dotenv, env_file_encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {dotenv}: {error}") from error
        yield _variable_layer(source.env_vars, f" in {dotenv}")
    yield _variable_layer(EnvSettingsSource(Variables).env_vars, " in the environment")


def _variable_layer(variables: Mapping[str, str | None], where: str) -> Layer:
    nested: dict[str, object] = {}
    names: dict[str, str] = {}
    ours = {
        name: text
        for name, text in variables.items()
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in NOT_SETTINGS and text
    }
    for name in sorted(ours, key=lambda n: n.count(NESTING)):  # a section first, then single settings in it
        key = name.lower().removeprefix(ENV_PREFIX.lower()).replace(NESTING, ".")
        for inner, value in _flat({key: read_yaml_value(ours[name] or "")}).items():
            nested[inner] = value
            names[inner] = name.upper()
    return Layer(nested, lambda key: f"as {names[key]}{where}")
