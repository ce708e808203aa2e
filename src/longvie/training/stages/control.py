"""Stage `control`: LongVie's published first stage, new branches on a frozen transformer (reference §6.1, §6.2).

Starts from the weights of any model with a trunk, Wan2.1-I2V for one, and trains the control branches alone: words,
pictures, autoencoder and trunk stay as they are. What the model is given is what the engine would give it, through the
engine's own seam; nothing is dropped and nothing is damaged, as published. For the embedded model there is no frozen
trunk to begin with: see `base`.
"""

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors.torch import save_file
from torch import Tensor, nn

from longvie.data.footage import Footage, Sample
from longvie.engine import flow
from longvie.engine.clip import ClipConfig, ClipEngine
from longvie.engine.seam import Given
from longvie.engine.state import ClipState
from longvie.errors import ConfigError
from longvie.media import replace_atomically
from longvie.models import names
from longvie.models.models import Models
from longvie.models.transformer import VideoTransformer
from longvie.training.losses import plain_loss
from longvie.training.trainer import Recipe, Stage

RECIPE = Recipe(  # published: a constant rate, no limit on the gradient, no average of the weights
    minutes=7 * 24 * 60.0,
    rate=1e-5,
    warmup=5,
    floor=1.0,
    decay=0.01,
    clip=math.inf,
    ema=0.0,
    betas=(0.9, 0.999),
    save_minutes=30.0,
    sheet_minutes=120.0,
)
LAYERS = 12  # of the published branches, for a model that has none yet
SHEET_STEPS = 8  # of the sampler, at most: a sheet should not cost an hour
FILE = "control.safetensors"


class ControlStage(Stage):
    """Velocities at noise levels drawn from the published table: mean squared error times the table's weight."""

    name: ClassVar[str] = "control"

    def __init__(self, models: Models, footage: Footage, *, checkpointing: bool = True) -> None:
        """Freezes the models but for their branches, which stay in float32 whatever the trunk is in.

        Args:
            models: on their device; their transformer must have branches (`with_branches`).
            checkpointing: compute activations twice instead of keeping them, as published.

        Raises:
            ConfigError: a transformer without branches.
        """
        super().__init__()
        self.transformer = models.transformer.requires_grad_(False)
        if self.transformer.controls is None:
            raise ConfigError("this transformer has no control branches to train: give it some with `with_branches`")
        self.transformer.controls.float().requires_grad_(True)
        if checkpointing:
            self.transformer.enable_gradient_checkpointing()
        self.models, self.footage = models, footage
        self.engine = ClipEngine(models, ClipConfig.of(models.card, recent=0))  # a first clip has nothing before it
        table = flow.training_times(models.card.shift)
        self.table, self.weights = table, flow.training_weights(table)

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        sample = self.footage.sample(int(random.integers(len(self.footage))))
        given, words, clean = self.given(sample)
        told, row = levels(self.table, torch.from_numpy(random.integers(len(self.table), size=1)))
        t, weight = (values[row].to(clean.device) for values in (self.table, self.weights))
        noise = torch.randn_like(clean)
        made = self.velocity(flow.noised(clean, noise, t), t, told.to(clean), words, given)
        loss = plain_loss(made, flow.velocity(clean, noise), weight).mean()
        return loss, {"t": float(t), "error": float(loss.detach() / weight) if weight > 0 else float(loss.detach())}

    @torch.no_grad()
    def given(self, sample: Sample) -> tuple[Given, Float[Tensor, "1 n d"], Float[Tensor, "1 c l h w"]]:
        """What the engine would tell the transformer, its words, and the latents that it should make."""
        (span,) = self.engine.spans(sample.script)
        given, _ = self.engine.seam.given(sample.script, span, ClipState(sample.script.seed))
        words = self.models.words.encode([span.prompt])
        return given, words.to(self.place), self.engine.seam.latents(sample.video[None]).to(self.place).float()

    def velocity(
        self,
        noisy: Float[Tensor, "b c l h w"],
        t: Float[Tensor, " b"],
        told: Float[Tensor, " b"],
        words: Float[Tensor, "b n d"],
        given: Given,
    ) -> Float[Tensor, "b c l h w"]:
        """The model's velocity; `told` is the level as the network hears it."""
        own = self.transformer.patch_embedding.weight.dtype
        made = self.transformer(noisy.to(own), told, words, **given.arguments(self.place)).float()
        return made if self.models.card.predicts == "velocity" else flow.velocity_from_x0(made, noisy, t)

    @property
    def place(self) -> torch.device:
        return self.transformer.patch_embedding.weight.device

    @torch.no_grad()
    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """The first clip: truth, depth, tracks, and what the model makes of them in a few steps, without guidance."""
        sample = self.footage.sample(0)
        given, words, clean = self.given(sample)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(clean)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            level = t.to(clean).expand(1)
            return self.velocity(x, level, level, words, given)

        steps = min(self.models.card.steps, SHEET_STEPS)
        latents = flow.euler(velocity, noise, flow.times(steps, self.models.card.shift))
        autoencoder = self.models.autoencoder
        made = autoencoder.decode(latents.to(autoencoder.dtype))[0][0].float().cpu()
        drawn = [d.control.render(d.signal.read(0, self.footage.frames), d.scale) for d in sample.script.controls]
        rows = [torch.cat(list(video[:, ::16].unbind(1)), dim=-1) for video in (sample.video, *drawn, made)]
        grid = torch.cat(rows, dim=1).permute(1, 2, 0)
        return ((grid + 1) * 127.5).clamp(0, 255).round().byte().numpy()

    def export(self, folder: Path) -> None:
        """`control.safetensors` in LongVie's own layout, bfloat16: what `read_longvie` reads."""
        tensors = {
            names.to_longvie(name): weight.detach().to("cpu", torch.bfloat16).contiguous()
            for name, weight in self.transformer.state_dict().items()
            if name.startswith("controls.")
        }
        with replace_atomically(folder / FILE, needed=sum(tensor.nbytes for tensor in tensors.values())) as part:
            save_file(tensors, part)


