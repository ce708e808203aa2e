"""The package in Python: the same checks, the same frames, whole or while they are made."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import longvie
from longvie import LongVie, LongVieConfig, api, catalogue
from longvie.api import regrouped
from longvie.data.export import Export, export
from longvie.errors import ConfigError, ControlError, InputError, WeightsError
from longvie.media import probe_video, read_video, write_picture
from longvie.models.models import save, tiny
from longvie.presets import ModelSection

PROMPT = "a red ball rolls over the grass"


@pytest.fixture(scope="module")
def model() -> LongVie:
    return LongVie.from_pretrained("tiny")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    export(Export(seed=7, frames=100, size=(32, 48), points=40), folder)
    return folder


def test_a_video_is_as_long_as_it_is_asked_to_be(model: LongVie) -> None:
    video = model.generate(PROMPT, duration_sec=6)
    assert video.frames.shape == (96, 32, 48, 3)
    assert video.frames.dtype == np.uint8
    assert (video.fps, video.duration_s, video.seed) == (16.0, 6.0, 0)
    assert any("random weights" in warning for warning in video.warnings)


def test_without_a_duration_the_timeline_or_the_controls_say(model: LongVie, scene: Path) -> None:
    assert len(model.generate(PROMPT).frames) == 81
    assert len(model.generate("a ball[1s] | the ball at night[2s]").frames) == 48
    assert len(model.generate(PROMPT, controls={"depth": scene / "depth.npz"}).frames) == 100


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(model: LongVie) -> None:
    one, two, other = (model.generate(PROMPT, duration_sec=1, seed=seed).frames for seed in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_streaming_gives_the_frames_of_the_whole_in_chunks_of_the_asked_size(model: LongVie) -> None:
    whole = model.generate(PROMPT, duration_sec=7, seed=5).frames
    chunks = list(model.stream_generate(PROMPT, duration_sec=7, seed=5, chunk_size=2.0))
    assert [len(chunk.frames) for chunk in chunks] == [32, 32, 32, 16]
    assert [chunk.start_s for chunk in chunks] == [0.0, 2.0, 4.0, 6.0]
    assert np.array_equal(np.concatenate([chunk.frames for chunk in chunks]), whole)


def test_streaming_begins_before_the_end_is_made(model: LongVie, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    inner = model.models.transformer.forward
    monkeypatch.setattr(
        model.models.transformer, "forward", lambda *given, **named: (steps.append(1), inner(*given, **named))[1]
    )
    stream = model.stream_generate(PROMPT, duration_sec=20, chunk_size=1)
    next(stream)
    assert len(steps) == model.card.steps  # one clip of four


def test_every_control_changes_the_video(model: LongVie, scene: Path) -> None:
    plain = model.generate(PROMPT, duration_sec=6.25).frames
    for name, file in {
        "depth": "depth.npz",
        "tracks": "tracks.npz",
        "sketch": "sketch.mp4",
        "segmentation": "segmentation.npz",
        "beats": "beats.json",
    }.items():
        assert model.generate(PROMPT, duration_sec=6.25, controls={name: scene / file}).frames.shape == plain.shape
    pictured = model.generate(PROMPT, duration_sec=1, image=scene / "first.png").frames
    assert not np.array_equal(pictured, plain[:16])


def test_a_picture_may_be_an_array(model: LongVie, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    write_picture(tmp_path / "first.png", picture)
    one = model.generate(PROMPT, duration_sec=1, image=picture).frames
    two = model.generate(PROMPT, duration_sec=1, image=tmp_path / "first.png").frames
    assert np.array_equal(one, two)
    with pytest.raises(InputError, match="8-bit RGB"):
        model.generate(PROMPT, duration_sec=1, image=picture.astype(np.float32)[..., 0])


def test_saving_writes_a_video_that_says_what_it_is(model: LongVie, tmp_path: Path) -> None:
    video = model.generate(PROMPT, duration_sec=1)
    info = probe_video(video.save(tmp_path / "a.mp4"))
    assert (info.frames, info.fps, info.codec) == (16, 16.0, "h264")
    assert "AI-generated" in info.metadata["description"]


def test_a_file_has_a_run_beside_it_and_the_same_call_does_nothing_more(
    model: LongVie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.mp4"
    video = model.generate(PROMPT, duration_sec=1, out=out)
    assert video.path == out
    assert np.array_equal(video.frames, read_video(out))
    before = out.read_bytes()
    monkeypatch.setattr(model.models.transformer, "forward", lambda *_, **__: pytest.fail("nothing is left to make"))
    model.generate(PROMPT, duration_sec=1, out=out)
    assert out.read_bytes() == before
    with pytest.raises(InputError, match="another request"):
        model.generate(PROMPT, duration_sec=2, out=out)
    video.save(tmp_path / "b.mp4")
    assert (tmp_path / "b.mp4").read_bytes() == before


def test_a_file_is_coded_as_fits_its_size_or_as_it_is_told(model: LongVie, tmp_path: Path) -> None:
    sizes = {}
    for name, options in (("usual", ()), ("told", ("output.crf=40",))):
        config = LongVieConfig().with_options(["model.ckpt=tiny", *options])
        LongVie(config).generate(PROMPT, duration_sec=1, out=tmp_path / f"{name}.mp4")
        sizes[name] = (tmp_path / f"{name}.mp4").stat().st_size
    assert sizes["told"] < 0.5 * sizes["usual"]
    saved = model.generate(PROMPT, duration_sec=1).save(tmp_path / "saved.mp4")
    assert saved.stat().st_size == pytest.approx(sizes["usual"], rel=0.1)


def test_another_size_and_rate_are_converted_to_and_told(tmp_path: Path) -> None:
    config = LongVieConfig.from_mapping({"model": {"ckpt": "tiny", "frame_size": "96x64", "fps": 24}})
    video = LongVie(config).generate(PROMPT, duration_sec=2, out=tmp_path / "a.mp4")
    info = probe_video(tmp_path / "a.mp4")
    assert (info.frames, info.height, info.width, info.fps) == (48, 64, 96, 24.0)
    assert sum("converted" in warning for warning in video.warnings) == 2
    assert LongVie(config).generate(PROMPT, duration_sec=2).frames.shape == (48, 64, 96, 3)


def test_words_that_were_never_seen_are_named(model: LongVie) -> None:
    heard: list[str] = []
    model.generate("a red zeppelin rolls over the grass", duration_sec=1, warn=heard.append)
    assert any("zeppelin" in line and "grass" not in line for line in heard)


def test_a_control_that_is_not_known_is_refused_before_weights_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "load_models", lambda *_: pytest.fail("weights were read"))
    model = LongVie.from_pretrained("tiny")
    with pytest.raises(ConfigError, match=r"did you mean 'controls\.sketch'"):
        model.generate(PROMPT, controls={"sketsch": "a.png"})
    with pytest.raises(ControlError, match="depth, sketch, segmentation, tracks"):
        model.generate(PROMPT, controls={"audio": "a.wav"})
    with pytest.raises(ConfigError, match="chunk_size"):
        next(model.stream_generate(PROMPT, chunk_size=0))
    with pytest.raises(ConfigError, match="audio"):
        LongVie(LongVieConfig().with_options(["model.ckpt=tiny", "controls.audi=x"]))


def test_a_folder_with_a_card_is_a_model(tmp_path: Path) -> None:
    save(tiny(), tmp_path / "mine")
    model = LongVie.from_pretrained(tmp_path / "mine")
    assert model.generate(PROMPT, duration_sec=1).frames.shape == (16, 32, 48, 3)
    assert catalogue.verify(ModelSection(ckpt=str(tmp_path / "mine"))) > 0
    shutil.rmtree(tmp_path / "mine" / "words")
    with pytest.raises(WeightsError):
        catalogue.verify(ModelSection(ckpt=str(tmp_path / "mine")))


@pytest.mark.parametrize("name", ["tiy", "nowhere/at/all", "weights.pt", "http://x/y", ""])
def test_models_that_are_none_are_refused_by_name(name: str) -> None:
    with pytest.raises(InputError):
        LongVie.from_pretrained(name)


def test_embedded_weights_that_are_missing_are_told_honestly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
    with pytest.raises(WeightsError, match="holds no weights") as refused:
        LongVie()
    assert "--model tiny" in str(refused.value)


def test_longvie_2_asks_for_its_downloads() -> None:
    model = LongVie.from_pretrained("longvie-2")
    assert model.card.size == (352, 640)
    with pytest.raises(ConfigError, match=r"control\.safetensors"):
        _ = model.models


def test_frames_are_regrouped_without_loss() -> None:
    parts = [np.full((count, 1, 1, 3), number, np.uint8) for number, count in enumerate((1, 4, 2, 7))]
    groups = list(regrouped(iter(parts), 5))
    assert [len(group) for group in groups] == [5, 5, 4]
    assert np.array_equal(np.concatenate(groups), np.concatenate(parts))


def test_the_package_names_its_doors() -> None:
    assert set(longvie.__all__) <= set(dir(longvie))
    with pytest.raises(AttributeError):
        _ = longvie.nothing
