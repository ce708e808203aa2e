"""Our memory, sampler, masks and distillation against tensors recorded from LongLive (data/longlive/README.md).

Everything about a file comes out of its own metadata and tensors. Recordings hold frames before channels.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from golden import Fixture, check_file
from torch import Tensor

from longvie.engine import flow
from longvie.engine.causal import block_causal, teacher_forcing
from longvie.engine.clip import renoised
from longvie.engine.memory import Memory, Window
from longvie.models import names
from longvie.models.block import ListPast, Past
from longvie.models.lora import in_blocks, pairs
from longvie.models.rope import Rotation
from longvie.models.transformer import VideoTransformer
from longvie.models.weights import Checkpoint, compare, described, every, matched, renamed
from longvie.training import dmd
from longvie.training.rollout import roll

FAMILY = "longlive"
TOLERANCE = {  # largest absolute difference in float32, from data/longlive/README.md
    "flow": 2e-5,
    "sampled": 5e-5,
    "scheduler": 1e-6,
}
CLEAN = 0.0


def test_file(fixture_file: Path) -> None:
    with torch.no_grad():
        check_file(fixture_file, CHECKS)


# --- the network and its memory -------------------------------------------------------------------------------------


def transformer(fixture: Fixture, prefix: str = "") -> VideoTransformer:
    """The network of a recording, its sizes found from the shapes of its weights."""
    config = fixture.config
    weights = {
        name: tensor
        for theirs, weight in fixture.weights.items()
        if theirs.startswith(prefix)
        for name, tensor in names.transformer(theirs.removeprefix(prefix), weight).items()
    }
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    model = VideoTransformer(**described(shapes, config["head_dim"]), eps=config["eps"])
    model.load_state_dict(weights, strict=True)
    return model.eval()


def turned(x: Tensor) -> Tensor:
    """(b, l, c, h, w), as recorded, to (b, c, l, h, w), as ours, and back."""
    return x.transpose(1, 2)


@dataclass
class Stream:
    """A network and what it remembers."""

    model: VideoTransformer
    memory: Memory

    @classmethod
    def of(cls, fixture: Fixture, *, relative: bool, frames: int | None = None) -> "Stream":
        """With the recording's window, or one for so many frames without a sink."""
        config, model = fixture.config, transformer(fixture)
        block = config["num_frame_per_block"]
        sink, whole = (config["sink_size"], config["local_attn_size"]) if frames is None else (0, frames)
        window = Window(sink, whole - sink - block)
        return cls(model, Memory(window, block, model.turn(*config["grid_hw"]), relative=relative))

    def call(self, x: Tensor, times: Tensor | float, words: Tensor, positions: Tensor) -> Tensor:
        """The network's prediction, all as ours."""
        times = times if isinstance(times, Tensor) else torch.full((len(x),), times)
        return self.model(x, times, words, past=self.memory, positions=positions)

    def keep(self, clean: Tensor, words: Tensor, first: int) -> Tensor:
        """Remember clean frames, which begin at `first`; what the network makes of them is of no use."""
        positions = self.memory.begin(range(first, first + clean.shape[2]))
        out = self.call(clean, CLEAN, words, positions)
        self.memory.end()
        return out

    def recache(self, made: Tensor, words: Tensor, *, keep_sink: bool) -> Tensor:
        """All that is remembered of the frames made so far, under other words."""
        frames, positions = self.memory.begin_again(made.shape[2], keep_sink=keep_sink)
        out = self.call(made[:, :, frames.start :], CLEAN, words, positions)
        self.memory.end()
        return out

    def stored(self, layer: int, kind: str) -> Tensor:
        """Keys or values in the order of their frames, as the recordings have them."""
        named, ranks = self.memory.tensors(), self.memory.slots.ranks()
        frames = named[f"{layer}.{kind}"].unflatten(1, (len(ranks), -1))
        return frames[:, torch.tensor(ranks).argsort()].flatten(1, 2)


def blocks(fixture: Fixture, frames: int) -> Iterator[range]:
    step = fixture.config["num_frame_per_block"]
    return (range(first, first + step) for first in range(0, frames, step))


