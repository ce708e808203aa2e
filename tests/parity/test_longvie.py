"""Our networks, flow, controls and losses against tensors recorded from published LongVie 2 (data/longvie/README.md).

Everything about a file comes out of its own metadata and tensors, so that recordings of other sizes are checked too.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from golden import OWN_DIR, Fixture, check_file
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from longvie.controls import published
from longvie.engine import conditioning, flow
from longvie.media import resize_frames, to_unit
from longvie.models import names, rope
from longvie.models.autoencoder import Tiled, Tiles
from longvie.models.block import Block, Context
from longvie.models.encoders import PictureEncoder
from longvie.models.transformer import ControlInput, Head, PictureEmbedding, VideoTransformer, sinusoid
from longvie.models.weights import (
    Checkpoint,
    Needed,
    compare,
    described,
    every,
    fill,
    of_branches,
    of_trunk,
    open_checkpoint,
    pictures_config,
    read_transformer,
    read_video_autoencoder,
    renamed,
    video_config,
    words_config,
)
from longvie.training import degradation, losses

FAMILY = "longvie"


def test_file(fixture_file: Path) -> None:
    with torch.inference_mode():
        check_file(fixture_file, CHECKS)


# --- comparing ------------------------------------------------------------------------------------------------------


def near(fixture: Fixture, name: str, got: Tensor, *, relative: float) -> None:
    """`got` against `outputs.<name>` by relative L2 distance, shape included."""
    wanted = fixture.outputs[name].double()
    assert tuple(got.shape) == tuple(wanted.shape), f"{name}: {tuple(got.shape)} for {tuple(wanted.shape)}"
    fixture.checked.add(name)
    distance = float((got.detach().double() - wanted).norm() / wanted.norm().clamp_min(1e-30))
    assert distance < relative, f"{fixture.path.name} {name}: relative L2 {distance:.2e}, allowed {relative:.0e}"


def levels(fixture: Fixture, name: str, got: Tensor, *, share: float = 1.0) -> None:
    """8-bit values: at least `share` of them within one level."""
    wanted = fixture.outputs[name]
    assert got.dtype == torch.uint8
    assert got.shape == wanted.shape
    fixture.checked.add(name)
    close = ((got.int() - wanted.int()).abs() <= 1).double().mean().item()
    assert close >= share, f"{fixture.path.name} {name}: {close:.4%} of the bytes are within one level"


def exactly(fixture: Fixture, name: str, got: Tensor) -> None:
    fixture.check(name, got, atol=0.0)


@contextmanager
def weights_file(fixture: Fixture, prefix: str = "") -> Iterator[Path]:
    """The recording's weights of that prefix as a checkpoint of their own, their names as published."""
    weights = {name: tensor for name, tensor in fixture.weights.items() if name.startswith(prefix)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        save_file(weights, file)
        yield file


# --- the transformer ------------------------------------------------------------------------------------------------


def transformer(fixture: Fixture) -> VideoTransformer:
    """The network of a recording, read as a published one would be, its sizes found from the shapes alone."""
    config = fixture.config
    controlled = any(name.startswith("dual_controller.") for name in fixture.weights)
    with ExitStack() as open_files:
        trunk = open_files.enter_context(weights_file(fixture, "dit." if controlled else ""))
        control = open_files.enter_context(weights_file(fixture, "dual_controller.")) if controlled else None
        model = read_transformer(
            trunk, control=control, head=config["dim"] // config["num_heads"], eps=float(config["eps"])
        )
    wanted = {
        "width": config["dim"],
        "heads": config["num_heads"],
        "layers": config["num_layers"],
        "ffn": config["ffn_dim"],
        "in_channels": config["in_dim"],
        "out_channels": config["out_dim"],
        "text_width": config["text_dim"],
        "time_width": config["freq_dim"],
        "patch": tuple(config["patch_size"]),
        "image_width": config["img_dim"] if config["has_image_input"] else None,
        "control_layers": config.get("control_layers", 0),
        "eps": config["eps"],
    }
    assert {name: model.config[name] for name in wanted} == wanted
    return model


def level(fixture: Fixture) -> Tensor:
    """Timesteps of a recording, 0 to 1000, as our levels; in float64, so that they come back as they were."""
    return fixture.inputs["timestep"].double().expand(len(fixture.inputs["latents"])) / 1000


def controls(fixture: Fixture, gain: float | Tensor = 1.0) -> tuple[ControlInput, ...]:
    dense, sparse = fixture.inputs["dense"], fixture.inputs["sparse"]
    full = torch.ones(dense.shape[0], dense.shape[2])
    return ControlInput("dense", dense, full, gain=gain), ControlInput("sparse", sparse, full)


def given(fixture: Fixture) -> dict[str, Any]:
    """What the recordings give beside latents, time and words."""
    inputs = fixture.inputs
    found: dict[str, Any] = {}
    if "y" in inputs:
        found["condition"] = inputs["y"]
    if "clip_feature" in inputs:
        found["pictures"] = inputs["clip_feature"]
    if "history_latents" in inputs:
        found["history"] = conditioning.history_tokens_longvie(inputs["history_latents"])
    return found


def check_plain(fixture: Fixture) -> None:
    model, inputs = transformer(fixture), fixture.inputs
    seen: dict[str, Tensor] = {}
    model.time_embedding.register_forward_hook(lambda _layer, _given, out: seen.update(time_embedding=out))
    model.time_projection.register_forward_hook(lambda _layer, _given, out: seen.update(time_projection=out))
    out = model(inputs["latents"], level(fixture), inputs["context"], **given(fixture))
    near(fixture, "noise_pred", out, relative=1e-4)
    for name in sorted(fixture.outputs.keys() & seen.keys()):
        near(fixture, name, seen[name].reshape(fixture.outputs[name].shape), relative=1e-5)


def check_dual_control(fixture: Fixture) -> None:
    model, inputs = transformer(fixture), fixture.inputs
    seen: list[Tensor] = []
    model.controls.dense.blocks[0].register_forward_hook(lambda _layer, given, _out: seen.append(given[0]))

    def predict(gain: float | Tensor = 1.0) -> Tensor:
        return model(
            inputs["latents"], level(fixture), inputs["context"], controls=controls(fixture, gain), **given(fixture)
        )

    near(fixture, "noise_pred", predict(), relative=1e-4)
    if "dense_tokens_in" in fixture.outputs:
        near(fixture, "dense_tokens_in", seen[0], relative=1e-5)
    if "noise_pred_dense_scaled" in fixture.outputs:
        gain = inputs["dense_scale"].expand(len(inputs["latents"]))
        near(fixture, "noise_pred_dense_scaled", predict(gain), relative=1e-4)
    if "noise_pred_zero_combine" in fixture.outputs:
        for join in model.controls.joins:
            nn.init.zeros_(join.weight)
            nn.init.zeros_(join.bias)
        near(fixture, "noise_pred_zero_combine", predict(), relative=1e-4)
        plain = model(inputs["latents"], level(fixture), inputs["context"], **given(fixture))
        near(fixture, "noise_pred_zero_combine", plain, relative=1e-4)


def check_block_and_head(fixture: Fixture) -> None:
    config, inputs = fixture.config, fixture.inputs
    x, grid = inputs["x"], config["grid"]
    head_width = config["dim"] // config["num_heads"]
    block = part(
        fixture, "block.", Block(config["dim"], config["num_heads"], config["ffn_dim"], config["eps"], pictures=True)
    )
    first = inputs["clip"].shape[1]  # the context begins with the picture's tokens
    context = Context(inputs["context"][:, first:], inputs["context"][:, :first])
    modulation, rotate = inputs["t_mod"][:, None], grid_rotation(head_width, grid)
    read = block.cross_attn.read(context)
    seen: dict[str, Tensor] = {}
    block.self_attn.register_forward_hook(lambda _layer, given, out: seen.update(modulated=given[0], self_attn_out=out))
    near(fixture, "block_out", block(x, read, modulation, rotate), relative=1e-5)
    near(fixture, "modulated", seen["modulated"], relative=1e-5)
    near(fixture, "self_attn_out", seen["self_attn_out"], relative=1e-5)
    near(fixture, "cross_attn_out", block.cross_attn(block.norm3(x), read), relative=1e-5)

    out = config["out_dim"] * int(np.prod(config["patch_size"]))
    head = part(fixture, "head.", Head(config["dim"], out, config["eps"]))
    predicted = head(x, inputs["t"].expand(len(x), -1)[:, None])
    near(fixture, "head_out", predicted, relative=1e-5)
    model = VideoTransformer(
        width=config["dim"],
        layers=1,
        heads=config["num_heads"],
        ffn=config["ffn_dim"],
        out_channels=config["out_dim"],
        patch=config["patch_size"],
    )
    near(fixture, "unpatchified", model._unpatch(predicted[:1], tuple(grid)), relative=1e-5)

    pictures = part(fixture, "img_emb.", PictureEmbedding(config["img_dim"], config["dim"]))
    near(fixture, "img_tokens", pictures(inputs["clip"]), relative=1e-5)


def part(fixture: Fixture, prefix: str, module: nn.Module) -> nn.Module:
    """A module with the recording's weights of that prefix, every one of them."""
    weights = {name.removeprefix(prefix): tensor for name, tensor in fixture.weights.items() if name.startswith(prefix)}
    module.load_state_dict(weights, strict=True)
    return module.eval()


def grid_rotation(head: int, grid: list[int]) -> rope.Rotation:
    return rope.rotation(head, *(torch.arange(size) for size in grid))


def check_rope_and_time(fixture: Fixture) -> None:
    config, outputs = fixture.config, fixture.outputs
    head, split = config["head_dim"], rope.split(config["head_dim"])
    assert list(split) == config["split"]
    q = fixture.inputs["q"].unflatten(-1, (config["num_heads"], head))
    near(fixture, "rope_out", grid_rotation(head, config["grid"])(q).flatten(2), relative=1e-6)
    for axis, width in zip("fhw", split, strict=True):
        known = [name for name in outputs if name in (f"angles_{axis}", f"cos_{axis}", f"sin_{axis}")]
        for name in known:
            turned = rope.angles(torch.arange(len(outputs[name])), width, float(config["theta"]))
            fixture.check(name, {"a": turned, "c": turned.cos(), "s": turned.sin()}[name[0]], atol=1e-12)
    for name in [name for name in outputs if name.startswith("split")]:
        pairs = [width // 2 for width in rope.split(int(name.removeprefix("split")))]
        exactly(fixture, name, torch.tensor(pairs))
    near(fixture, "sinusoid", sinusoid(fixture.inputs["t"], config["freq_dim"]), relative=1e-6)
    exactly(fixture, "sinusoid_bf16", sinusoid(fixture.inputs["t"].bfloat16(), config["freq_dim"]))


# --- flow -----------------------------------------------------------------------------------------------------------


def check_flow(fixture: Fixture) -> None:
    config, inputs, outputs = fixture.config, fixture.inputs, fixture.outputs
    assert (config["sigma_min"], config["sigma_max"], config["extra_one_step"]) == (0.0, 1.0, True)
    shift, at = float(config["shift"]), config["step_index"]
    for steps in config["steps"]:
        table = flow.times(steps, shift)[:-1]
        fixture.check(f"sigmas_{steps}", table, atol=1e-6)
        fixture.check(f"timesteps_{steps}", table * 1000, atol=1e-3)
        if f"timesteps_bf16_{steps}" in outputs:
            exactly(fixture, f"timesteps_bf16_{steps}", flow.rounded(table) * 1000)

    table = flow.times(max(config["steps"]), shift)
    sample, v, noise = inputs["sample"], inputs["model_output"], inputs["noise"]
    near(fixture, "step", flow.euler(lambda _x, _t: v, sample, table[at : at + 2]), relative=1e-6)
    near(fixture, "step_last", flow.euler(lambda _x, _t: v, sample, table[-2:]), relative=1e-6)
    near(fixture, "add_noise", flow.noised(sample, noise, table[at]), relative=1e-6)

    rows = flow.training_times(shift, config["num_train_timesteps"])
    weights = flow.training_weights(rows)
    fixture.check("train_sigmas", rows, atol=1e-6)
    fixture.check("train_timesteps", rows * 1000, atol=1e-3)
    fixture.check("train_weights", weights, atol=1e-5)
    coarse = flow.rounded(rows[inputs["train_ids"]])
    found = flow.nearest_row(coarse, rows)
    exactly(fixture, "train_bf16_timesteps", coarse * 1000)
    fixture.check("train_bf16_sigma", rows[found], atol=1e-6)
    fixture.check("train_bf16_weight", weights[found], atol=1e-5)
    near(fixture, "train_add_noise", flow.noised(sample, noise, rows[found][2]), relative=1e-6)
    near(fixture, "train_target", flow.velocity(sample, noise), relative=1e-6)


def check_sampling(fixture: Fixture) -> None:
    model, inputs, config = transformer(fixture), fixture.inputs, fixture.config
    table = flow.times(config["num_inference_steps"], float(config["shift"]))

    def sample(start: Tensor, kwargs: Mapping[str, Any]) -> Tensor:
        def velocity(x: Tensor, t: Tensor) -> Tensor:
            both = [
                model(x, t.double().expand(len(x)), inputs[words], controls=controls(fixture), **kwargs)
                for words in ("context", "negative_context")
            ]
            return flow.guided(*both, float(config["cfg_scale"]))

        return flow.euler(velocity, start, table)

    everything = given(fixture)
    without = {name: value for name, value in everything.items() if name != "history"}
    near(fixture, "latents_first_clip", sample(inputs["noise"], without), relative=1e-4)
    start = flow.seam_start(inputs["noise"], inputs["history_latents"][:, :, -1])
    near(fixture, "next_clip_start", start, relative=1e-6)
    near(fixture, "latents_next_clip", sample(start, everything), relative=1e-4)


# --- conditioning ---------------------------------------------------------------------------------------------------


def check_condition(fixture: Fixture) -> None:
    inputs, config = fixture.inputs, fixture.config
    size = (config["height"], config["width"])

    def encode(video: Tensor) -> Tensor:
        """The recording's stand-in for an autoencoder: means over cells and groups of frames, then a fixed mix."""
        groups = [video[:, :, :1], *video[:, :, 1:].split(4, dim=2)]
        means = torch.stack([functional.avg_pool2d(group.mean(dim=2), 8) for group in groups], dim=2)
        return torch.einsum("bclhw,kc->bklhw", means, inputs["stub_mix"])

    def video(name: str) -> Tensor:
        return to_unit(resize_frames(inputs[name].numpy(), size, "bicubic"))[None]

    picture = resize_frames(inputs["image"].numpy()[None], size, "bicubic")
    exactly(fixture, "resized_image", torch.from_numpy(picture[0]))
    frames = config["num_frames"]
    near(fixture, "y", conditioning.picture_channels(encode, to_unit(picture)[None, :, 0], frames), relative=1e-5)
    for branch in ("dense", "sparse"):
        near(fixture, branch, conditioning.control_channels(encode, video(f"{branch}_video")), relative=1e-5)


# --- encoders and the autoencoder -----------------------------------------------------------------------------------


def check_pictures(fixture: Fixture) -> None:
    config = fixture.config
    assert config["pre_norm"]
    assert config["activation"].startswith("gelu")
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=config["dim"],
            intermediate_size=config["dim"] * config["mlp_ratio"],
            num_hidden_layers=config["num_layers"],
            num_attention_heads=config["num_heads"],
            image_size=config["image_size"],
            patch_size=config["patch_size"],
            hidden_act="gelu",
            layer_norm_eps=config["norm_eps"],
        )
    )
    with weights_file(fixture) as file:
        fill(tower, open_checkpoint(file), names.pictures)
    near(fixture, "clip_feature", PictureEncoder(tower.eval()).encode(fixture.inputs["image"]), relative=1e-4)