def levels(table: Float[Tensor, " rows"], index: Int[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Int[Tensor, " b"]]:
    """The levels that the network is told for rows of the table, and the rows that are really trained on.

    Published training rounds the level to bfloat16 and looks the rounded one up again: of 1000 rows 294 remain.
    """
    told = flow.rounded(table[index])
    return told, flow.nearest_row(told, table)


# --- where branches begin -------------------------------------------------------------------------------------------


def with_branches(transformer: VideoTransformer, *, layers: int = LAYERS) -> VideoTransformer:
    """The same trunk with half-width branches thinned from its first layers; one that has branches gets them anew."""
    grown = transformer
    if transformer.controls is None:
        sizes: dict[str, Any] = {k: value for k, value in transformer.config.items() if not k.startswith("_")}
        sizes["control_layers"] = layers
        with torch.device("meta"):
            grown = VideoTransformer(**sizes)
        grown.load_state_dict(transformer.state_dict(), strict=False, assign=True)
        if grown.controls is not None:
            grown.controls.to_empty(device=transformer.device)
        grown.train(transformer.training)
    thin(grown)
    return grown


@torch.no_grad()
def thin(transformer: VideoTransformer) -> None:
    """Start the branches as a thinned copy of the trunk's first layers; the joins start at zero.

    The paper builds the branches from the first layers of Wan and does not say how a layer of width D becomes one of
    D/2. Here every second head is kept, whole, so that rotary positions mean the same; with it the channels at its
    place, everywhere in the stream, and every second unit of the feed-forward. A sum over fewer channels is that much
    smaller: matrices grow by √(D / width). The layers that enter the branch only select the kept channels, so a branch
    begins as the trunk does on the control, seen through half of its channels. (For other ratios than two: heads and
    units evenly spaced.)

    Raises:
        ConfigError: no branches, or heads of another width than the trunk's.
    """
    branches, config = transformer.controls, transformer.config
    if branches is None:
        raise ConfigError("this transformer has no control branches to start")
    heads, narrow = config["heads"], branches.dense.blocks[0].self_attn
    width = config["width"] // heads
    if narrow.q.in_features != narrow.heads * width:
        raise ConfigError(
            f"a branch with heads {narrow.q.in_features // narrow.heads} wide cannot start from a trunk with heads "
            f"{width} wide: build it with the trunk's"
        )
    channels = (_spread(heads, narrow.heads)[:, None] * width + torch.arange(width)).flatten()
    units = _spread(config["ffn"], branches.dense.blocks[0].ffn_width)
    for branch in (branches.dense, branches.sparse):
        for wide, block in zip(transformer.blocks, branch.blocks, strict=False):
            _thin_block(wide, block, channels, units)
        if branch.kinds is not None:
            nn.init.normal_(branch.kinds.weight, std=0.02)
    for layer in (branches.dense.enter, branches.sparse.enter, branches.words, branches.time):
        layer.weight.zero_()
        layer.weight[torch.arange(len(channels)), channels] = 1.0
        layer.bias.zero_()
    for join in branches.joins:
        join.weight.zero_()
        join.bias.zero_()


def _thin_block(wide: nn.Module, narrow: nn.Module, channels: Int[Tensor, " n"], units: Int[Tensor, " k"]) -> None:
    """One layer: rows and columns of the kept channels, or units inside the feed-forward."""
    for name, weight in narrow.named_parameters():
        source = wide.get_parameter(name)
        rows = units if name.startswith("ffn.0.") else channels
        if weight.ndim == 2:
            columns = units if name == "ffn.2.weight" else channels
            grown = (source.shape[1] / len(columns)) ** 0.5
            weight.copy_(source[rows][:, columns].float() * grown)
        else:  # biases, norms, modulation (1, 6, d)
            weight.copy_(source[..., rows])


def _spread(count: int, kept: int) -> Int[Tensor, " kept"]:
    """So many of the numbers below `count`, evenly spaced."""
    return torch.arange(kept) * count // kept
