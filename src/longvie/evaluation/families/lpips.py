"""How far each frame is from the truth's to a network (LPIPS). Not a measure of control: slightly wrong geometry costs
more than wrong colours."""

from longvie.evaluation.metric import Facts, Metric, Refused, Value
from longvie.evaluation.networks.shelf import Network
from longvie.evaluation.panel import Batch, Entry, family
from longvie.evaluation.perceptual import lpips
from longvie.evaluation.tally import Tally


class Distance:
    """Mean over frames."""

    def __init__(self, facts: Facts, backbone: Network, heads: Network) -> None:
        self.backbone, self.heads, self.tally = backbone, heads(), Tally(facts.fps)

    def see(self, batch: Batch) -> None:
        made, truth = (frames / 127.5 - 1 for frames in (batch.made, batch.true()))
        for time, distance in zip(batch.times, lpips(made, truth, self.backbone, self.heads).tolist(), strict=True):
            self.tally.add(time, distance)

    def values(self) -> tuple[Value | Refused]:
        return (self.tally.mean(),)


METRIC = Metric(
    "lpips", 1, "perceptual distance to the truth",
    "mean over frames of LPIPS v0.1, AlexNet (Zhang et al. 2018): sum over its five layers of the mean over places of "
    "the sum over channels of w (a/|a| - b/|b|)^2, RGB in [-1, 1] at the video's size",
    "", "lower", (0.0, 2.0), frozenset({"truth"}),
)  # fmt: skip
ENTRIES = (Entry((METRIC,), ("alexnet", "lpips-heads"), Distance),)
FAMILY = family("lpips", ENTRIES)
