"""Settings that somebody else wrote, by mistake or on purpose: answered with an error, in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.config import Config
from my3dis.config.load import load_config, option_from_text
from my3dis.config.yaml_text import MAX_BYTES
from my3dis.errors import ConfigError

BOUND_MB = 64
"""What reading settings may take at most, whatever is in them."""


def laughs() -> str:
    """Ten anchors, each ten times the one before: ten billion values in half a kilobyte."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join(lines) + "\nexperiment: {levels: *a9}\n"


CORPUS: dict[str, tuple[str, str]] = {
    "anchors that unfold into billions": (laughs(), "more than 100000 values"),
    "an anchor that contains itself": ("experiment: &a {levels: [*a]}\n", "contains itself"),
    "a mapping inside itself": ("&a {experiment: *a}\n", "contains itself"),
    "merging itself": ("experiment: &a {<<: *a}\n", "contains itself"),
    "deep lists": ("experiment: {levels: " + "[" * 50_000 + "]" * 50_000 + "}", "deep"),
    "deep sections": ("{a: " * 40_000 + "1" + "}" * 40_000, "deep"),
    "deep indentation": ("\n".join(" " * i + "a:" for i in range(900)), "deep"),
    "a number of 100,000 digits": (
        "experiment: {seed: " + "9" * 100_000 + "}",
        "claims to be|seed: expected",
    ),
    "a number beyond 64 bits": ("experiment: {seed: " + "9" * 30 + "}\nstages: {gpu: -1}", "stages.gpu"),
    "infinity": ("stages: {lift: {voxel_m: .inf}}", "voxel_m: expected"),
    "a date that is none": ("experiment: !!timestamp tomorrow", "claims to be"),
    "a truth that is none": ("experiment: !!bool perhaps", "claims to be"),
    "a number that is none": ("experiment: !!int one", "claims to be"),
    "bytes that are none": ("experiment: !!binary '%%%'", "no YAML|section"),
    "pairs that are none": ("experiment: !!omap [1]", "no YAML"),
    "a set": ("experiment: !!set {a, b}", "section"),
    "a tag of Python": ("experiment: !!python/object/new:os.system [ls]", "no YAML"),
    "a list as a key": ("? [1, 2]\n: 3\n", "no YAML"),
    "two documents": ("experiment: {}\n---\nexperiment: {}\n", "no YAML"),
    "a directive": ("%YAML 9.9\n---\n{}\n", "no YAML"),
    "an anchor that is none": ("experiment: *nothing", "no YAML"),
    "a long unknown key": ("? " + "x" * 200_000 + "\n: 1\n", "unknown setting"),
    "a long value": ("experiment: {levels: " + "y" * 100_000 + "}", "experiment.levels"),
    "a long section": ("experiment: [" + "1, " * 5_000 + "]", "section"),
    "a file of another kind": ("x" * (MAX_BYTES + 1), "at most"),
}


@pytest.mark.parametrize("case", CORPUS)
def test_hostile_settings_are_answered(case: str, tmp_path: Path) -> None:
    """Each is refused as a mistake in the settings, in at most 64 MB, with a message that fits a screen."""
    content, words = CORPUS[case]
    file = tmp_path / "run.yaml"
    file.write_text(content)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=words) as caught:
            load_config(file, environment=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < BOUND_MB << 20
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("case", CORPUS)
def test_hostile_values_are_answered(case: str) -> None:
    """The same text after ``--set KEY=`` and in a variable is text or a mistake, never anything else."""
    text = CORPUS[case][0]
    for key in ("experiment.levels", "experiment", "stages.ssam.min_area", "experiment.tag"):
        try:
            load_config(options=[option_from_text(f"{key}={text}")], environment=False)
        except ConfigError as error:
            assert len(str(error)) < 2000


WORDS = st.sampled_from(
    [
        *("experiment", "stages", "ssam", "levels", "frames", "&a", "*a", "<<", "!!int", "!!set", "|", ">"),
        *("?", "-", "{", "}", "[", "]", ":", ": ", ",", "\n", "\n  ", "#", "'", '"', "~", "1e9", "0x1"),
        *("::8", "%", "\t", "\u2028"),
    ]
)


def never_more_than_an_error(text: str) -> None:
    try:
        option = option_from_text(text if "=" in text else f"experiment={text}")
        assert isinstance(load_config(options=[option], environment=False), Config)
    except ConfigError:
        pass


@given(st.lists(WORDS, max_size=25).map("".join) | st.text(max_size=60))
def test_noise_is_settings_or_a_mistake(text: str) -> None:
    """Whatever stands after ``--set`` gives settings or a ConfigError."""
    never_more_than_an_error(text)


@given(st.lists(WORDS, max_size=25).map("".join).map(str.encode) | st.binary(max_size=80))
def test_noise_in_a_file_is_settings_or_a_mistake(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Whatever a settings file holds gives settings or a ConfigError that names the file."""
    file = tmp_path_factory.getbasetemp() / "noise.yaml"
    file.write_bytes(data)
    try:
        load_config(file, environment=False)
    except ConfigError as error:
        assert "noise.yaml" in str(error)


@pytest.mark.soak
@settings(max_examples=30_000, deadline=None)
@given(st.lists(WORDS, max_size=60).map("".join) | st.text(max_size=200))
def test_much_noise_is_settings_or_a_mistake(text: str) -> None:
    """The same, for minutes."""
    never_more_than_an_error(text)
