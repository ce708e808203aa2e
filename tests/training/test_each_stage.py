"""What each stage does in its own way; what all must do is in contracts/test_stages.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from longvie.controls.moved import remembered
from longvie.data import clips
from longvie.data.latents import Carried, Worn, encode, encoded, moved
from longvie.data.streams import STREAMS, Store, pictures
from longvie.engine import flow
from longvie.models.control_branch import ControlInput
from longvie.models.tae import TinyAutoencoder
from longvie.training import played
from longvie.training.degradation import DegradationConfig
from longvie.training.played import BORDERS, play
from longvie.training.stages import autoencoder as autoencoder_stage
from longvie.training.stages import base as base_stage
from longvie.training.stages import history as history_stage
from longvie.training.stages.autoencoder import AutoencoderStage, DecoderStage, grown, start
from longvie.training.stages.base import BaseStage
from longvie.training.stages.history import HistoryStage
from longvie.training.windows import Window
from longvie.training.world import Sizes
from made import GRID, noisy_pool, rendered, small_models


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def stage_of(kind: type[BaseStage], folder: Path) -> BaseStage:
    models = small_models()
    return kind(models.transformer, models.words, models.autoencoder, noisy_pool(folder), noisy_pool(folder, 1))


@pytest.fixture
def base(tmp_path: Path) -> BaseStage:
    return stage_of(BaseStage, tmp_path)


@pytest.fixture
def history(tmp_path: Path) -> HistoryStage:
    stage = stage_of(HistoryStage, tmp_path)
    assert isinstance(stage, HistoryStage)
    return stage


# --- autoencoder ----------------------------------------------------------------------------------------------------


def test_signals_keep_their_size_through_a_fresh_autoencoder() -> None:
    """Latents of unit size, more or less, and a picture that is neither grey nor white."""
    torch.manual_seed(0)
    model = TinyAutoencoder(encoder_blocks=(0, 1, 2), decoder_blocks=(2, 1, 1))
    start(model)
    video = torch.rand(2, 3, 5, 32, 48) * 2 - 1
    with torch.no_grad():
        latents, _ = model.encode(video)
        made, _ = model.decode(latents, limit=False)
    assert 0.1 < latents.std() < 10
    assert 0.02 < made.std() < 10


def test_a_fresh_autoencoder_shows_colours_from_the_first_step_on() -> None:
    torch.manual_seed(0)
    model = TinyAutoencoder(encoder_blocks=(0, 1, 2), decoder_blocks=(2, 1, 1))
    start(model)
    colours = torch.tensor([[0.8, -0.6, -0.2], [-0.7, 0.5, -0.6], [0.1, -0.2, 0.9]])
    video = colours[:, :, None, None, None].expand(3, 3, 5, 32, 48)
    with torch.no_grad():
        made, _ = model.decode(model.encode(video)[0], limit=False)
    seen = made.mean(dim=(2, 3, 4))
    for sample, colour in enumerate(colours):
        distances = (seen[sample] - colours).norm(dim=1)
        assert distances.argmin() == sample
        assert distances[sample] < 0.5 * (seen[sample] - colour.mean()).norm()  # nearer to it than to its grey


def test_batches_are_square_crops_of_every_stream(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoencoder_stage, "SIDE", 16)
    stage = AutoencoderStage(small_models().autoencoder, Store.open(rendered(tmp_path_factory) / "clips"))
    videos, are_pictures = stage.batch(generator(), 9, 12)
    assert videos.shape == (12, 3, 9, 16, 16)
    assert videos.abs().max() <= 1
    assert 0 < int(are_pictures.sum()) < 12


def test_a_grown_decoder_does_the_same_until_it_is_trained() -> None:
    torch.manual_seed(0)
    model = TinyAutoencoder(encoder_blocks=(0, 1, 2), decoder_blocks=(2, 1, 1))
    larger = grown(model, (3, 2, 2))
    assert sum(p.numel() for p in larger.parameters()) > sum(p.numel() for p in model.parameters())
    video = torch.rand(1, 3, 9, 32, 48) * 2 - 1
    with torch.no_grad():
        latents, _ = model.encode(video)
        assert torch.equal(larger.encode(video)[0], latents)
        assert torch.allclose(larger.decode(latents)[0], model.decode(latents)[0], atol=1e-6)


def test_the_decoder_learns_and_the_encoder_stays(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoencoder_stage, "SIDE", 16)
    stage = DecoderStage(small_models().autoencoder, Store.open(rendered(tmp_path_factory) / "clips"))
    loss, _ = stage(generator(), 0.0)
    loss.backward()
    assert all(p.grad is None for p in stage.model.encoder.parameters())
    assert all(p.grad is not None and p.grad.any() for p in stage.model.decoder[1].parameters())


def test_the_exported_autoencoder_makes_latents_of_unit_size(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = small_models().autoencoder
    stage = AutoencoderStage(model, Store.open(rendered(tmp_path_factory) / "clips"))
    stage.export(tmp_path)
    again = TinyAutoencoder.from_pretrained(tmp_path / "autoencoder")
    found = []
    with torch.no_grad():
        for seed in range(6):
            videos, _ = stage.batch(generator(seed), 9, 4)
            found.append(again.encode(videos)[0].transpose(0, 1).flatten(1))
    values = torch.cat(found, dim=1)
    assert values.shape[0] == 16
    assert values.mean().abs() < 0.5
    assert 0.5 < values.std() < 2
    assert set(STREAMS) == set(autoencoder_stage.SHARES)


# --- base -----------------------------------------------------------------------------------------------------------


def test_windows_grow_with_the_schedule(base: BaseStage) -> None:
    early, late = ([base.batch(generator(seed), share).clean.shape[2] for seed in range(24)] for share in (0.1, 0.9))
    assert early.count(9) > 18 and late.count(9) < 8
    assert max(late) == 21
    assert {9, 20, 21} >= {*early, *late}  # 20 after history, of clips with 25 latent frames


def test_levels_are_spread_over_the_batch(base: BaseStage) -> None:
    """Each stretch of levels gets its share, and within it they are even."""
    levels = base.levels(torch.zeros(400, 16, 1, *GRID), generator())
    assert (levels.diff() > 0).all()
    assert levels.min() >= 0.02 and levels.max() <= 1
    for low, high, share in base_stage.LEVELS:
        inside = levels[(levels >= low) & (levels < high)]
        assert len(inside) / 400 == pytest.approx(share, abs=0.01)
        assert torch.allclose(inside.diff(), inside.diff().mean(), atol=1e-4)


def test_a_perfect_guess_costs_nothing_and_errors_count_more_where_there_is_little_noise(base: BaseStage) -> None:
    window = base.batch(generator(), 0.1)
    noise, b = torch.randn_like(window.clean), len(window.clean)
    assert base.loss(window, window.clean, noise, torch.full((b,), 0.5))[0] == 0
    for t, weight in ((1.0, 0.8), (0.5, 2.0), (0.02, 4.0)):
        loss, _ = base.loss(window, window.clean + 1, noise, torch.full((b,), t))
        assert float(loss) == pytest.approx(weight, rel=0.01)


def test_channels_count_as_they_move_the_picture(base: BaseStage) -> None:
    """One channel's way into the decoder is made a hundred times wider, another's is shut."""
    enter = base.autoencoder.decoder[1].weight
    with torch.no_grad():
        enter[:, 3] *= 100
        enter[:, 5] = 0
    found = base_stage.importance(base.autoencoder, base.held_out).flatten()
    assert found.mean() == pytest.approx(1.0)
    assert found.argmax() == 3
    assert found[5] == 0


def test_what_is_given_passes_through_at_the_start(base: BaseStage) -> None:
    """The prediction follows the given latents, frame by frame, before anything is learnt."""
    torch.manual_seed(0)
    transformer = Sizes(width=72, layers=2, ffn=144, control_layers=1).transformer(base.words.width)
    base_stage.start(transformer)
    base.transformer = transformer
    window = base.batch(generator(), 0.1)
    given = torch.randn_like(window.condition[:, 4:])
    window = replace(window, condition=torch.cat([torch.ones_like(window.condition[:, :4]), given], dim=1))
    with torch.no_grad():
        made = base.predict(window, torch.randn_like(window.clean), torch.ones(len(window.clean)))
    both = torch.stack([made.flatten(), given.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.9


def test_what_is_given_is_heard(base: BaseStage) -> None:
    """Joins and beats start at zero, so they are stirred first."""
    with torch.no_grad():
        for weight in base.transformer.parameters():
            if not weight.any():
                weight.normal_(std=0.2)
    window = next(w for w in (base.batch(generator(seed), 0.1) for seed in range(40)) if w.history is not None)
    window = replace(window, controls=tuple(replace(c, strength=torch.ones_like(c.strength)) for c in window.controls))
    t = torch.full((len(window.clean),), 0.7)

    def made(changed: Window) -> torch.Tensor:
        with torch.no_grad():
            return base.predict(changed, window.clean, t)

    first = made(window)
    assert torch.equal(made(window), first)
    changes = {
        "condition": replace(window, condition=window.condition + 1),
        "history": replace(window, history=window.history + 1),
        "controls": replace(window, controls=()),
        "beats": replace(window, beats=window.beats + 1),
        "words": replace(window, words=tuple("another storm" for _ in window.words)),
    }
    for name, changed in changes.items():
        assert not torch.equal(made(changed), first), name


def test_sampling_follows_the_seed(base: BaseStage) -> None:
    window = base.batch(generator(), 0.1)
    one, same, other = (base.sample(window, steps=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_new_clips_are_found_on_the_way(base: BaseStage, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(base_stage, "REFRESH", 2)
    monkeypatch.setattr(base.pool, "refresh", lambda: looked.append(base.calls), raising=False)
    for step in range(5):
        with torch.no_grad():
            base(generator(step), 0.0)
    assert looked == [2, 4]


# --- history --------------------------------------------------------------------------------------------------------


def clean_copy(stage: HistoryStage, seed: int, recent: int | None) -> Window:
    """The first batch from this seed on that has history, or has none."""
    drawn = (stage.batch(generator(at), 0.5) for at in range(seed, seed + 60))
    return next(window for window in drawn if (window.history is None) == (recent is None))


@pytest.mark.parametrize("kind", ["own", "noise", "trips", "clean"])
def test_history_is_damaged_as_drawn_and_the_truth_stays(
    history: HistoryStage, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(history_stage, "AFTER", 1.0)
    monkeypatch.setattr(history_stage, "places", lambda clips, *_args, **_named: [5] * len(clips))
    carried = Carried(torch.full((16, 20, *GRID), 60.0), torch.zeros(4, 20, *GRID, dtype=torch.uint8))
    own = Worn(torch.full((16, 5, *GRID), 50.0), carried)
    history.pool.items[:] = [replace(clip, worn={5: own}) for clip in history.pool.items]
    made = {}
    for damage in ("clean", kind):
        monkeypatch.setattr(history_stage, "DAMAGE", {damage: 1.0})
        made[damage] = history.batch(generator(5), 0.5)
    truth, worn = made["clean"], made[kind]
    assert torch.equal(truth.clean, worn.clean)
    assert torch.equal(truth.condition, worn.condition)
    assert worn.worn is None
    assert worn.history is not None and worn.history.shape == truth.history.shape
    assert worn.history.isfinite().all()
    assert torch.equal(worn.history, truth.history) == (kind == "clean")
    assert torch.equal(worn.carried, truth.carried) == (kind != "own")
    if kind == "own":
        assert (worn.history == 50).all()
        assert (worn.carried[worn.moves.any(1)] == 60).all() and worn.moves.any()
    if kind == "trips":
        untouched = slice(history_stage.TRAVELLERS, None)
        assert torch.equal(worn.history[untouched], truth.history[untouched])


def test_an_ablation_leaves_the_damage_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_stage, "DAMAGE", {"noise": 1.0})
    models = small_models()
    given = (models.transformer, models.words, models.autoencoder, noisy_pool(tmp_path), noisy_pool(tmp_path, 1))
    whole, bare = (HistoryStage(*given, damaged=damaged) for damaged in (True, False))
    seen = [(bare.batch(generator(seed), 0.5), whole.batch(generator(seed), 0.5)) for seed in range(6)]
    pairs = [(plain, worn) for plain, worn in seen if plain.history is not None]
    assert pairs
    for plain, worn in pairs:
        assert torch.equal(plain.clean, worn.clean) and worn.history is not None
        assert plain.history is not None and plain.history.shape == worn.history.shape
        assert not torch.equal(plain.history, worn.history)
        assert all(isinstance(control.gain, float) and control.gain == 1 for control in plain.controls)


def test_an_ablation_leaves_history_out_but_for_the_first_latent_frame(
    base: BaseStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = next(it for it in (base.batch(generator(at), 0.0) for at in range(20)) if it.history is not None)
    seen: list[tuple[int, torch.Tensor]] = []

    def network(
        noisy: torch.Tensor, *_told: object, condition: torch.Tensor, history: torch.Tensor, **_named: object
    ) -> object:
        seen.append((history.shape[2], condition))
        return noisy

    monkeypatch.setattr(base.transformer, "forward", network)
    t = torch.full((len(window.clean),), 0.5)
    for base.remembers in (True, False):
        base.predict(window, window.clean, t)
    (many, held), (one, still) = seen
    assert (many, one) == (window.history.shape[2], 1)
    assert torch.equal(held, still)  # what was known last is held either way


def test_a_clip_is_continued_by_the_model_itself(base: BaseStage, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = clips.make(4, size=(32, 48))
    known = encode(clip, base.autoencoder)
    monkeypatch.setattr(played, "TRACKS", 1.0)
    made, worn = play(base, clip, known, borders=BORDERS)
    assert set(worn) == {5, 13} and made.latents.shape == (16, 25, *GRID)
    assert made.pictures.shape == (3, 97, 32, 48) and made.seen.shape == (97, 32, 48)
    for at, own in worn.items():
        assert own.history.shape == (16, 5, *GRID) and own.carried.latents.shape == (16, 25 - at, *GRID)
        assert own.history.isfinite().all() and own.carried.latents.isfinite().all()
    assert torch.equal(worn[5].history[:, 0], worn[13].history[:, 0])  # the first latent frame is handed on
    again, other = (play(base, clip, known, borders=BORDERS, seed=seed)[1] for seed in (0, 1))
    assert torch.equal(again[13].carried.latents, worn[13].carried.latents)
    assert other.keys() == worn.keys()


def test_what_a_model_hands_on_is_what_it_made(base: BaseStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that knows the truth hands on the truth, and carries the last frame that the decoder shows of it, where
    the picture before it was not known any more.
    """
    clip = clips.make(4, size=(32, 48))
    known = encode(clip, base.autoencoder)
    told = []

    def truth(window: Window, **_named: object) -> torch.Tensor:
        told.append(window)
        return window.clean

    monkeypatch.setattr(base, "sample", truth)
    monkeypatch.setattr(played, "TRACKS", 1.0)
    made, worn = play(base, clip, known, borders=BORDERS)
    picture = known.streams["picture"]
    assert torch.equal(made.latents, picture)
    assert torch.equal(worn[13].history, torch.cat([picture[:, :1], picture[:, 9:13]], dim=1))
    assert told[0].history is None and torch.equal(told[1].history[0].bfloat16(), worn[5].history)
    with torch.no_grad():
        frame = base.autoencoder.decode(picture[None, :, :5].float())[0][0, :, -1]
    first = moved(pictures(clip.part(slice(0, 1)), "picture")[:, 0], clip, 0).part(slice(16, 17))
    kept = remembered(frame, first.pictures[:, 0], first.kept[:, 0])
    assert not torch.equal(kept, frame) and torch.equal(kept[:, ~first.kept[0, 0]], frame[:, ~first.kept[0, 0]])
    shown = moved(kept, clip, 16)
    wanted = encoded(shown, base.autoencoder, lone=False)
    assert torch.allclose(worn[5].carried.latents.float(), wanted.latents.float(), atol=0.02)
    span = slice(17, 49)  # the video frames of the second part; its pictures begin after the last known one
    eight = made.pictures[:, span].float() / 127.5 - 1
    assert torch.allclose(eight, shown.pictures[:, 1:33].clamp(-1, 1), atol=0.006)
    assert torch.equal(made.seen[span].bool(), shown.seen[0, 1:33])