def check_block_steps(fixture: Fixture) -> None:
    inputs, relative = fixture.inputs, "relative" in fixture.config["rope"]
    stream, words = Stream.of(fixture, relative=relative), inputs["context"]
    for call in json.loads(fixture.description)["calls"]:
        name, block = call["name"], call["name"].partition("_")[0]
        first, size = call["current_start_frame"], fixture.config["num_frame_per_block"]
        positions = stream.memory.begin(range(first, first + size))
        x = inputs.get(f"{name}.x", inputs[f"{block}_noisy_a.x"])
        out = stream.call(turned(x), inputs[f"{name}.t"].double() / 1000, words, positions)
        fixture.check(f"{name}.flow", turned(out), atol=TOLERANCE["flow"])
        if name.endswith("clean"):
            stream.memory.end()
            check_stored(fixture, f"cache_after_{block}", stream)


def check_stored(fixture: Fixture, prefix: str, stream: Stream) -> None:
    for layer in range(fixture.config["num_layers"]):
        for kind, letter in (("keys", "k"), ("values", "v")):
            name = f"{prefix}.layer{layer}.{letter}"
            if name in fixture.outputs:
                fixture.check(name, stream.stored(layer, kind), atol=TOLERANCE["flow"])


def check_recache(fixture: Fixture) -> None:
    for scenario in json.loads(fixture.description)["scenarios"]:
        check_scenario(fixture, scenario["name"], scenario["blocks_before_switch"])


def check_scenario(fixture: Fixture, name: str, count: int) -> None:
    """One change of words after `count` blocks: what the next block sees without a recache, and after one."""
    inputs, atol = fixture.inputs, TOLERANCE["flow"]
    positions_of, _, pipeline, sink = name.split(".")
    stream = Stream.of(fixture, relative=positions_of == "relative")
    frames = count * fixture.config["num_frame_per_block"]
    clean, old, new = turned(inputs["clean_latents"])[:, :, :frames], inputs["prompt_old"], inputs["prompt_new"]
    for own in blocks(fixture, frames):
        stream.keep(clean[:, :, own.start : own.stop], old, own.start)

    def following(words: Tensor) -> Tensor:
        kept = stream.memory.copy()
        x = turned(inputs["next_noisy"])
        positions = kept.begin(range(frames, frames + x.shape[2]))
        return turned(Stream(stream.model, kept).call(x, 0.9375, words, positions))

    fixture.check(f"{name}.next_block_flow_old_prompt_no_recache", following(old), atol=atol)
    if pipeline == "switch":
        empty_sink(stream.memory)
    keep_sink = pipeline == "switch" or sink == "global_sink_true"
    fixture.check(f"{name}.recache_pass_flow", turned(stream.recache(clean, new, keep_sink=keep_sink)), atol=atol)
    for kind in ("keys", "values"):
        stored = f"{name}.cache_layer1.{kind[0]}_after_recache"
        if stored in fixture.outputs:
            fixture.check(stored, stream.stored(1, kind), atol=atol)
    fixture.check(f"{name}.next_block_flow_after_recache", following(new), atol=atol)


def empty_sink(memory: Memory) -> None:
    """The reference's own oversight when it trains with a change of words: the first frames become zeros, and stay so
    (reference §3.2). Nobody needs it but this recording.
    """
    named = {name: tensor.clone() for name, tensor in memory.tensors().items()}
    for name, tensor in named.items():
        if name != "frames":
            tensor.unflatten(1, (memory.slots.filled, -1))[:, : memory.window.sink] = 0
    memory.restore(named)


# --- names ----------------------------------------------------------------------------------------------------------


def test_every_published_name_is_known(keys_file: Path) -> None:
    """Of the full-size network each published name finds its weight, of its shape, as do both halves of the adapter at
    every layer of every block; and the files' own prefixes are seen through.
    """
    recorded = json.loads(keys_file.read_text())
    trunk, lora = recorded["state_dict"], recorded["lora"]
    for prefix in ("", recorded["checkpoint_prefixes"]["wrapper_state_dict_prefix"], "model._fsdp_wrapped_module."):
        published = listed("base", {f"{prefix}{name}": shape for name, shape in trunk.items()})
        with torch.device("meta"):
            model = VideoTransformer(**described(renamed(published, names.transformer)))
        report = compare(model, published, names.transformer).require(every)
        assert not report.left_out and len(report.loaded) == recorded["num_keys"]
    assert sum(weight.numel() for weight in model.parameters()) == recorded["num_parameters"]

    adapter = listed("lora", lora["state_dict"])
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    report = matched(pairs(shapes, renamed(adapter, names.adapter)), adapter, names.adapter)
    halves = report.require(lambda name: in_blocks(name) and not name.endswith("alpha")).loaded
    assert not report.left_out and len(halves) == lora["num_keys"] == 2 * lora["num_target_modules"]


