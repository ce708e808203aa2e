"""The video transformer: one class for every size and both engines (Wan 2.1 DiT with LongVie 2's control branches).

Bidirectional or causal is the mask and the past that a caller gives; sizes, picture tokens, history and branches are
values of the config. The trunk keeps Wan's own names for its weights, which LoRA adapters and checkpoints use.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn
from torch.nn import functional

from longvie.errors import ConfigError, ControlError, ShapeError
from longvie.models import attention
from longvie.models.block import Block, Context, Layers, ListPast, Past, Read, SelfAttention, modulate
from longvie.models.control_branch import BRANCHES, ControlBranches, ControlInput
from longvie.models.rope import THETA, Rotation, exact, rotation

__all__ = ["ControlInput", "ListPast", "Past", "VideoTransformer", "sinusoid"]

STEPS = 1000  # the network counts noise levels from 0 to 1000
COPIES = 2.0  # of the gate's bias at the start: 0.88 of what is given. From 0 it had hardly moved after 420 steps


def sinusoid(times: Float[Tensor, " n"], width: int) -> Float[Tensor, "n width"]:
    """Cosines, then sines, of times on the scale 0 to 1000, at width / 2 frequencies from 1 down to 1/10000.

    Computed in float64, given back in the type of `times`.
    """
    half = width // 2
    ladder = torch.arange(half, device=times.device, dtype=exact(times.device)) / half
    turned = torch.outer(times.to(ladder.dtype), 10_000**-ladder)
    return torch.cat((turned.cos(), turned.sin()), dim=-1).to(times.dtype)


class Reading(NamedTuple):
    """Words, and pictures where a model sees them, as every layer reads them."""

    trunk: tuple[Read, ...]
    branches: Mapping[str, tuple[Read, ...]]


class PatchEmbedding(nn.Conv3d):
    """Patches to tokens, time slowest. A kernel that is its own stride is one matrix product, and faster as one."""

    def forward(self, x: Float[Tensor, "b c l h w"]) -> Float[Tensor, "b n d"]:
        p, q, r = self.kernel_size
        patches = rearrange(x, "b c (l p) (h q) (w r) -> b (l h w) (c p q r)", p=p, q=q, r=r)
        return functional.linear(patches, self.weight.flatten(1), self.bias)


class PictureEmbedding(nn.Module):
    """Tokens of the picture encoder, brought to the trunk's width."""

    def __init__(self, pictures: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(pictures),
            nn.Linear(pictures, pictures),
            nn.GELU(),
            nn.Linear(pictures, width),
            nn.LayerNorm(width),
        )

    def forward(self, pictures: Float[Tensor, "b n e"]) -> Float[Tensor, "b n d"]:
        return self.proj(pictures)


class Head(nn.Module):
    """Tokens to patches of the prediction, channel fastest."""

    def __init__(self, width: int, out: int, eps: float, *, copies: bool = False) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 2, width) / width**0.5)
        self.head = nn.Linear(width, out)
        self.copy = nn.Linear(width, out) if copies else None

    def forward(self, x: Float[Tensor, "b n d"], embedded: Float[Tensor, "b g d"]) -> Float[Tensor, "b n out"]:
        return self.head(self._modulated(x, embedded))

    def copied(self, x: Float[Tensor, "b n d"], embedded: Float[Tensor, "b g d"]) -> Float[Tensor, "b n out"] | None:
        """How much of what was given stands in the place of the prediction, in [0, 1], if the model copies."""
        return None if self.copy is None else self.copy(self._modulated(x, embedded)).sigmoid()

    def _modulated(self, x: Float[Tensor, "b n d"], embedded: Float[Tensor, "b g d"]) -> Float[Tensor, "b n d"]:
        table = self.modulation[:, None].to(embedded.dtype) + embedded[:, :, None]
        shift, scale = table.unbind(2)  # each (b, g, d); the published head mixes up rows of a batch here
        return modulate(x, shift, scale, self.eps)


