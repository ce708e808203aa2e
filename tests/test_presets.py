"""Options come from names, files and the command line; a wrong one is refused by name, with the right one beside it."""

import json
from pathlib import Path

import pytest

from longvie.errors import ConfigError, LimitError, LongVieError
from longvie.presets import (
    PRESETS,
    WORK,
    LongVieConfig,
    all_options,
    apply,
    check_work,
    parse_option,
    preset,
    read_size,
    to_mapping,
)

SEED_SCHEMA = """
model:
  ckpt: world
  frame_size: 640x352
  fps: 24
  duration: 120
controls:
  audio: null
  sketch: sketch.png
  keyframes: keyframes.json
sampling:
  mode: deterministic
  chunk_seconds: 5
  overlap_seconds: 0.5
seed: 42
output:
  save_frames: false
  save_video: true
"""
CONFIGS = Path(__file__).parent.parent / "configs"


def written(tmp_path: Path, text: str, name: str = "config.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_agreed_schema_loads_as_it_is(tmp_path: Path) -> None:
    config = LongVieConfig.from_file(written(tmp_path, SEED_SCHEMA))
    assert config.model.frame_size == (352, 640)
    assert (config.model.fps, config.model.duration, config.seed) == (24.0, 120.0, 42)
    assert (config.controls.sketch, config.controls.keyframes, config.controls.audio) == (
        "sketch.png",
        "keyframes.json",
        None,
    )
    assert (config.sampling.chunk_seconds, config.sampling.overlap_seconds) == (5.0, 0.5)
    assert (config.output.save_frames, config.output.save_video) == (False, True)


def test_json_gives_what_yaml_gives(tmp_path: Path) -> None:
    given = {"model": {"ckpt": "tiny", "frame_size": [64, 48]}, "seed": 3}
    one = LongVieConfig.from_file(written(tmp_path, json.dumps(given), "c.json"))
    two = LongVieConfig.from_file(written(tmp_path, "model: {ckpt: tiny, frame_size: [64, 48]}\nseed: 3\n"))
    assert one == two
    assert one.model.frame_size == (48, 64)


@pytest.mark.parametrize("file", sorted(CONFIGS.iterdir()), ids=lambda file: file.name)
def test_every_shipped_configuration_loads(file: Path) -> None:
    assert LongVieConfig.from_file(file).model.ckpt in PRESETS


@pytest.mark.parametrize(
    ("option", "right"),
    [
        ("engine.sean=pixel", "engine.seam"),
        ("sampling.step=4", "sampling.steps"),
        ("model.frame_sise=[64, 48]", "model.frame_size"),
        ("controls.dept=a.npz", "controls.depth"),
        ("sede=4", "seed"),
        ("steps=4", "sampling.steps"),
        ("engin.seam=pixel", "engine.seam"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_nearest_right_one(option: str, right: str) -> None:
    name = option.partition("=")[0]
    with pytest.raises(ConfigError) as refused:
        LongVieConfig().with_options([option])
    assert f"no option '{name.split('.')[0] if name.startswith('engin.') else name}'" in str(refused.value)
    assert "did you mean '" in str(refused.value)
    assert right.split(".")[0] in str(refused.value)


def test_the_answer_to_a_misspelt_option_is_exact() -> None:
    with pytest.raises(ConfigError, match=r"^no option 'engine\.sean'; did you mean 'engine\.seam'\?$"):
        LongVieConfig().with_options(["engine.sean=pixel"])


@pytest.mark.parametrize(
    "option",
    [
        "engine.seam=middle",
        "model.fps=0",
        "model.fps=-1",
        "model.fps=1000000",
        "model.fps=.nan",
        "model.fps=.inf",
        "model.fps=1e400",
        'model.fps="16"',
        "model.fps=true",
        "model.duration=0",
        "model.duration=1e9",
        "model.frames=0",
        "model.frames=1.5",
        "model.frames=1000000000",
        "model.frame_size=7x7",
        "model.frame_size=0x0",
        "model.frame_size=-16x16",
        "model.frame_size=100000x100000",
        "model.frame_size=65x64",
        "model.frame_size=[64]",
        "model.frame_size=[64, true]",
        "model.frame_size=wide",
        "sampling.steps=0",
        "sampling.steps=1000000000",
        "sampling.steps=4.0",
        "sampling.mode=random",
        "sampling.guidance=-1",
        "sampling.chunk_seconds=0",
        "controls.depth_strength=3",
        "controls.depth_strength=-0.1",
        "controls.depth=7",
        "controls.align=stretch",
        "output.save_frames=3",
        "seed=-2",
        f"seed={2**63}",
        f"seed={2**64}",
        "seed=abc",
        "seed=1.0",
        "seed=" + "9" * 5000,
        "model=world",
        "model.ckpt=null",
        "=4",
        "seed",
        "a b=4",
        "seed: 4",
        "seed=[1",
        "seed=!!python/object:os.system 1",
    ],
)
def test_values_of_the_wrong_type_or_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(LongVieError) as refused:
        LongVieConfig().with_options([option])
    assert refused.value.exit_code in (2, 3)
    assert len(str(refused.value)) < 400


def test_minus_zero_is_zero_and_minus_one_draws_the_seed() -> None:
    assert LongVieConfig().with_options(["controls.depth_strength=-0.0"]).controls.depth_strength == 0
    assert LongVieConfig().with_options(["seed=-1"]).seed == -1


def test_later_options_win_and_leave_the_rest(tmp_path: Path) -> None:
    config = LongVieConfig.from_file(written(tmp_path, SEED_SCHEMA))
    changed = config.with_options(["seed=1", "seed=2", "engine.seam=pixel", "model.duration=null"])
    assert (changed.seed, changed.engine.seam, changed.model.duration) == (2, "pixel", None)
    assert changed.model.frame_size == config.model.frame_size
    assert changed.controls == config.controls


def test_what_is_written_down_reads_back(tmp_path: Path) -> None:
    config = LongVieConfig.from_file(written(tmp_path, SEED_SCHEMA))
    assert LongVieConfig.from_mapping(json.loads(json.dumps(to_mapping(config)))) == config
    assert to_mapping(LongVieConfig()) == {}


def test_an_empty_section_changes_nothing(tmp_path: Path) -> None:
    assert LongVieConfig.from_file(written(tmp_path, "controls:\nseed: 0\n")) == LongVieConfig()


@pytest.mark.parametrize(
    "text",
    ["", "- 1\n", "just text", "seed: 1\nseed: 2\n", "a: &a [1]\nb: !!python/object:os.system {}\n", "seed: [", "\x00"],
)
def test_files_that_hold_no_options_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        LongVieConfig.from_file(written(tmp_path, text))


def test_other_files_are_no_configurations(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"yaml or \.json"):
        LongVieConfig.from_file(written(tmp_path, "seed: 1", "config.toml"))
    with pytest.raises(ConfigError, match="there is no file"):
        LongVieConfig.from_file(tmp_path / "nothing.yaml")


def test_unknown_presets_are_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'world'"):
        preset("wrold")


def test_the_ceiling_is_on_the_product() -> None:
    check_work(60_000, (480, 832), 50)
    with pytest.raises(LimitError, match="pixel steps"):
        check_work(60_000, (480, 832), 1000)
    with pytest.raises(LimitError):
        check_work(60_001, (16, 16), 1)
    assert WORK > 10**12


def test_sizes_are_width_by_height_as_people_write_them() -> None:
    assert read_size("640x352", "size") == read_size("640X352", "size") == read_size([640, 352], "size") == (352, 640)


def test_all_options_are_named() -> None:
    names = all_options(LongVieConfig)
    assert len(names) == len(set(names))
    assert {"model.ckpt", "controls.sketch", "sampling.mode", "engine.seam", "output.save_video", "seed"} <= set(names)


def test_an_option_may_hold_an_equals_sign() -> None:
    assert parse_option("prompt='a=b'") == {"prompt": "a=b"}
    assert apply(LongVieConfig(), parse_option("controls.depth='a=b.npz'")).controls.depth == "a=b.npz"