def listed(name: str, shapes: Mapping[str, list[int]]) -> Checkpoint:
    """A list of names and shapes as if it were a file."""
    return Checkpoint(name, dict.fromkeys(shapes, Path(name)), {key: tuple(shape) for key, shape in shapes.items()})


# --- whole clips ----------------------------------------------------------------------------------------------------


def check_train_forward(fixture: Fixture) -> None:
    config, inputs, atol = fixture.config, fixture.inputs, TOLERANCE["flow"]
    model, words = transformer(fixture), inputs["context"]
    frames, block = config["num_frames"], config["num_frame_per_block"]
    x, clean, times = turned(inputs["x"]), turned(inputs["clean_x"]), inputs["t"].double() / 1000

    def check(name: str, out: Tensor) -> None:
        fixture.check(f"{name}.flow", turned(out), atol=atol)

    check("bidirectional", model(x, times[:, 0], words))
    check("block_causal", model(x, times, words, visible=block_causal(frames, block)))
    local = Window(0, config["block_causal_local_window_frames"] - block)
    check("block_causal_local", model(x, times, words, visible=block_causal(frames, block, window=local)))
    given = {
        "history": clean,
        "positions": torch.arange(frames).repeat(2),
        "visible": teacher_forcing(frames, block),
    }
    check("teacher_forcing", model(x, times, words, **given, history_times=torch.zeros_like(times)))
    check("teacher_forcing_aug", model(x, times, words, **given, history_times=inputs["aug_t"].double() / 1000))

    same, after_clean = Stream.of(fixture, relative=False, frames=frames), []
    teacher = Stream.of(fixture, relative=True, frames=frames)
    out = []
    for own in blocks(fixture, frames):
        span = slice(own.start, own.stop)
        out.append(same.call(x[:, :, span], times[:, span], words, same.memory.begin(own)))
        same.memory.end()
        after_clean.append(teacher.call(x[:, :, span], times[:, span], words, teacher.memory.begin(own)))
        teacher.keep(clean[:, :, span], words, own.start)
    check("cached_same_t", torch.cat(out, dim=2))
    check("cached_clean_context", torch.cat(after_clean, dim=2))


# --- sampling -------------------------------------------------------------------------------------------------------


