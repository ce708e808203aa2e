"""ViCLIP: eight frames of a video and words as features of one space.

Source: Wang et al. 2023, InternVid (arXiv 2307.06942). It is CLIP ViT-L/14 whose patches of all frames look at each
other at once, with learnt places in time; texts have 32 tokens.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvie.errors import ShapeError
from longvie.evaluation.networks.clip import Blocks, Reading, reading
from longvie.evaluation.networks.files import count, fit, size, under

SIGHT, WORDS = "vision_encoder.", "text_encoder."


class Watching(nn.Module):
    """Videos, normalised as CLIP's pictures, to features."""

    def __init__(self, width: int, depth: int, patch: int, places: int, frames: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, (1, patch, patch), (1, patch, patch), bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(places, width))
        self.temporal_positional_embedding = nn.Parameter(torch.zeros(1, frames, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Blocks(width, depth)
        self.proj = nn.Parameter(torch.zeros(width, out))

    def forward(self, videos: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b e"]:
        """One class token for the whole video; it has the first place and no time.

        Raises:
            ShapeError: another number of frames, or another size, than was learnt.
        """
        patches = self.conv1(videos.transpose(1, 2)).flatten(3).permute(0, 2, 3, 1)  # (b, f, y x, d)
        places, times = self.positional_embedding, self.temporal_positional_embedding
        if patches.shape[1] != times.shape[1] or patches.shape[2] + 1 != len(places):
            raise ShapeError(f"{tuple(videos.shape)} is not a video of {times.shape[1]} frames of the size ViCLIP sees")
        patches = patches + places[1:] + times[0][:, None]
        first = (self.class_embedding + places[0]).expand(len(patches), 1, -1)
        x = self.ln_pre(torch.cat([first, patches.flatten(1, 2)], dim=1))
        return self.ln_post(self.transformer(x)[:, 0]) @ self.proj


def viclip(named: Mapping[str, Tensor]) -> tuple[Watching, Reading]:
    """Both sides of it.

    Raises:
        WeightsError: the tensors are those of something else.
    """
    seen = under(named, SIGHT)
    width, _, _, patch, _ = size(seen, "conv1.weight", 5)
    places, _ = size(seen, "positional_embedding", 2)
    _, frames, _ = size(seen, "temporal_positional_embedding", 3)
    with torch.device("meta"):
        depth, out = count(seen, "transformer.resblocks."), size(seen, "proj", 2)[1]
        network = Watching(width, depth, patch, places, frames, out)
    return fit(network, seen), reading(under(named, WORDS))
