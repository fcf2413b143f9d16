"""Settings come from five places, in one order, and every mistake is named with the nearest right key."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from my3dis.config import Config
from my3dis.config.fields import SETTINGS, value_of
from my3dis.config.load import load_config, option_from_text
from my3dis.errors import ConfigError

# Four other values than the default for every setting whose type does not give them by itself.
SPECIAL: dict[str, list[object]] = {
    "experiment.scenes": [["a"], ["b", "c*"], ["d"], ["e"]],
    "experiment.levels": [[1], [1, 2], [3, 5, 7], [0]],
    "experiment.check": ["warn", "off", "warn", "off"],
    "experiment.executor": ["ray", "slurm", "ray", "slurm"],
    "experiment.slurm.cluster": ["local"] * 4,
    "experiment.slurm.setup": [["a"], ["b", "c d"], ["e"], ["f"]],
    "experiment.slurm.extra": [["a=1"], ["b", "c=2"], ["d"], ["e=3"]],
    "experiment.correct.poses": [["inverse"], ["opengl"], ["transposed", "opengl"], []],
    "experiment.correct.intrinsics_size": [[640, 480], [1296, 968], [320, 240], [1, 2]],
    "experiment.correct.depth_shift_px": [[1.0, 2.0], [-3.5, 0.0], [4.0, 4.0], [0.0, 9.0]],
    "stages.ssam.refine": ["mask", "points", "mask", "points"],
    "stages.tracker.prompt_mode": ["all_mask"] * 4,
}


def values_for(key: str) -> list[object]:
    """Four valid values of a setting: for YAML, .env, environment and command line."""
    if key in SPECIAL:
        return SPECIAL[key]
    expected = SETTINGS[key].expected
    if expected.startswith("true or false"):
        return [False, True, False, True]
    if expected.startswith("a whole number"):
        return [101, 102, 103, 104]
    if expected.startswith("a number"):
        return [0.11, 0.12, 0.13, 0.14]
    if expected.startswith("a path"):
        return ["a/1", "a/2", "a/3", "a/4"]
    assert expected.startswith("text"), f"{key}: give values for {expected!r} here"
    return ["t1", "t2", "t3", "t4"]


def nested(key: str, value: object) -> dict[str, object]:
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_each_way_in_the_order_of_precedence(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """YAML beats the default, .env YAML, the environment .env; command line and Python beat all."""
    monkeypatch.chdir(tmp_path)
    in_yaml, in_dotenv, in_environment, on_line = values_for(key)
    variable = SETTINGS[key].variable

    def got(**sources: object) -> object:
        return value_of(load_config(**sources), key)  # type: ignore[arg-type]  # one of the loader's own arguments

    assert got() == value_of(Config(), key)
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(nested(key, in_yaml)))
    assert got(yaml_file=file) == in_yaml
    (tmp_path / ".env").write_text(f"{variable}={json.dumps(in_dotenv)}\nOTHER_PROGRAM=1\n")
    assert got(yaml_file=file) == in_dotenv
    monkeypatch.setenv(variable, json.dumps(in_environment))
    assert got(yaml_file=file) == in_environment
    option = option_from_text(f"{key}={json.dumps(on_line)}")
    assert got(yaml_file=file, options=[option]) == on_line
    assert got(yaml_file=file, values={key: on_line}) == on_line
    assert got(yaml_file=file, values=nested(key, on_line)) == on_line


def test_last_set_wins(tmp_path: Path) -> None:
    """Of two values for one key on the command line the later one holds."""
    options = [option_from_text("stages.ssam.min_area=1"), option_from_text("stages.ssam.min_area=2")]
    assert load_config(options=options).stages.ssam.min_area == 2


def test_sources_merge_inside_a_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section set partly in YAML and partly in the environment has both."""
    file = tmp_path / "run.yaml"
    file.write_text("stages: {ssam: {min_area: 7}}\nexperiment:\n")
    monkeypatch.setenv("MY3DIS_STAGES__SSAM__SSAM_FREQ", "3")
    monkeypatch.setenv("MY3DIS_STAGES__TRACKER", "{max_propagate: 9, backward_frames: 2}")
    monkeypatch.setenv("MY3DIS_STAGES__TRACKER__BACKWARD_FRAMES", "4")
    stages = load_config(file, dotenv=None).stages
    assert (stages.ssam.min_area, stages.ssam.ssam_freq) == (7, 3)
    assert (stages.tracker.max_propagate, stages.tracker.backward_frames) == (9, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1200:1600:20", (1200, 1600, 20)),
        ("::8", (0, None, 8)),
        (":5", (0, 5, 1)),
        ("1:20:2", (1, 20, 2)),
        ("6:", (6, None, 1)),
    ],
)
def test_frames_as_a_slice_everywhere(
    text: str, expected: tuple[int, int | None, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice means the same on the command line, in YAML (no base 60), in the environment and in Python."""
    file = tmp_path / "run.yaml"
    file.write_text(f"experiment:\n  frames: {text!r}\n")
    configs = [
        load_config(file),
        load_config(options=[option_from_text(f"experiment.frames={text}")]),
        load_config(values={"experiment": {"frames": text}}),
        Config.model_validate({"experiment": {"frames": text}}),
    ]
    monkeypatch.setenv("MY3DIS_EXPERIMENT__FRAMES", text)
    configs.append(load_config())
    for config in configs:
        frames = config.experiment.frames
        assert (frames.start, frames.end, frames.step) == expected


def test_tilde_means_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~ in a path works where no shell replaces it: in YAML and after --set KEY=."""
    monkeypatch.setenv("HOME", "/home/of-a-user")
    file = tmp_path / "run.yaml"
    file.write_text("experiment: {dataset_root: ~/scans}\nstages: {ssam: {recorded_root: ~/maps}}\n")
    config = load_config(file, options=[option_from_text("experiment.output_root=~/runs")])
    home = Path("/home/of-a-user")
    assert config.experiment.dataset_root == home / "scans"
    assert config.experiment.output_root == home / "runs"
    assert config.stages.ssam.recorded_root == home / "maps"


def test_levels_and_scenes_with_commas() -> None:
    """2,4,6 is a list of levels and a,b* a list of scenes, as people type them."""
    options = [option_from_text("experiment.levels=2,4"), option_from_text("experiment.scenes=a,b*")]
    experiment = load_config(options=options).experiment
    assert experiment.levels == [2, 4]
    assert experiment.scenes == ["a", "b*"]


def test_yaml_off_is_text_and_numbers_keep_their_zeros(tmp_path: Path) -> None:
    """`check: off`, scene 00001, a date as a tag: YAML 1.2 reads them as people mean them."""
    file = tmp_path / "run.yaml"
    file.write_text("experiment: {check: off, scenes: [00001, 2], tag: 2024-01-02}\n")
    experiment = load_config(file).experiment
    assert (experiment.check, experiment.scenes, experiment.tag) == ("off", ["00001", "2"], "2024-01-02")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("stages.ssam.ssam_frq", "stages.ssam.ssam_freq"),
        ("stages.ssam.iou_threshold", "stages.tracker.iou_threshold"),
        ("experiment.levls", "experiment.levels"),
        ("levels", "experiment.levels"),
        ("stage.ssam.min_area", "stages.ssam.min_area"),
        ("stages.tracker.max_prop", "stages.tracker.max_propagate"),
    ],
)
def test_wrong_key_names_the_nearest_and_its_place(
    wrong: str, right: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt key is refused from every source, saying where it stands and what was meant."""
    ending = rf"did you mean {re.escape(right)}\?"
    with pytest.raises(ConfigError, match=f"{wrong} .*--set {wrong}.*{ending}"):
        load_config(options=[option_from_text(f"{wrong}=1")])
    with pytest.raises(ConfigError, match=f"in Python.*{ending}"):
        load_config(values={wrong: 1})
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(nested(wrong, 1)))
    with pytest.raises(ConfigError, match=rf"run\.yaml.*{ending}"):
        load_config(file)
    variable = "MY3DIS_" + wrong.upper().replace(".", "__")
    monkeypatch.setenv(variable, "1")
    meant = SETTINGS[right].variable
    with pytest.raises(ConfigError, match=rf"{variable} in the environment.*did you mean {meant}\?"):
        load_config()


def test_wrong_variable_in_dotenv_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of ours in .env that matches nothing is an error; other programs' variables are not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PATH_TO_X=1\nMY3DIS_STAGES_SSAM_FREQ=2\n")
    with pytest.raises(
        ConfigError, match=r"MY3DIS_STAGES_SSAM_FREQ in \.env.*MY3DIS_STAGES__SSAM__SSAM_FREQ"
    ):
        load_config()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("stages.tracker.iou_threshold=3", "a number from 0 to 1, found 3"),
        ("stages.ssam.ssam_freq=0", "a whole number of at least 1, found 0"),
        ("stages.ssam.enabled=maybe", "true or false, found 'maybe'"),
        ("experiment.check=never", "stop or warn or off, found 'never'"),
        ("experiment.levels=[4, 2]", r"rise without repeats, such as \[2, 4, 6\]; found \[4, 2\]"),
        ("experiment.levels=[4, 40000]", r"at most 32767; found \[4, 40000\]"),
        ("experiment.scenes={a: 1}", "a list of texts or all, found"),
        ("experiment.name=../up", "no dot first.*found '../up'"),
        ("experiment.frames=a:b", "start:end:step .* found 'a:b'"),
        ("experiment.frames=5", "start:end:step .* found 5"),
        ("stages.ssam=5", "a section with settings in it, found 5"),
        ("stages.lift.voxel_m=.nan", "a number above 0, found nan"),
        ("stages.lift.voxel_m=.inf", "a number above 0, found inf"),
        ("stages.tracker.iou_threshold=-.inf", "a number from 0 to 1, found -inf"),
        ("experiment.output_root=~nobody-of-this-name/x", "home folder .* write the path in full"),
    ],
)
def test_wrong_value_says_expected_and_found(option: str, words: str) -> None:
    """A value of the wrong type or range gives key, expected, found and place, and nothing of pydantic's."""
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(options=[option_from_text(option)])
    message = str(caught.value)
    assert message.startswith(option.partition("=")[0])
    assert "--set" in message
    assert "pydantic" not in message
    assert "\n" not in message


def test_all_problems_are_told_at_once() -> None:
    """Several wrong settings give one sentence each."""
    options = ["stages.ssam.ssam_freq=0", "stages.tracker.iou_threshold=2", "experiment.levels=[4, 2]"]
    with pytest.raises(ConfigError) as caught:
        load_config(options=[option_from_text(text) for text in options])
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 settings are wrong:"
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"experiment:\n  levels: [2,\nstages: {}\n", "line 4"),
        (b"experiment:\n  tag: a\n  tag: b\n", "line 3.*'tag' is given twice, first on line 2"),
        (b"- 1\n- 2\n", "expected sections"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"a: \x01\n", "no YAML"),
        (b"experiment: !!python/object/apply:os.system [ls]\n", "no YAML"),
    ],
)
def test_broken_settings_file_names_the_line(content: bytes, words: str, tmp_path: Path) -> None:
    """What is no YAML is refused with file and line; nothing in it is executed."""
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(file)
    assert "run.yaml" in str(caught.value)


def test_missing_settings_file(tmp_path: Path) -> None:
    """A path to nothing is said as such."""
    with pytest.raises(ConfigError, match=r"expected a settings file at .*none\.yaml"):
        load_config(tmp_path / "none.yaml")


def test_set_needs_an_equals_sign() -> None:
    """--set without = tells the form."""
    with pytest.raises(ConfigError, match="expected --set KEY=VALUE"):
        option_from_text("stages.ssam.min_area")


def test_no_default_holds_a_path_of_some_machine() -> None:
    """No default is absolute, so that nothing depends on where it was written."""
    for setting in SETTINGS.values():
        assert not str(setting.default).startswith(("/", "~")), setting.key


def test_every_setting_says_what_it_does() -> None:
    """Every setting has a description."""
    assert [key for key, setting in SETTINGS.items() if not setting.description] == []


def test_resolved_settings_can_be_loaded_again(tmp_path: Path) -> None:
    """What a run writes as config.yaml gives the same settings."""
    config = load_config(
        options=[option_from_text("experiment.frames=::8"), option_from_text("experiment.check=off")]
    )
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(file) == config
