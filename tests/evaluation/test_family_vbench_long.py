"""VBench-Long's dimensions as metrics: clips of two seconds, and the published programs' ways if asked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks_made import frames_of, known, measured, number, refusal, video
from test_family_vbench import OWN, look

from longvie.errors import InputError, WeightsError
from longvie.evaluation import vbench, vbench_long
from longvie.evaluation.families.vbench import total
from longvie.evaluation.families.vbench_long import ENTRIES, FAMILY
from longvie.evaluation.panel import family
from longvie.evaluation.results import suite_line
from longvie.evaluation.vbench_long import Quantiles, quantiles

TABLE = Quantiles((0.0, 0.5, 1.0), (0.1, 0.8, 1.0))
NETWORKS = {name: OWN[name] for name in ("dino", "clip-b32", "clip-l14", "aesthetic", "raft", "amt", "musiq")}
NETWORKS |= {"dinov2": look, "dreamsim": look, "subject-table": TABLE, "background-table": TABLE}
MINE = family("vbench_long", ENTRIES, "mine", NETWORKS, derived=(total("vbench_long"),))
FPS = 4.0  # clips of 8 frames


def mine(made: np.ndarray, *, compat: bool = False, fps: float = FPS) -> dict[str, float]:
    """Every dimension's number."""
    found = measured(MINE, made, facts=replace(known(made), fps=fps, compat=compat))
    return {name: number(found, f"mine.vbench_long.{name}") for name in (*vbench.QUALITY, "quality")}


def by_clips(made: np.ndarray, opened: type[vbench.Stream], length: int = 8) -> float:
    """A measure of frames of every clip, the last of which borrows, mean over clips."""
    frames, values = frames_of(made), []
    for start in range(0, len(frames), length):
        stream = opened()
        stream.see(frames[max(0, min(start, len(frames) - length)) : start + length])
        values.append(stream.value().number)
    return float(np.mean(values))


@pytest.mark.parametrize("count", [16, 21])
def test_what_frames_alone_tell_is_the_mean_over_clips(count: int) -> None:
    made = video(count)
    found = mine(made)
    assert found["temporal_flickering"] == pytest.approx(by_clips(made, vbench.Flickering), rel=1e-6)
    smooth = by_clips(made, lambda: vbench.Smoothness(OWN["amt"]))  # type: ignore[arg-type]
    assert found["motion_smoothness"] == pytest.approx(smooth, rel=1e-6)
    scores = {name: found[name] for name in vbench.QUALITY}
    assert found["quality"] == pytest.approx(vbench.weighted(scores, vbench.QUALITY))


def test_consistency_is_half_inside_and_half_across_and_published_without_the_second() -> None:
    made = video(24)
    inside = by_clips(made, lambda: vbench.subject_consistency(OWN["dino"]))  # type: ignore[arg-type]
    across = vbench.Consistency()
    across.see(look(vbench_long.dinov2_input(frames_of(made)[::8])))
    expected = (inside + TABLE(across.value().number)) / 2
    assert mine(made)["subject_consistency"] == pytest.approx(expected, rel=1e-5)
    assert mine(made, compat=True)["subject_consistency"] == pytest.approx(inside, rel=1e-5)


def test_a_rate_that_is_no_whole_number_is_cut_as_published() -> None:
    """Clips of round(2 · 4.9) = 10 frames, or of 2 · 4 = 8."""
    made = video(40)
    flicker = [by_clips(made, vbench.Flickering, length) for length in (10, 8)]
    found = [mine(made, compat=compat, fps=4.9)["temporal_flickering"] for compat in (False, True)]
    assert found == pytest.approx(flicker, rel=1e-6) and found[0] != found[1]


def test_published_means_let_every_sample_count_the_same() -> None:
    metric = FAMILY.metrics[0]
    plain, samples = suite_line(metric, [0.0, 1.0], 0), suite_line(metric, [0.0, 1.0], 0, [1, 3])
    assert plain["mean"] == 0.5 and samples["mean"] == 0.75 and "low" in plain and "low" not in samples


def test_without_weights_only_flickering_is_left_and_every_file_is_named() -> None:
    made = video(16)
    found = measured(FAMILY, made, facts=replace(known(made), fps=FPS))
    assert number(found, "vbench_long.temporal_flickering") == pytest.approx(
        by_clips(made, vbench.Flickering), rel=1e-6
    )
    reason = refusal(found, "vbench_long.background_consistency")
    for file in ("ViT-B-32.pt", "dreamsim.torchscript.pt", "background_mapping_table.yaml"):
        assert file in reason
    assert "no number" in refusal(found, "vbench_long.quality")


def test_inputs_across_clips_are_squares_without_aliasing() -> None:
    lines = torch.zeros(1, 3, 448, 900)
    lines[..., ::2] = 255  # as fine as pixels are: grey when shrunk, moiré without a filter
    for prepared in (vbench_long.dinov2_input, vbench_long.dreamsim_input):
        shown = prepared(lines)
        assert shown.shape == (1, 3, 224, 224)
        assert float(shown[0, 0, 20:-20, 20:-20].std()) < 0.1


def _table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "subject_mapping_table.yaml"
    path.write_text(text)
    return path


def test_the_published_table_is_read(tmp_path: Path) -> None:
    table = quantiles(_table(tmp_path, "0.0: 0.0\n0.01: 0.65\n0.5: 0.9\n1.0: 1.0\n"))
    assert table(0.5) == 0.9 and table(0.005) == pytest.approx(0.325) and table(1.0) == 1.0


@pytest.mark.parametrize(
    "text", ["0.5: 1.0\n", "a: 0.1\nb: 0.2\n", "- 1\n- 2\n", "0.1: x\n0.2: 1\n", "0.1: 0.9\n0.2: 0.1\n"]
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(WeightsError, match=r"subject_mapping_table\.yaml"):
        quantiles(_table(tmp_path, text))


def test_too_short_for_two_clips_is_said() -> None:
    made = video(8)
    found = measured(MINE, made, facts=replace(known(made), fps=FPS))
    assert "one clip has no neighbour" in refusal(found, "mine.vbench_long.subject_consistency")


def test_more_frames_than_announced_are_refused() -> None:
    clips = vbench_long.PerClip(vbench_long.split(8, FPS), lambda _: vbench.Flickering())
    with pytest.raises(InputError, match="more came"):
        clips.see(torch.zeros(9, 3, 8, 8))