def levels(fixture: Fixture) -> Tensor:
    """The steps that a config calls 1000, 750, 500, 250: those of as many even steps under the shift."""
    config = fixture.config
    steps = config["denoising_step_list"]
    assert steps == [1000 - 1000 * step // len(steps) for step in range(len(steps))]
    assert config["warp_denoising_step"]
    return flow.times(len(steps), config["timestep_shift"])


def sampled(
    fixture: Fixture, stream: Stream, own: range, words: Tensor, seen: dict[str, Tensor] | None = None
) -> Tensor:
    """Clean latents of a block, which are then remembered; each step's prediction and guess go into `seen`."""
    seen = {} if seen is None else seen
    number = own.start // len(own)
    positions = stream.memory.begin(own)

    def clean(x: Tensor, t: Tensor) -> Tensor:
        step = f"block{number}.step{sum('x0' in name for name in seen if name.startswith(f'block{number}.'))}"
        v = stream.call(x, t.double().expand(len(x)), words, positions)
        seen[f"{step}.flow"], seen[f"{step}.x0"] = v, flow.x0_from_velocity(v, x, t.double())
        return seen[f"{step}.x0"]

    def fresh(_like: Tensor, step: int) -> Tensor:
        return turned(fixture.inputs["renoise"][number, step])

    made = renoised(clean, turned(fixture.inputs["noise"])[:, :, own.start : own.stop], levels(fixture), fresh)
    seen[f"block{number}.context_pass.flow"] = stream.keep(made, words, own.start)
    return made


def check_sampling(fixture: Fixture) -> None:
    atol, words = TOLERANCE["sampled"], fixture.inputs["prompt_embeds"]
    stream = Stream.of(fixture, relative="relative" in fixture.config["rope"])
    seen: dict[str, Tensor] = {}
    frames = fixture.inputs["noise"].shape[1]
    made = torch.cat([sampled(fixture, stream, own, words, seen) for own in blocks(fixture, frames)], dim=2)
    fixture.check("denoising_step_list", levels(fixture)[:-1] * 1000, atol=0, rtol=1e-7)
    for name in fixture.outputs.keys() & seen.keys():
        fixture.check(name, turned(seen[name]), atol=atol)
    fixture.check("latents", turned(made), atol=atol)
    fixture.check("video_unit_range", turned(made / 2 + 0.5).clamp(0, 1), atol=atol)


def check_interactive(fixture: Fixture) -> None:
    """Words change when a block begins at the frame named or after it; then all that is remembered is made anew."""
    inputs, switches = fixture.inputs, fixture.config["switch_frame_indices"]
    prompts = [inputs[f"prompt_embeds{k}"] for k in range(len(switches) + 1)]
    for name, keep_sink in (("true", True), ("false", False)):
        stream, spoken = Stream.of(fixture, relative=False), 0
        made = turned(inputs["noise"])[:, :, :0]
        for own in blocks(fixture, inputs["noise"].shape[1]):
            if spoken < len(switches) and own.start >= switches[spoken]:
                spoken += 1
                stream.recache(made, prompts[spoken], keep_sink=keep_sink)
            made = torch.cat((made, sampled(fixture, stream, own, prompts[spoken])), dim=2)
        fixture.check(f"latents.global_sink_{name}", turned(made), atol=TOLERANCE["sampled"])


def check_scheduler(fixture: Fixture) -> None:
    for shift in fixture.config["shifts"]:
        check_shift(fixture, f"shift{shift:g}", float(shift))
    short = flow.shifted(torch.linspace(1, 0.003 / 1.002, 10), 3.0)  # the class's own defaults, used nowhere
    fixture.check("default_shift3_10steps.sigmas", short, atol=0, rtol=1e-6)
    fixture.check("default_shift3_10steps.timesteps", short * 1000, atol=0, rtol=1e-6)


def check_shift(fixture: Fixture, name: str, shift: float) -> None:
    inputs, atol = fixture.inputs, TOLERANCE["scheduler"]
    table = flow.training_times(shift, fixture.config["num_train_timesteps"])
    weights = flow.training_weights(table)
    t = inputs["timestep"].double() / 1000
    found = flow.looked_up(t, table)
    x0, noise, v = (inputs[kind][:, :, None] for kind in ("x0", "noise", "flow"))  # rows are samples of one frame

    def check(kind: str, got: Tensor, *, atol: float = 0.0, rtol: float = 0.0) -> None:
        fixture.check(f"{name}.{kind}", got, atol=atol, rtol=rtol)

    check("sigmas", table, rtol=1e-7)
    check("timesteps", table * 1000, rtol=1e-7)
    check("warped_steps_1000_750_500_250", flow.times(4, shift)[:-1] * 1000, rtol=1e-7)
    check("training_weights", weights, atol=atol)
    check("training_weight", weights[flow.nearest_row(t, table)], atol=atol)
    x = flow.noised(x0, noise, found)
    check("add_noise", x[:, :, 0], atol=atol)
    check("flow_to_x0", flow.x0_from_velocity(v, x, found)[:, :, 0], atol=atol)
    check("x0_to_flow", flow.velocity_from_x0(x0, x, found)[:, :, 0], atol=0, rtol=1e-4)
    rows = range(len(fixture.outputs[f"{name}.step"]))
    to_0 = [torch.stack((found[row], found.new_zeros(()))) for row in rows]  # one was at its last row: then all go to 0
    steps = [flow.euler(lambda _x, _t, row=row: v[[row]], x[[row]], to_0[row]) for row in rows]
    check("step", torch.cat(steps)[:, :, 0], atol=atol)
    check("dmd_shifted_clamped_t", dmd.levels(inputs["dmd_uniform_t"], shift) * 1000, rtol=1e-6)


# --- distillation ---------------------------------------------------------------------------------------------------


def scaled(fixture: Fixture, name: str, got: Tensor, relative: float = 1e-5) -> None:
    """Compared at a share of the largest value, for gradients are small."""
    fixture.check(name, got, atol=relative * float(fixture.outputs[name].abs().max()))


def check_dmd(fixture: Fixture) -> None:
    inputs, outputs = fixture.inputs, fixture.outputs
    clean = turned(inputs["generated"])
    for name in sorted(output.removesuffix(".grad") for output in outputs if output.endswith(".grad")):
        scales = (float(part) for part in name.removeprefix("cfg").split("_fake"))
        pairs = (("pred_real_cond", "pred_real_uncond"), ("pred_fake", "pred_fake_uncond"))
        real, fake = (
            flow.guided(turned(inputs[on]), turned(inputs[off]), 1 + scale)
            for (on, off), scale in zip(pairs, scales, strict=True)
        )
        towards = dmd.gradient(clean, real, fake)
        scaled(fixture, f"{name}.grad", turned(towards))
        scaled(fixture, f"{name}.normalizer", dmd.distance(clean, real))
        scaled(fixture, f"{name}.gradient_norm", towards.abs().mean()[None])
        for kind, counted in (("mask", inputs["gradient_mask_frames"]), ("nomask", None)):
            check_dmd_loss(fixture, f"{name}.{kind}", towards, counted)
    check_score_networks(fixture)


def check_dmd_loss(fixture: Fixture, name: str, towards: Tensor, counted: Tensor | None) -> None:
    clean = fixture.inputs["generated"].clone().requires_grad_()
    with torch.enable_grad():
        loss = dmd.loss(turned(clean), towards, counted)
        loss.backward()
    scaled(fixture, f"{name}.loss", loss[None])
    scaled(fixture, f"{name}.loss_f64", loss[None], relative=1e-6)  # of float32 guesses
    scaled(fixture, f"{name}.dloss_dgenerated", clean.grad)
    fixture.check(f"{name}.timestep", drawn_timesteps(fixture), atol=0, rtol=1e-6)


def drawn_timesteps(fixture: Fixture) -> Tensor:
    t = dmd.levels(fixture.inputs["uniform_t"][:, 0], fixture.config["dmd_timestep_shift"]) * 1000
    return t[:, None].expand_as(fixture.inputs["uniform_t"])


def check_score_networks(fixture: Fixture) -> None:
    """With two networks; each turns its velocity into clean latents by a table of its own shift, as published."""
    config, inputs = fixture.config, fixture.inputs
    t = drawn_timesteps(fixture)[:, 0].double() / 1000
    table = flow.training_times(config["generator_timestep_shift"])
    told, noise = flow.looked_up(t, table), turned(inputs["noise"])
    found = flow.looked_up(t, flow.training_times(config["score_wrapper_shift"]))

    def guess(model: VideoTransformer, noisy: Tensor, words: str) -> Tensor:
        return flow.x0_from_velocity(model(noisy, t, inputs[f"net.{words}"]), noisy, found)

    real, fake = transformer(fixture, "real."), transformer(fixture, "fake.")

    def teacher(noisy: Tensor, _t: Tensor) -> Tensor:
        return flow.guided(guess(real, noisy, "cond"), guess(real, noisy, "uncond"), 4.0)  # 3 beyond the first

    clean = inputs["generated"].clone().requires_grad_()
    with torch.enable_grad():
        towards = dmd.matched(turned(clean), noise, told, teacher, lambda noisy, _t: guess(fake, noisy, "cond"))
        loss = dmd.loss(turned(clean), towards)
        loss.backward()
    scaled(fixture, "net.dmd_loss", loss[None])
    scaled(fixture, "net.dloss_dgenerated", clean.grad)
    fixture.check("net.timestep", drawn_timesteps(fixture), atol=0, rtol=1e-6)

    clean = turned(inputs["generated"])
    noisy = flow.noised(clean, noise, told)
    with torch.enable_grad():
        loss = dmd.critic_loss(guess(fake, noisy, "cond"), noisy, clean, noise, told)
        loss.backward()
    scaled(fixture, "net.critic_loss", loss[None])
    fixture.check("net.critic_timestep", drawn_timesteps(fixture), atol=0, rtol=1e-6)
    check_gradients(fixture, "net.critic_grad.", fake, relative=1e-5)


def check_gradients(fixture: Fixture, prefix: str, model: VideoTransformer, *, relative: float) -> None:
    weights = dict(model.named_parameters())
    for output in [output for output in fixture.outputs if output.startswith(prefix)]:
        grad = weights[output.removeprefix(prefix)].grad
        assert grad is not None, output
        scaled(fixture, output, grad, relative)


def check_rollout(fixture: Fixture) -> None:
    """Gradients as they should be, and as published, with the leak."""
    check_rollout_with(fixture, Memory, ("grad_cache_detached", "grad_checkpointed_detached"))
    check_rollout_with(fixture, Leaking, ("grad_reference", "grad_checkpointed"))


def check_rollout_with(fixture: Fixture, kind: type[Memory], recorded: tuple[str, str]) -> None:
    config, inputs = fixture.config, fixture.inputs
    model, block = transformer(fixture), config["num_frame_per_block"]
    window = Window(config["sink_size"], config["local_attn_size"] - config["sink_size"] - block)
    memory = kind(window, block, model.turn(*config["grid_hw"]), relative=False)
    leaves, counted = config["exit_step_index"], config["slice_last_frames"]
    learned = inputs["noise"].shape[1] - counted

    def guess(x: Tensor, t: Tensor, _own: range, positions: Tensor, past: Past) -> Tensor:
        v = model(x, t.expand(len(x)), inputs["prompt_embeds"], past=past, positions=positions)
        return flow.x0_from_velocity(v, x, t)

    def fresh(own: range, step: int) -> Tensor:
        return turned(inputs["noises"][own.start // block, step])

    levels, table = flow.times(4, config["timestep_shift"]), flow.training_times(config["timestep_shift"])
    with torch.enable_grad():
        last_row = float(table[-1])
        made = roll(guess, memory, turned(inputs["noise"]), levels, leaves, fresh, learned=learned, kept_level=last_row)
        loss = (turned(made) - inputs["target"])[:, learned:].square().mean()
        loss.backward()
    fixture.check("latents", turned(made), atol=TOLERANCE["sampled"])
    fixture.check("loss", loss[None], atol=0, rtol=1e-5)
    for name, step in (("from", leaves), ("to", leaves + 1)):
        told = 1000 - flow.nearest_row(levels[step][None], table)  # the step before the shift
        fixture.check(f"denoised_timestep_{name}", told.float(), atol=0)
    for prefix in recorded:
        check_gradients(fixture, f"{prefix}.", model, relative=1e-4)


class Leaking(Memory):
    """The published memory, which was never detached: what a block reads are the numbers of the later pass at time 0,
    but its gradient goes to the step by which the earlier block was left (reference §4.2).
    """

    def held(self) -> ListPast:
        kept, own = super().held(), set(self._taken)
        if not hasattr(self, "left"):
            self.left: dict[tuple[int, int | None], tuple[Tensor, Tensor]] = {}
        others = [self._now.frames[slot] for slot in range(self._now.filled) if slot not in own]
        return Leak(kept, others, [self._now.frames[slot] for slot in self._taken], self.left)


class Leak(ListPast):
    """`kept`, with a way back to the keys and values by which earlier blocks were left."""

    def __init__(
        self,
        kept: ListPast,
        others: list[int | None],
        own: list[int | None],
        left: dict[tuple[int, int | None], tuple[Tensor, Tensor]],
    ) -> None:
        super().__init__()
        self.keep, self.others, self.own, self.left = False, others, own, left
        for layer, pair in kept.layers.items():
            parts = zip(others, *(tensor.chunk(len(others), dim=1) for tensor in pair), strict=True)
            ways = [self.back(layer, frame, k, v) for frame, k, v in parts]
            self.layers[layer] = (torch.cat([k for k, _ in ways], 1), torch.cat([v for _, v in ways], 1))

    def back(self, layer: int, frame: int | None, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if (layer, frame) not in self.left:
            return k, v
        then_k, then_v = self.left[layer, frame]
        return k + (then_k - then_k.detach()), v + (then_v - then_v.detach())

    def join(self, layer: int, k: Tensor, v: Tensor, rotate: Rotation) -> tuple[Tensor, Tensor]:
        count = len(self.own)
        for frame, *pair in zip(self.own, rotate(k).chunk(count, dim=1), v.chunk(count, dim=1), strict=True):
            self.left[layer, frame] = (pair[0], pair[1])
        return super().join(layer, k, v, rotate)


CHECKS = {
    "block_steps": check_block_steps,
    "dmd": check_dmd,
    "recache": check_recache,
    "rollout_gradients": check_rollout,
    "sampling_4step": check_sampling,
    "sampling_interactive": check_interactive,
    "scheduler": check_scheduler,
    "train_forward": check_train_forward,
}
