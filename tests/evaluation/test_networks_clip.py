"""CLIP and ViCLIP: the published layouts, and the same features as another implementation gives."""

import re
from pathlib import Path

import pytest
import torch
from networks_made import (
    Archive,
    archived,
    clip_shapes,
    parameters,
    random,
    reading_shapes,
    shapes,
    sight_shapes,
    vocabulary,
)
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from longvie.errors import ShapeError, WeightsError
from longvie.evaluation.networks.clip import Reading, Sight, clip
from longvie.evaluation.networks.shelf import Shelf
from longvie.evaluation.networks.viclip import Watching, viclip

B32 = ((768, 12, 32, 50, 512), (512, 12, 77, 49408, 512))
L14 = ((1024, 24, 14, 257, 768), (768, 12, 77, 49408, 768))


@pytest.mark.parametrize(("sizes", "count"), [(B32, 151_277_313), (L14, 427_616_513)])
def test_the_layout_is_the_published_one(sizes: tuple[tuple, tuple], count: int) -> None:
    with torch.device("meta"):
        seeing, reading = Sight(*sizes[0]), Reading(*sizes[1])
    assert shapes(seeing) == sight_shapes(*sizes[0])
    assert shapes(reading) == reading_shapes(*sizes[1])
    assert parameters(seeing, reading) == count - 1  # without the temperature


OUTSIDE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight", "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight", "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}  # fmt: skip
PARTS = {
    "attn.out_proj": "out_proj|o_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "fc1",
    "mlp.c_proj": "fc2",
}  # fmt: skip


def of_theirs(name: str, named: dict[str, Tensor]) -> Tensor:
    """The tensor that transformers calls by this name."""
    if name in OUTSIDE:
        return named[OUTSIDE[name]]
    if name in ("visual_projection.weight", "text_projection.weight"):
        return named["visual.proj" if name.startswith("visual") else "text_projection"].T
    if name == "logit_scale":
        return named[name]
    side = "visual." if name.startswith("vision") else ""
    start, _, last = name.rpartition(".")
    block = f"{side}transformer.resblocks.{next(part for part in name.split('.') if part.isdigit())}"
    for number, part in enumerate(("q_proj", "k_proj", "v_proj")):
        if start.endswith(part):
            return named[f"{block}.attn.in_proj_{last}"].chunk(3)[number]
    return named[f"{block}.{next(it for it, names in PARTS.items() if re.search(rf'({names})$', start))}.{last}"]


def other(named: dict[str, Tensor]) -> CLIPModel:
    """The implementation of transformers with the same weights."""
    blocks = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 256}
    text = blocks | {"vocab_size": 600, "max_position_embeddings": 12, "bos_token_id": 1, "eos_token_id": 599}
    seen = blocks | {"image_size": 16, "patch_size": 4}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=seen, projection_dim=8))
    model.load_state_dict({name: of_theirs(name, named) for name in model.state_dict()})
    return model.eval()


@pytest.fixture(scope="module")
def named() -> dict[str, Tensor]:
    return random(clip_shapes()) | {"logit_scale": torch.tensor(1.0), "context_length": torch.tensor(12)}


def test_features_are_those_of_another_implementation(named: dict[str, Tensor]) -> None:
    seeing, reading = clip(named)
    pictures = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([[598, 5, 7, 599, *[0] * 8], [598, *range(9, 19), 599]])
    with torch.no_grad():
        embedded = other(named)(input_ids=tokens, pixel_values=pictures)
        ours = [torch.nn.functional.normalize(it, dim=-1) for it in (seeing(pictures), reading(tokens))]
    torch.testing.assert_close(ours[0], embedded.image_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours[1], embedded.text_embeds, atol=1e-5, rtol=1e-5)


def test_what_comes_after_the_end_of_a_text_does_not_count(named: dict[str, Tensor]) -> None:
    _, reading = clip(named)
    short = torch.tensor([[598, 5, 7, 599, *[0] * 8], [598, 5, 7, 599, *[3] * 8]])
    assert torch.equal(*reading(short))


