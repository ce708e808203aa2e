"""Words and pictures: what the encoders promise, at sizes of our own choosing."""

import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import CLIPVisionConfig, CLIPVisionModel

from longvie.errors import ConfigError, WeightsError
from longvie.models import encoders
from longvie.models.encoders import PictureEncoder, WordEncoder, clean, train_tokenizer, vocabulary, words

CAPTIONS = [
    "A red ball rolls over grass at dusk.",
    "Two blue boxes stand still while the camera orbits.",
    "A green cylinder bounces; night falls.",
    "The red box turns blue, and it starts to rain.",
]


@pytest.fixture(scope="module")
def small() -> WordEncoder:
    torch.manual_seed(0)
    return WordEncoder.fresh(CAPTIONS, vocab_size=420, width=24, layers=3, heads=2, hidden=40, text_len=20).eval()


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  two \n\t words ", "two words"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("&amp;lt;b&amp;gt;", "<b>"),
        ("âœ” done", "✔ done"),
        ("a\u00a0gap", "a gap"),
        ("nul\x00 and half\ud800", "nul and half\ufffd"),
    ],
)
def test_cleaning(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned
    assert clean(clean(raw)) == cleaned


def test_words_are_lower_case_and_bare() -> None:
    assert words("The CAMERA's path: don't stop half-way!") == [
        "the",
        "camera",
        "path",
        "don't",
        "stop",
        "half",
        "way",
    ]


def test_the_same_captions_give_the_same_tokenizer() -> None:
    assert train_tokenizer(CAPTIONS, 420).to_str() == train_tokenizer(iter(CAPTIONS), 420).to_str()


def test_seen_words_are_one_token_each_whatever_stands_beside_them(small: WordEncoder) -> None:
    ids = {word: small.ids(word)[0] for word in ("red", "ball", "box")}
    assert all(len(small.ids(word)) == 2 for word in ids)
    assert small.ids("RED ball.")[:2] == [ids["red"], ids["ball"]]
    assert small.ids("box, red")[0] == ids["box"]


@pytest.mark.parametrize("text", ["a red ball, at dusk", "zebra", "größe 12", "赤い球 🎈", "naïve"])
def test_any_text_can_be_spelled_and_read_back(small: WordEncoder, text: str) -> None:
    ids = small.ids(text)
    assert small.tokenizer.token_to_id("<unk>") not in ids
    assert small.tokenizer.decode(ids) == text


def test_special_ids(small: WordEncoder) -> None:
    assert [small.tokenizer.token_to_id(token) for token in ("<pad>", "</s>", "<unk>", "<0x00>")] == [0, 1, 2, 3]
    assert small.ids("")[-1:] == [1]
    assert small.tokenizer.encode("red").ids[-1] == 1, "used alone, the saved tokenizer ends a text too"


def test_a_vocabulary_too_small_for_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match="use more"):
        train_tokenizer(CAPTIONS, 200)


def test_training_and_asking_give_the_same_embeddings(small: WordEncoder) -> None:
    texts = ["a red ball", "", "the camera orbits two boxes while night falls", "zebra " * 30]
    asked = small.encode(texts)
    assert asked.shape == (4, 20, 24)
    assert not asked.requires_grad
    trained = small(*small.tokens(texts))
    assert trained.requires_grad
    assert_close(trained.detach(), asked, rtol=1e-4, atol=1e-5)


def test_an_embedding_does_not_depend_on_its_company(small: WordEncoder) -> None:
    texts = ["a red ball", "the camera orbits two boxes while night falls"]
    assert torch.equal(small.encode(texts)[:1], small.encode(texts[:1]))
    assert small.encode([]).shape == (0, 20, 24)


def test_padding_is_zero_and_is_not_looked_at(small: WordEncoder) -> None:
    ids, mask = small.tokens(["a red ball"])
    length = int(mask.sum())
    assert length == len(small.ids("a red ball"))
    hidden = small(ids, mask)
    assert hidden[:, length:].abs().max() == 0
    assert hidden[:, :length].abs().min() > 0
    ids[:, length:] = small.eos
    assert torch.equal(small(ids, mask), hidden)


def test_a_text_that_is_cut_is_told_and_still_ends(small: WordEncoder) -> None:
    long = " ".join(["red"] * 40)
    assert small.fits(" ".join(["red"] * 19))
    assert not small.fits(" ".join(["red"] * 20))
    ids, mask = small.tokens([long])
    assert mask.all()
    assert ids[0, -1] == small.eos


def test_unknown_words_are_named_once_in_order(small: WordEncoder) -> None:
    assert small.unknown("A purple Ball, the camera's purple zebra") == ["purple", "zebra"]
    assert small.unknown("the red BOX orbits.") == []
    endless = WordEncoder(small.encoder, small.tokenizer, text_len=20)
    assert endless.unknown("purple zebra") == []
    assert vocabulary(["b A", "a c."]) == ["a", "b", "c"]