def check_words(fixture: Fixture) -> None:
    config, inputs = fixture.config, fixture.inputs
    assert not config["shared_pos"]
    encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=config["vocab"],
            d_model=config["dim"],
            d_kv=config["dim_attn"] // config["num_heads"],
            d_ff=config["dim_ffn"],
            num_layers=config["num_layers"],
            num_heads=config["num_heads"],
            relative_attention_num_buckets=config["num_buckets"],
            relative_attention_max_distance=config["max_dist"],
            layer_norm_epsilon=config["eps"],
        )
    )
    with weights_file(fixture) as file:
        fill(encoder, open_checkpoint(file), names.words)
    encoder.tie_weights()
    encoder.eval()
    mask = inputs["mask"].bool()
    hidden = encoder(input_ids=inputs["ids"], attention_mask=inputs["mask"]).last_hidden_state
    wanted = fixture.outputs["hidden"]
    near(fixture, "hidden", torch.where(mask[..., None], hidden, wanted), relative=1e-4)  # padded rows mean nothing
    near(fixture, "context", hidden * mask[..., None], relative=1e-4)


def check_video(fixture: Fixture) -> None:
    config, inputs = fixture.config, fixture.inputs
    assert not config["attn_scales"]
    with weights_file(fixture) as file:
        autoencoder = read_video_autoencoder(file)
    facts = autoencoder.network.config
    assert (
        facts.base_dim,
        facts.z_dim,
        list(facts.dim_mult),
        facts.num_res_blocks,
        list(facts.temperal_downsample),
    ) == (
        config["dim"],
        config["z_dim"],
        config["dim_mult"],
        config["num_res_blocks"],
        config["temporal_downsample"],
    )
    near(fixture, "latents", autoencoder.encode(inputs["video"], drop_extra=True)[0], relative=1e-4)
    near(fixture, "history_latents", autoencoder.encode(inputs["history"], drop_extra=True)[0], relative=1e-4)
    near(fixture, "decoded", autoencoder.decode(inputs["z"])[0], relative=1e-4)
    near(fixture, "decoded_raw", autoencoder.decode(inputs["z"], limit=False)[0], relative=1e-4)
    tiled: Tiled = Tiled(autoencoder, Tiles(tuple(config["tile_size"]), tuple(config["tile_stride"])))
    whole = inputs["video"][:, :, : 4 * ((inputs["video"].shape[2] - 1) // 4) + 1]
    near(fixture, "tiled_latents", tiled.encode(whole)[0], relative=1e-4)
    near(fixture, "tiled_decoded", tiled.decode(inputs["z"])[0], relative=1e-4)


# --- controls -------------------------------------------------------------------------------------------------------


def check_control_videos(fixture: Fixture) -> None:
    config, inputs = fixture.config, fixture.inputs
    tracks = inputs["tracks"].numpy()
    assert tracks.shape == (config["T"], config["num_points"], 3)
    size = (config["height"], config["width"])
    painted = published.paint(tracks, published.TrackStyle.of(tracks[0]), size, opening=True)
    levels(fixture, "track_frames", torch.from_numpy(painted).permute(0, 3, 1, 2)[None], share=0.999)
    normalised = published.depth_normalised(inputs["raw_depth"].numpy())
    fixture.check("depth_normalised", torch.from_numpy(normalised), atol=1e-5)
    levels(fixture, "depth_uint8", torch.from_numpy(published.depth_uint8(normalised)))


# --- training -------------------------------------------------------------------------------------------------------


def check_degradation(fixture: Fixture) -> None:
    config, inputs = fixture.config, fixture.inputs
    depth = as_video(inputs["depth"])
    scales = [scale for scale in degradation.SCALES if scale != config["dropped_scale"]]
    assert len(scales) == len(degradation.SCALES) - 1
    fused = degradation.fused(depth, scales, inputs["raw_weights"])
    near(fixture, "fused", from_video(fused), relative=1e-5)
    blurred = degradation.blurred(depth, config["blur_kernel_used"])
    near(fixture, "blurred", from_video(blurred), relative=1e-5)

    frames = to_unit(inputs["frames"].numpy())[None]
    drifted = degradation.colour_drift(
        frames,
        inputs["tint_offset"],
        inputs["mask_noise"],
        strength=float(config["tint_strength"]),
        variation=float(config["spatial_var"]),
    )
    truncated = ((drifted[0] + 1) * 127.5).clamp(0, 255).byte().permute(1, 2, 3, 0)
    levels(fixture, "colour_drift", truncated)


def as_video(frames: Tensor) -> Tensor:
    """(f, c, h, w) in [0, 1] -> (1, c, f, h, w) in [-1, 1]."""
    return frames.transpose(0, 1)[None] * 2 - 1


def from_video(video: Tensor) -> Tensor:
    return (video[0].transpose(0, 1) + 1) / 2


def check_training_loss(fixture: Fixture) -> None:
    config, inputs, outputs = fixture.config, fixture.inputs, fixture.outputs
    x0, noise, predicted = inputs["input_latents"], inputs["noise"], inputs["noise_pred"]
    assert x0.shape[2] == config["frames"]
    rows = flow.training_times(float(config["shift"]))
    weights = flow.training_weights(rows)
    row = config["timestep_row"]
    target, weight = flow.velocity(x0, noise), weights[row : row + 1]
    fixture.check("timestep", rows[row : row + 1] * 1000, atol=1e-3)
    fixture.check("weight", weight, atol=0, rtol=1e-5)
    near(fixture, "latents", flow.noised(x0, noise, rows[row]), relative=1e-6)
    fixture.check("loss_plain", losses.plain_loss(predicted, target, weight), atol=0, rtol=1e-5)
    tied = {"noise": noise, "picture": inputs["input_deg_image"]}
    loss = losses.degraded_loss(predicted, target, weight, **tied)
    fixture.check("loss_degraded_no_history", loss, atol=0, rtol=1e-5)
    loss = losses.degraded_loss(predicted, target, weight, **tied, history=inputs["input_history_image"])
    fixture.check("loss_degraded_with_history", loss, atol=0, rtol=1e-5)
    near(fixture, "lowpass_of_deg", losses.low_pass(inputs["input_deg_image"]), relative=1e-6)
    if "loss_plain_stage1_bf16_timestep" in outputs:
        found = flow.nearest_row(flow.rounded(rows[row : row + 1]), rows)
        coarse = losses.plain_loss(predicted, target, weights[found])
        fixture.check("loss_plain_stage1_bf16_timestep", coarse, atol=0, rtol=1e-5)


CHECKS = {
    "block_and_head": check_block_and_head,
    "clip_vision": check_pictures,
    "control_videos": check_control_videos,
    "degradation": check_degradation,
    "dit_i2v": check_plain,
    "dit_t2v": check_plain,
    "dual_control": check_dual_control,
    "flow_match_schedule": check_flow,
    "i2v_condition": check_condition,
    "rope_and_time": check_rope_and_time,
    "sampling": check_sampling,
    "text_encoder": check_words,
    "training_loss": check_training_loss,
    "wan_vae": check_video,
}


# --- names at full size ---------------------------------------------------------------------------------------------

COUNTED_AS = {  # the list of names -> its number of parameters
    "dit_original_layout": "dit",
    "dit_diffusers_layout": "dit_diffusers",
    "dual_controller": "dual_controller",
    "vae_original_layout": "vae",
    "vae_diffusers_layout": "vae",
    "text_encoder_original_layout": "text_encoder",
    "clip_visual_original_layout": "clip_visual",
}


def test_every_published_name_is_known(keys_file: Path) -> None:
    """Full-size networks without memory: each published name finds its weight, of its shape, and no weight is left."""
    recorded = json.loads(keys_file.read_text())
    recorded.pop("note", None)
    counts = recorded.pop("parameter_counts")
    assert recorded.keys() == COUNTED_AS.keys()
    lists = {key: listed(key, shapes) for key, shapes in recorded.items()}
    transformer = full_transformer(lists["dit_original_layout"], lists["dual_controller"])
    for key, checkpoint in lists.items():
        needed: Needed = every
        if key.startswith(("dit_", "dual_")):
            model, convert = transformer, names.transformer
            needed = of_trunk if key.startswith("dit_") else of_branches
        elif key.startswith("vae_"):
            convert = names.video(checkpoint.shapes)
            model = full(lambda shapes: AutoencoderKLWan(**video_config(shapes)), checkpoint, convert)
        elif key.startswith("text_"):
            convert = names.words
            model = full(lambda shapes: UMT5EncoderModel(words_config(shapes)), checkpoint, convert)
        else:
            convert = names.pictures
            model = full(lambda shapes: CLIPVisionModel(pictures_config(shapes, heads=16)), checkpoint, convert)
        report = compare(model, checkpoint, convert).require(needed)
        assert report.left_out in ((), ("visual.head",)), key
        assert sum(int(np.prod(shape)) for shape in checkpoint.shapes.values()) == counts[COUNTED_AS[key]], key


def listed(key: str, shapes: Mapping[str, list[int]]) -> Checkpoint:
    """A list of names and shapes as if it were a file."""
    return Checkpoint(key, dict.fromkeys(shapes, Path(key)), {name: tuple(shape) for name, shape in shapes.items()})


def full_transformer(trunk: Checkpoint, control: Checkpoint) -> VideoTransformer:
    shapes = renamed(trunk, names.transformer) | renamed(control, names.transformer)
    with torch.device("meta"):
        return VideoTransformer(**described(shapes))


def full(
    build: Callable[[Mapping[str, Any]], nn.Module], checkpoint: Checkpoint, convert: names.Converter
) -> nn.Module:
    with torch.device("meta"):
        return build(renamed(checkpoint, convert))


def test_layouts_round_trip() -> None:
    """Every published trunk name goes to diffusers' and back, every branch name to ours and back."""
    recorded = json.loads((OWN_DIR / FAMILY / "keys_14b.json").read_text())
    nothing = torch.empty(0)
    ours = [name for theirs in recorded["dit_original_layout"] for name in names.transformer(theirs, nothing)]
    assert ours == list(recorded["dit_original_layout"])
    assert {names.to_diffusers(name) for name in ours} == recorded["dit_diffusers_layout"].keys()
    back = {name for theirs in recorded["dit_diffusers_layout"] for name in names.transformer(theirs, nothing)}
    assert back == set(ours)
    branches = [name for theirs in recorded["dual_controller"] for name in names.transformer(theirs, nothing)]
    assert [names.to_longvie(name) for name in branches] == list(recorded["dual_controller"])


# --- the checks must be able to fail --------------------------------------------------------------------------------


def outputs_of(*stems: str) -> list[tuple[str, str]]:
    loaded = [Fixture.load(OWN_DIR / FAMILY / f"{stem}.safetensors") for stem in stems]
    return [(fixture.path.stem, name) for fixture in loaded for name in sorted(fixture.outputs)]


CHEAP = ("degradation", "flow_match_schedule", "i2v_condition", "rope_and_time", "training_loss")


@pytest.mark.parametrize(("stem", "name"), outputs_of(*CHEAP))
def test_a_wrong_output_is_noticed(stem: str, name: str) -> None:
    fixture = Fixture.load(OWN_DIR / FAMILY / f"{stem}.safetensors")
    wrong = fixture.outputs[name].clone()
    wrong.view(-1)[0] += 3
    fixture.outputs[name] = wrong
    with torch.inference_mode(), pytest.raises(AssertionError):
        CHECKS[stem](fixture)


def test_an_output_that_nobody_knows_is_noticed() -> None:
    fixture = Fixture.load(OWN_DIR / FAMILY / "degradation.safetensors")
    fixture.outputs["sharpened"] = torch.zeros(1)
    with torch.inference_mode():
        check_degradation(fixture)
    with pytest.raises(pytest.fail.Exception, match="sharpened"):
        fixture.finish()