def test_what_is_not_given_is_not_shown_either(base: BaseStage, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = clips.make(4, size=(32, 48))
    monkeypatch.setattr(played, "TRACKS", 0.0)
    told = []
    sample = base.sample
    monkeypatch.setattr(base, "sample", lambda window, **named: (told.append(window), sample(window, **named))[1])
    made, _ = play(base, clip, encode(clip, base.autoencoder))
    assert not made.seen.any() and ((made.pictures.float() - 127.5).abs() < 1).all()
    assert [c.branch for c in told[0].controls] == ["dense"] * len(made.dense) and not told[0].moves.any()


def test_a_damaged_picture_is_given_and_followed_only_where_there_is_one(
    history: HistoryStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_stage, "AFTER", 0.0)
    truth = history.batch(generator(3), 0.5)
    monkeypatch.setattr(history_stage, "OURS", replace(history_stage.OURS, picture=1.0))
    ways = set()

    def chance(probability: float, source: torch.Generator) -> bool:
        """Always a picture, by trips for even seeds and by noise for odd ones."""
        return probability > 0.5 or (probability == 0.4 and source.initial_seed() % 2 == 0)

    monkeypatch.setattr(history_stage.degradation, "chance", chance)
    for seed in range(6):
        condition = truth.condition.clone()
        condition[0, :, 0] = 0  # the first sample has no picture
        condition[1:, :4, 0] = 1
        window = history._worn_picture(replace(truth, condition=condition), torch.Generator().manual_seed(seed))
        assert window.worn is not None
        assert window.worn.shape == (len(truth.clean), 16, 1, *GRID)
        assert not window.condition[0, :, 0].any()
        assert torch.equal(window.worn[0], truth.clean[0, :, :1])  # nothing to follow but the truth
        assert torch.equal(window.condition[1:, 4:, :1], window.worn[1:])
        assert not torch.equal(window.worn[1:], condition[1:, 4:, :1])
        assert torch.equal(window.condition[:, :, 1:], condition[:, :, 1:])
        assert torch.equal(window.clean, truth.clean)
        ways.add(float(window.worn[1:].std()))
    assert len(ways) > 1


def test_the_loss_of_a_damaged_picture_wants_its_low_frequencies(history: HistoryStage) -> None:
    window = clean_copy(history, 0, None)
    window = replace(window, worn=None)
    noise, t = torch.randn_like(window.clean), torch.full((len(window.clean),), 0.5)
    assert history.loss(window, window.clean, noise, t)[0] == 0
    brighter = replace(window, worn=window.clean[:, :, :1] + 1)
    pulled = window.clean.clone()
    pulled[:, :, 0] += 0.5
    stay, follow = (float(history.loss(brighter, made, noise, t)[0]) for made in (window.clean, pulled))
    assert 0 < follow < stay
    plain = replace(window, worn=window.clean[:, :, :1])
    assert float(history.loss(plain, window.clean, noise, t)[0]) == pytest.approx(0, abs=1e-8)


def test_dense_controls_wear_off_and_sparse_ones_do_not(history: HistoryStage, monkeypatch: pytest.MonkeyPatch) -> None:
    latents, strength = torch.randn(3, 36, 5, *GRID), torch.ones(3, 5)
    monkeypatch.setattr(history_stage, "OURS", replace(DegradationConfig(), control=1.0, feature=1.0))
    dense = ControlInput("dense", latents, strength, kind=torch.zeros(3, dtype=torch.int64))
    worn = history._worn(dense, torch.Generator().manual_seed(0))
    assert not torch.equal(worn.latents[0, :16], latents[0, :16])
    assert torch.equal(worn.latents[1:], latents[1:]) and torch.equal(worn.latents[:, 16:], latents[:, 16:])
    assert isinstance(worn.gain, torch.Tensor)
    assert ((worn.gain >= 0.8) & (worn.gain <= 1.2)).all() and worn.gain.std() > 0
    sparse = ControlInput("sparse", latents, strength)
    assert history._worn(sparse, torch.Generator().manual_seed(0)) is sparse


def test_times_of_history_are_zero(base: BaseStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """History is clean for the network, whatever the level of the window."""
    window = next(w for w in (base.batch(generator(seed), 0.1) for seed in range(40)) if w.history is not None)
    asked = {}
    inner = base.transformer.forward

    def watch(*given: object, **named: object) -> torch.Tensor:
        asked.update(named)
        return inner(*given, **named)

    monkeypatch.setattr(base.transformer, "forward", watch)
    with torch.no_grad():
        base.predict(window, flow.noised(window.clean, window.clean, 0.5), torch.full((len(window.clean),), 0.5))
    times = asked["history_times"]
    assert isinstance(times, torch.Tensor)
    assert times.shape == (len(window.clean), window.history.shape[2]) and not times.any()