def test_it_learns_with_everything_it_has(small: WordEncoder) -> None:
    small(*small.tokens(["a red ball", "blue"])).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in small.parameters())
    small.zero_grad()


def test_saved_and_loaded_is_the_same(small: WordEncoder, tmp_path: Path) -> None:
    small.save(tmp_path)
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".json", ".json", ".safetensors"]
    again = WordEncoder.load(tmp_path)
    texts = ["a red ball", "purple"]
    assert torch.equal(again.encode(texts), small.encode(texts))
    assert again.unknown("purple") == ["purple"]
    assert (again.text_len, again.width) == (20, 24)
    assert not again.training


def test_the_saved_tokenizer_opens_in_transformers(small: WordEncoder, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    small.save(tmp_path)
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), pad_token="<pad>", eos_token="</s>")
    assert fast("A red ball").input_ids == small.ids("A red ball")


def test_half_precision_stays_near(small: WordEncoder, tmp_path: Path) -> None:
    small.save(tmp_path)
    half = WordEncoder.load(tmp_path, dtype=torch.bfloat16).encode(["a red ball"])
    assert half.dtype == torch.bfloat16
    full = small.encode(["a red ball"])
    assert (half.float() - full).norm() / full.norm() < 0.03


@pytest.mark.parametrize("broken", ["tokenizer.json", "words.json", "config.json", "model.safetensors"])
def test_a_broken_folder_is_refused(small: WordEncoder, tmp_path: Path, broken: str) -> None:
    small.save(tmp_path)
    (tmp_path / broken).unlink()
    with pytest.raises(WeightsError):
        WordEncoder.load(tmp_path)


def test_weights_that_do_not_match_the_config_are_refused(small: WordEncoder, tmp_path: Path) -> None:
    small.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change in ({"num_layers": 4}, {"d_ff": 41}):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(WeightsError, match="UMT5EncoderModel"):
            WordEncoder.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("model.safetensors", "no tensors"), ("tokenizer.json", "{}"), ("words.json", "[1]"), ("words.json", "{")],
)
def test_a_file_of_another_kind_is_refused(small: WordEncoder, tmp_path: Path, name: str, content: str) -> None:
    small.save(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(WeightsError):
        WordEncoder.load(tmp_path)


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    tokenizer = json.loads(train_tokenizer(CAPTIONS, 420).to_str())
    tokenizer["added_tokens"] = []
    tokenizer["model"]["vocab"].pop(encoders.EOS)
    tokenizer["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(WeightsError, match="</s>"):
        encoders.read_tokenizer(tmp_path / "tokenizer.json")


@pytest.fixture(scope="module")
def pictures() -> PictureEncoder:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=28,
        patch_size=7,
        hidden_act="gelu",
    )
    return PictureEncoder(CLIPVisionModel(config).eval())


@pytest.mark.parametrize("size", [(28, 28), (40, 64), (9, 13)])
def test_pictures_of_any_size(pictures: PictureEncoder, size: tuple[int, int]) -> None:
    tokens = pictures.encode(torch.rand(2, 3, *size) * 2 - 1)
    assert tokens.shape == (2, 17, 24)
    assert tokens.isfinite().all()


def test_colours_are_put_on_the_scale_of_the_tower(pictures: PictureEncoder) -> None:
    white = pictures.prepare(torch.ones(1, 3, 5, 7))[0, :, 3, 3]
    assert_close(white, torch.tensor([(1 - m) / s for m, s in zip(encoders.CLIP_MEAN, encoders.CLIP_STD, strict=True)]))


def test_the_last_block_is_left_out(pictures: PictureEncoder) -> None:
    picture = torch.rand(1, 3, 30, 20) * 2 - 1
    before = pictures.encode(picture)
    with torch.no_grad():
        for weight in pictures.tower.encoder.layers[-1].parameters():
            weight.add_(1)
    assert torch.equal(pictures.encode(picture), before)
    with torch.no_grad():
        for weight in pictures.tower.encoder.layers[-2].parameters():
            weight.add_(1)
    assert not torch.equal(pictures.encode(picture), before)


def test_a_tower_saved_and_loaded_is_the_same(pictures: PictureEncoder, tmp_path: Path) -> None:
    pictures.save(tmp_path)
    picture = torch.rand(1, 3, 30, 20) * 2 - 1
    assert torch.equal(PictureEncoder.load(tmp_path).encode(picture), pictures.encode(picture))
    with pytest.raises(WeightsError):
        PictureEncoder.load(tmp_path / "nowhere")