def test_an_archive_in_half_precision_is_read_in_full(tmp_path: Path, named: dict[str, Tensor]) -> None:
    """As the published files are: names of both sides, numbers of the size beside them."""
    halved = {name: it.half() if it.is_floating_point() else it for name, it in named.items()}
    path = archived(Archive(halved | {"input_resolution": torch.tensor(16)}), tmp_path / "ViT-B-32.pt")
    found = {"clip-b32": str(path), "clip-words": str(vocabulary(tmp_path / "words.gz"))}
    pictures = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    seen, read = Shelf(found).take("clip-b32", "clip-b32-words")
    assert seen(pictures).dtype == torch.float32
    torch.testing.assert_close(seen(pictures), clip(named)[0](pictures), atol=2e-2, rtol=1e-2)
    assert read(["a cat sat", "on the red"]).shape == (2, 8)
    assert torch.equal(read(["a  Cat sat"]), read(["a cat sat"]))


def test_other_networks_and_other_pictures_are_refused(named: dict[str, Tensor]) -> None:
    with pytest.raises(ShapeError, match="not of the size that this CLIP sees"):
        clip(named)[0](torch.zeros(1, 3, 20, 20))
    with pytest.raises(WeightsError, match=r"no conv1\.weight of 4 dimensions"):
        clip({"layer1.weight": torch.zeros(3)})
    with pytest.raises(WeightsError, match="whole heads of 64"):
        clip(random(clip_shapes(width=32)))


def viclip_named(frames: int = 3) -> dict[str, Tensor]:
    seen, read = sight_shapes(64, 2, 4, 17, 8, frames), reading_shapes(64, 2, 12, 600, 8)
    wanted = {f"vision_encoder.{name}": shape for name, shape in seen.items()}
    return random(wanted | {f"text_encoder.{name}": shape for name, shape in read.items()} | {"temp": ()})


def test_viclip_has_the_published_layout() -> None:
    with torch.device("meta"):
        watching = Watching(1024, 24, 14, 257, 8, 768)
    assert shapes(watching) == sight_shapes(1024, 24, 14, 257, 768, 8)
    assert parameters(watching) == 303_966_208 + 8 * 1024  # CLIP ViT-L/14's picture side, and places in time


def test_viclip_sees_patches_of_all_frames_at_once() -> None:
    """Against transformers' encoder, whose input is put together patch by patch."""
    named = viclip_named()
    watching, _ = viclip(named)
    video = torch.randn(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(watching(video), watched(named, video), atol=1e-5, rtol=1e-5)


def watched(named: dict[str, Tensor], video: Tensor) -> Tensor:
    """(b, f, 3, h, w) → (b, e)."""
    mine = {name.removeprefix("vision_encoder."): it for name, it in named.items() if name.startswith("vision")}
    pictures = {f"visual.{name}": it for name, it in mine.items()} | {
        "visual.conv1.weight": mine["conv1.weight"][:, :, 0]
    }
    words = {name.removeprefix("text_encoder."): it for name, it in named.items() if name.startswith("text")}
    model = other(pictures | words | {"logit_scale": torch.tensor(1.0)}).vision_model
    tokens = [(mine["class_embedding"] + mine["positional_embedding"][0]).expand(len(video), -1)]
    for frame in range(video.shape[1]):
        for place in range(16):
            y, x = 4 * (place // 4), 4 * (place % 4)
            patch = video[:, frame, :, y : y + 4, x : x + 4].flatten(1) @ mine["conv1.weight"].flatten(1).T
            tokens.append(
                patch + mine["positional_embedding"][place + 1] + mine["temporal_positional_embedding"][0, frame]
            )
    hidden = model.pre_layrnorm(torch.stack(tokens, dim=1))
    last = model.encoder(inputs_embeds=hidden).last_hidden_state
    return model.post_layernorm(last[:, 0]) @ mine["proj"]


def test_viclip_is_read_from_its_part_of_the_file(tmp_path: Path) -> None:
    torch.save({"model": viclip_named(), "epoch": 1}, tmp_path / "a.pth")
    found = {"viclip": str(tmp_path / "a.pth"), "clip-words": str(vocabulary(tmp_path / "words.gz"))}
    seen, read = Shelf(found).take("viclip", "viclip-words")
    assert seen(torch.zeros(1, 3, 3, 16, 16)).shape == read(["a cat"]).shape == (1, 8)
    with pytest.raises(ShapeError, match="not a video of 3 frames"):
        seen(torch.zeros(1, 2, 3, 16, 16))