class VideoTransformer(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """Noisy latents, words and what else is given → the prediction the weights were trained for.

    Args:
        width, layers, heads, ffn: of the trunk.
        in_channels: 36 with a condition (mask and picture latents), 16 without; says nothing about picture tokens.
        text_width, image_width: of the encoders' tokens; image_width None means that the model reads no picture tokens.
        control_layers: trunk blocks that the branches join; 0 builds no branches.
        control_width, control_heads, control_ffn: of the branches; None is half of the trunk's.
        dense_kinds: how many kinds of dense control have a learned name; 0 is one kind without a name.
        beats: whether four beat values per latent frame join the time embedding.
        branch_positions: where branches see the clip in time: "own" counts from 0 (LongVie), "clip" as the trunk does.
        theta: of the rotary positions; Wan's own suits grids of many tokens, a small one tells neighbours apart
            only with less (100 is what small picture transformers take, arXiv 2403.13298).
        copies: whether the model may put the condition's latents in the place of its own prediction, value by value
            (a gate as in pointer networks, arXiv 1704.04368); for models that predict clean latents.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ("Block",)
    _repeated_blocks = ("Block",)

    if TYPE_CHECKING:

        @property
        def config(self) -> Any:
            """Read by attribute, which diffusers' own annotation does not tell."""

    @register_to_config
    def __init__(
        self,
        *,
        width: int,
        layers: int,
        heads: int,
        ffn: int,
        in_channels: int = 36,
        out_channels: int = 16,
        text_width: int = 4096,
        time_width: int = 256,
        patch: Sequence[int] = (1, 2, 2),
        image_width: int | None = None,
        eps: float = 1e-6,
        control_layers: int = 0,
        control_width: int | None = None,
        control_heads: int | None = None,
        control_ffn: int | None = None,
        dense_kinds: int = 0,
        beats: bool = False,
        branch_positions: Literal["own", "clip"] = "own",  # noqa: ARG002 - kept in the config, read in forward
        theta: float = THETA,  # noqa: ARG002 - likewise
        copies: bool = False,
    ) -> None:
        super().__init__()
        if width % heads or (width // heads) % 2:
            raise ConfigError(f"a width of {width} in {heads} heads leaves no even head; rotary positions turn pairs")
        if patch[0] != 1:
            raise ConfigError(f"patch is {tuple(patch)}, but each latent frame has tokens of its own: start it with 1")
        if control_layers > layers:
            raise ConfigError(f"control_layers is {control_layers}, but the trunk has {layers} layers")
        self.gradient_checkpointing = False
        pictures = image_width is not None
        sides = (patch[0], patch[1], patch[2])
        self.patch_embedding = PatchEmbedding(in_channels, width, sides, sides)
        self.text_embedding = nn.Sequential(
            nn.Linear(text_width, width), nn.GELU(approximate="tanh"), nn.Linear(width, width)
        )
        self.time_embedding = nn.Sequential(nn.Linear(time_width, width), nn.SiLU(), nn.Linear(width, width))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.img_emb = PictureEmbedding(image_width, width) if image_width is not None else None
        self.beat_embedding = nn.Linear(4, width, bias=False) if beats else None
        self.blocks: Layers[Block] = Layers(Block(width, heads, ffn, eps, pictures=pictures) for _ in range(layers))
        self.head = Head(width, out_channels * math.prod(patch), eps, copies=copies)
        self.controls = None
        if control_layers:
            self.controls = ControlBranches(
                width,
                control_width or width // 2,
                control_heads or heads // 2,
                control_ffn or ffn // 2,
                control_layers,
                eps,
                dense_kinds=dense_kinds,
                pictures=pictures,
            )
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Wan's start (xavier; 0.02 in the embeddings), except for the head: small, not zero, as the model may predict
        clean latents. The joins start at zero, as published, so that new branches change nothing; the layers that
        enter them do not, so that a branch sees its control from the first step on which its join has moved.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        if self.patch_embedding.bias is not None:
            nn.init.zeros_(self.patch_embedding.bias)
        for layer in (*self.text_embedding, *self.time_embedding, self.head.head):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
        if self.head.copy is not None:
            nn.init.zeros_(self.head.copy.weight)
            nn.init.constant_(self.head.copy.bias, COPIES)
        if self.beat_embedding is not None:
            nn.init.zeros_(self.beat_embedding.weight)
        if self.controls is not None:
            for join in self.controls.joins:
                nn.init.zeros_(join.weight)
            if self.controls.dense.kinds is not None:
                nn.init.normal_(self.controls.dense.kinds.weight, std=0.02)

    def use_attention(self, backend: str) -> None:
        """Send every layer's attention through one backend of `models/attention.py`.

        Raises:
            ConfigError: no such backend.
        """
        attention.find(backend)
        for module in self.modules():
            if isinstance(module, SelfAttention):
                module.backend = backend

    def forward(
        self,
        noisy: Float[Tensor, "b c l h w"],
        times: Float[Tensor, " b"] | Float[Tensor, "b l"],
        words: Float[Tensor, "b words text"] | Reading,
        *,
        condition: Float[Tensor, "b given l h w"] | None = None,
        pictures: Float[Tensor, "b pictures image"] | None = None,
        history: Float[Tensor, "b channels k h w"] | None = None,
        history_times: Float[Tensor, "b k"] | None = None,
        controls: Sequence[ControlInput] = (),
        beats: Float[Tensor, "b l 4"] | None = None,
        past: Past | None = None,
        branch_pasts: Sequence[Past] | None = None,
        start: int = 0,
        positions: Num[Tensor, " frames"] | None = None,
        visible: Bool[Tensor, "frames frames"] | None = None,
    ) -> Float[Tensor, "b c l h w"]:
        """The prediction for the clip.

        Args:
            times: noise levels in [0, 1], one for the clip or one for each latent frame.
            words: embeddings of the words, or what `read` made of them, and of the pictures.
            condition: channels that follow the noisy ones (mask, picture latents).
            history: whole token inputs of k latent frames that stand before the clip; they leave before the head.
            history_times: their noise levels; None is the clip's own single one (LongVie).
            past: keys and values of earlier chunks, for the trunk.
            branch_pasts: the same for the branch of each control; without them branches see only their own chunk.
            start: time position of the first latent frame given here, history included.
            positions: time positions of history and clip, instead of counting from `start`.
            visible: which latent frame (row) may look at which (column), history then clip; None is all at all.

        Raises:
            ShapeError: sizes or numbers that do not fit together, or do not divide by the patch.
            ControlError: a control for a model without branches.
        """
        if branch_pasts is not None and len(branch_pasts) != len(controls):
            raise ShapeError(f"{len(branch_pasts)} pasts for {len(controls)} controls; give each its own")
        given = noisy if condition is None else torch.cat((noisy, condition.to(noisy.dtype)), dim=1)
        clip = self._tokens("the clip", given)
        x = clip if history is None else torch.cat((self._tokens("history", history.to(noisy.dtype)), clip), dim=1)
        frames, grid = noisy.shape[2], self._grid(noisy)
        earlier = 0 if history is None else history.shape[2]
        embedded = self._embed_time(times, history_times, earlier, frames, beats)  # (b, 1 or k + l, d)
        modulation = self.time_projection(embedded).unflatten(-1, (6, -1))
        if not isinstance(words, Reading):
            words = self.read(words, pictures, {control.branch for control in controls})
        elif pictures is not None:
            raise ShapeError("the words are read already, and pictures with them: give them to `read`")
        if positions is None:
            positions = torch.arange(start, start + earlier + frames, device=noisy.device)
        _check_frames(earlier + frames, positions, visible, past)
        rotate = self._rotation(self.config.width // self.config.heads, positions, grid)
        mask = None if visible is None else _per_token(visible, grid[1] * grid[2])
        streams, narrow = self._branches(controls, modulation, positions, grid, mask)

        for layer, block in enumerate(self.blocks):
            x = self._run(block, x, words.trunk[layer], modulation, rotate, mask, past, layer)
            if self.controls is not None and narrow is not None and layer < self.config.control_layers:
                branches = [self.controls.branch(control.branch).blocks[layer] for control in controls]
                pasts = branch_pasts or [None] * len(streams)
                streams = [
                    self._run(branch, stream, words.branches[control.branch][layer], *narrow, behind, layer)
                    for branch, stream, control, behind in zip(branches, streams, controls, pasts, strict=True)
                ]
                x = self.controls.join(layer, x, streams, controls)

        x = x[:, -clip.shape[1] :]
        embedded = embedded if embedded.shape[1] == 1 else embedded[:, -frames:]
        copied = self.head.copied(x, embedded)
        made = self._unpatch(self.head(x, embedded), grid).to(noisy.dtype)
        if copied is None or condition is None:
            return made
        given = condition[:, -made.shape[1] :].to(made)
        return torch.lerp(made, given, self._unpatch(copied, grid).to(made))

    def read(
        self,
        words: Float[Tensor, "b words text"],
        pictures: Float[Tensor, "b pictures image"] | None = None,
        branches: Collection[str] = BRANCHES,
    ) -> Reading:
        """What `forward` needs of the words and pictures: keys and values of every layer, once for all its calls.

        Args:
            branches: of controls, that will be asked for.
        """
        context = self._context(words, pictures)
        trunk, found = tuple(block.cross_attn.read(context) for block in self.blocks), dict[str, tuple[Read, ...]]()
        if self.controls is not None and branches:
            narrow = self.controls.context(context)
            for name in branches:
                layers = self.controls.branch(name).blocks
                found[name] = tuple(layer.cross_attn.read(narrow) for layer in layers)
        return Reading(trunk, found)

    def _tokens(self, what: str, latents: Float[Tensor, "b c l h w"]) -> Float[Tensor, "b n d"]:
        """Patches of latents as tokens, if they are of the model's form."""
        channels, patch = self.config.in_channels, tuple(self.config.patch)
        if latents.shape[1] != channels:
            raise ShapeError(f"{what} has {latents.shape[1]} channels, condition included; the model takes {channels}")
        if any(size % step for size, step in zip(latents.shape[2:], patch, strict=True)):
            raise ShapeError(f"{what} of {tuple(latents.shape[2:])} latent cells does not divide by the patch {patch}")
        return self.patch_embedding(latents)

    def _run(self, block: Block, *given: Any) -> Float[Tensor, "b n d"]:
        again = self._gradient_checkpointing_func
        if torch.is_grad_enabled() and self.gradient_checkpointing and again is not None:
            return again(block, *given)
        return block(*given)

    def _embed_time(
        self, times: Tensor, history_times: Tensor | None, earlier: int, frames: int, beats: Tensor | None
    ) -> Float[Tensor, "b g d"]:
        """One row for the whole sequence where one will do, else one for each latent frame, history first."""
        times = times[:, None] if times.ndim == 1 else times
        if earlier and history_times is None and times.shape[1] > 1:
            raise ShapeError("the clip has a time for each latent frame, so its history needs history_times too")
        if history_times is not None:
            times = torch.cat((history_times.to(times.dtype), times.expand(-1, frames)), dim=1)
        waves = sinusoid(times.flatten().to(exact(times.device)) * STEPS, self.config.time_width)
        embedded = self.time_embedding(waves.to(_dtype(self.time_embedding))).unflatten(0, times.shape)
        if beats is None:
            return embedded
        if self.beat_embedding is None:
            raise ControlError("this model does not hear beats")
        heard = self.beat_embedding(beats.to(self.beat_embedding.weight.dtype))  # (b, l, d)
        heard = functional.pad(heard, (0, 0, earlier, 0)).to(embedded.dtype)
        return embedded + heard

    def _context(self, words: Tensor, pictures: Tensor | None) -> Context:
        words = self.text_embedding(words.to(_dtype(self.text_embedding)))
        if pictures is None:
            return Context(words)
        if self.img_emb is None:
            raise ControlError("this model reads no picture tokens")
        return Context(words, self.img_emb(pictures.to(words.dtype)))

    def _grid(self, noisy: Tensor) -> tuple[int, int, int]:
        """Tokens in time, height and width."""
        frames, height, width = (size // step for size, step in zip(noisy.shape[2:], self.config.patch, strict=True))
        return frames, height, width

    def turn(self, rows: int, columns: int, *, branch: bool = False) -> Callable[[Num[Tensor, " l"]], Rotation]:
        """The rotation of a grid of tokens by the positions of its latent frames in time, for whoever keeps keys.

        Args:
            rows, columns: tokens of a latent frame.
            branch: of the control branches, whose heads may be narrower.
        """
        trunk = self.blocks[0].self_attn
        attention = trunk if self.controls is None or not branch else self.controls.dense.blocks[0].self_attn
        head = attention.q.in_features // attention.heads
        return lambda positions: self._rotation(head, positions, (len(positions), rows, columns))

    def _rotation(self, head: int, positions: Tensor, grid: tuple[int, int, int]) -> Rotation:
        rows, columns = (torch.arange(size, device=positions.device) for size in grid[1:])
        return rotation(head, positions, rows, columns, self.config.theta)

    def _branches(
        self,
        controls: Sequence[ControlInput],
        modulation: Tensor,
        positions: Tensor,
        grid: tuple[int, int, int],
        mask: Tensor | None,
    ) -> tuple[list[Tensor], tuple[Tensor, Rotation, Tensor | None] | None]:
        """The branches' first tokens, one per control, and what their blocks are given beside them."""
        if not controls:
            return [], None
        if self.controls is None:
            raise ControlError("this model has no control branches")
        frames, dtype = grid[0], self.patch_embedding.weight.dtype
        for control in controls:
            if self._grid(control.latents) != grid or control.strength.shape[1] != frames:
                raise ShapeError(
                    f"{control.branch} latents of {tuple(control.latents.shape[2:])} with {control.strength.shape[1]}"
                    f" strengths do not fit a clip of {frames} latent frames and {grid[1:]} tokens"
                )
        streams = [
            self.controls.branch(control.branch).start(self._tokens(control.branch, control.latents.to(dtype)), control)
            for control in controls
        ]
        clip = positions[-frames:]
        if self.config.branch_positions == "own":
            clip = torch.arange(frames, device=positions.device)
        branch = self.controls.dense.blocks[0].self_attn
        rotate = self._rotation(branch.q.in_features // branch.heads, clip, grid)
        if mask is not None:
            tokens = math.prod(grid)
            mask = mask[-tokens:, -tokens:]
        modulation = modulation if modulation.shape[1] == 1 else modulation[:, -frames:]
        return streams, (self.controls.time(modulation), rotate, mask)

    def _unpatch(self, out: Float[Tensor, "b n out"], grid: tuple[int, int, int]) -> Float[Tensor, "b c l h w"]:
        sizes = dict(zip("lhwpqr", (*grid, *self.config.patch), strict=True))
        return rearrange(out, "b (l h w) (p q r c) -> b c (l p) (h q) (w r)", **sizes)


def _dtype(layers: nn.Sequential) -> torch.dtype:
    return next(layers.parameters()).dtype


def _check_frames(frames: int, positions: Tensor, visible: Tensor | None, past: Past | None) -> None:
    """One position, one row and one column for each latent frame, history included."""
    if len(positions) != frames:
        raise ShapeError(f"{len(positions)} positions for {frames} latent frames, history included")
    if visible is not None and len(visible) != frames:
        raise ShapeError(f"visible has {len(visible)} rows for {frames} latent frames, history included")
    if visible is not None and past is not None:
        raise ShapeError("give what is visible, or a past that decides it; not both")


def _per_token(visible: Bool[Tensor, "frames frames"], tokens: int) -> Bool[Tensor, "n n"]:
    """What frames may see, said for each of their tokens."""
    return visible.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
