"""What is kept, in integers; and keys and values that make a chunked stream equal to one masked call."""

import pytest
import torch
import whole_buffer
from torch import Tensor

from longvie.engine.memory import Memory, Slots, Window
from longvie.errors import ConfigError, InputError
from longvie.models.control_branch import ControlInput
from longvie.models.transformer import VideoTransformer

GRID = (2, 3)  # tokens of a latent frame
WORDS = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(9))


def model(*, branches: bool = False) -> VideoTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = VideoTransformer(
            width=48, layers=2, heads=2, ffn=64, in_channels=8, out_channels=8, text_width=16, time_width=32,
            control_layers=1 if branches else 0, control_width=24, control_heads=1, control_ffn=32, dense_kinds=2,
            branch_positions="clip",
        )  # fmt: skip
        for weight in made.parameters():
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.3)
    return made.eval()


def latents(frames: int, batch: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(batch, 8, frames, 4, 6, generator=torch.Generator().manual_seed(seed))


def depth(frames: int, batch: int = 2) -> ControlInput:
    return ControlInput("dense", latents(frames, batch, 5), torch.full((batch, frames), 0.7), kind=1)


def memory(
    network: VideoTransformer, window: Window, block: int, *, relative: bool = True, branch: bool = False
) -> Memory:
    return Memory(window, block, network.turn(*GRID, branch=branch), relative=relative)


@torch.no_grad()
def streamed(network: VideoTransformer, x: Tensor, kept: Memory, block: int, words: Tensor = WORDS) -> Tensor:
    """Block after block at time 0, each keeping what it leaves."""
    out = []
    for at in range(0, x.shape[2], block):
        part = x[:, :, at : at + block]
        positions = kept.begin(range(at, at + part.shape[2]))
        out.append(network(part, torch.zeros(len(x)), words[: len(x)], past=kept, positions=positions))
        kept.end()
    return torch.cat(out, dim=2)


# --- against the published scheme


def test_the_same_numbers_as_whole_buffers_for_a_third_of_the_bytes() -> None:
    """Sink 3, window 6, blocks of 3, five calls a block, as LongLive has them; frames have long begun to leave."""
    network, x = model(), latents(30, batch=1)
    ours = memory(network, Window(3, 6), 3)
    theirs = whole_buffer.WholeBuffer(Window(3, 6), 3, network.turn(*GRID))
    wanted = whole_buffer.streamed(network, theirs, x, WORDS[:1])
    assert torch.allclose(whole_buffer.streamed(network, ours, x, WORDS[:1]), wanted, atol=2e-5)
    assert 0 < 3 * ours.copied < theirs.copied


# --- integers


@pytest.mark.parametrize("window", [Window(3, 6, 3, 18), Window(3, 6, 1, 6), Window(0, 3, 2, 9), Window(3, 6)])
def test_slots_hold_what_the_window_keeps(window: Window) -> None:
    """A hundred blocks, begun twice each as the live engine does, key frames and all."""
    slots = Slots.free(window, 3)
    for now in range(0, 300, 3):
        kept = window.kept(now)
        for _ in range(2):
            after, taken = slots.with_block(range(now, now + 3))
        assert [after.frames[slot] for slot in taken] == [now, now + 1, now + 2]
        held = sorted(frame for frame in after.frames if frame is not None)
        assert held == [*kept, now, now + 1, now + 2]
        assert None not in after.frames[: after.filled]  # the first so many are taken
        slots = after
    assert len(slots.frames) == window.sink + window.far + window.recent + 3


def test_key_frames_lie_between_the_first_and_the_last() -> None:
    window = Window(3, 6, far=2, every=6)
    assert window.kept(12) == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert window.kept(15) == [0, 1, 2, 6, 9, 10, 11, 12, 13, 14]
    assert window.kept(60) == [0, 1, 2, 42, 48, *range(54, 60)]
    with pytest.raises(ConfigError, match="every is 0"):
        Window(3, 6, 1, 0)


def test_key_frames_are_seen_and_change_what_is_made() -> None:
    network, x = model(), latents(30, batch=1)
    made = [streamed(network, x, memory(network, Window(3, 6, far, 6), 3), 3) for far in (0, 2)]
    assert torch.equal(made[0][:, :, :15], made[1][:, :, :15])  # until the first key frame has left the window
    assert not torch.allclose(made[0][:, :, 15:18], made[1][:, :, 15:18], atol=1e-4)


def test_a_window_keeps_the_first_and_the_last() -> None:
    window = Window(sink=3, recent=6)
    assert [window.kept(now) for now in (0, 2, 3)] == [[], [0, 1], [0, 1, 2]]
    assert window.kept(9) == list(range(9))
    assert window.kept(30) == [0, 1, 2, 24, 25, 26, 27, 28, 29]
    assert Window(0, 2).kept(5) == [3, 4] and Window(2, 0).kept(5) == [0, 1]
    with pytest.raises(ConfigError, match="sink is -1"):
        Window(-1, 6)


@pytest.mark.parametrize(("sink", "recent", "block"), [(3, 6, 3), (1, 4, 2), (0, 5, 1), (2, 2, 3), (4, 7, 5)])
def test_slots_hold_what_the_window_keeps_and_the_block(sink: int, recent: int, block: int) -> None:
    """Against a list that is sorted and cut anew each time; also where the window is no multiple of the block."""
    window = Window(sink, recent)
    slots = Slots.free(window, block)
    held: list[int] = []
    for now in range(0, 60, block):
        new = list(range(now, now + block))
        held = [*held, *new]
        extra = max(0, len(held) - (sink + recent + block))
        held = [*held[:sink], *held[sink + extra :]]
        before = slots
        slots, taken = slots.with_block(new)
        assert sorted(frame for frame in slots.frames if frame is not None) == held
        assert [slots.frames[slot] for slot in taken] == new
        still = set(range(len(slots.frames))) - set(taken)
        assert all(slots.frames[slot] == before.frames[slot] for slot in still), "nothing else moves"
        if now >= sink:
            assert slots.frames[:sink] == tuple(range(sink))
        assert sorted(slots.ranks()) == list(range(len(held)))


def test_more_than_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match="9 latent frames at once do not fit into 8 slots"):
        Slots.free(Window(2, 3), 3).with_block(range(9))


# --- keys and values


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_block_after_block_is_one_masked_call(relative: bool, block: int) -> None:
    network, x = model(), latents(6)
    number = torch.arange(6) // block
    with torch.no_grad():
        whole = network(x, torch.zeros(2), WORDS, visible=number[:, None] >= number)
    made = streamed(network, x, memory(network, Window(2, 4), block, relative=relative), block)
    torch.testing.assert_close(made, whole, atol=2e-5, rtol=0)


@torch.no_grad()
def test_after_frames_have_left_it_is_a_call_over_those_that_are_kept() -> None:
    """One layer, so that nothing of what has left shines through: relative positions are those within the memory."""
    network, x = model(), latents(12)
    network.blocks = type(network.blocks)([network.blocks[0]])
    made = streamed(network, x, memory(network, Window(1, 2), 2), 2)
    seen = [*Window(1, 2).kept(10), 10, 11]
    number = torch.tensor([0, 1, 1, 2, 2])
    whole = network(x[:, :, seen], torch.zeros(2), WORDS, visible=number[:, None] >= number)
    torch.testing.assert_close(made[:, :, 10:], whole[:, :, -2:], atol=2e-5, rtol=0)


@pytest.mark.parametrize("relative", [True, False])
def test_steps_of_a_block_leave_nothing_but_the_last_one(relative: bool) -> None:
    network, x = model(), latents(8)
    plain = memory(network, Window(2, 2), 2, relative=relative)
    wanted = streamed(network, x, plain, 2)
    kept, out = memory(network, Window(2, 2), 2, relative=relative), []
    with torch.no_grad():
        for at in range(0, 8, 2):
            positions = kept.begin(range(at, at + 2))
            for noisy in (latents(2, seed=at + 50), latents(2, seed=at + 70)):
                network(noisy, torch.full((2,), 0.6), WORDS, past=kept, positions=positions)
            out.append(network(x[:, :, at : at + 2], torch.zeros(2), WORDS, past=kept, positions=positions))
            kept.end()
    assert torch.equal(torch.cat(out, dim=2), wanted)
    assert all(torch.equal(a, b) for a, b in zip(kept.tensors().values(), plain.tensors().values(), strict=True))


@pytest.mark.parametrize("relative", [True, False])
def test_saved_and_restored_is_never_stopped(relative: bool) -> None:
    network, x = model(), latents(16)
    whole = memory(network, Window(1, 3), 2, relative=relative)
    wanted = streamed(network, x, whole, 2)
    first = memory(network, Window(1, 3), 2, relative=relative)
    streamed(network, x[:, :, :10], first, 2)
    again, branched = memory(network, Window(1, 3), 2, relative=relative), first.copy()
    again.restore({name: tensor.clone() for name, tensor in first.tensors().items()})
    for kept in (again, branched):
        out = []
        with torch.no_grad():
            for at in range(10, 16, 2):
                positions = kept.begin(range(at, at + 2))
                out.append(network(x[:, :, at : at + 2], torch.zeros(2), WORDS, past=kept, positions=positions))
                kept.end()
        assert torch.equal(torch.cat(out, dim=2), wanted[:, :, 10:])
    with pytest.raises(InputError, match="another window"):
        memory(network, Window(1, 4), 2).restore(first.tensors())


def test_a_copy_goes_its_own_way() -> None:
    network = model()
    kept = memory(network, Window(1, 3), 2)
    streamed(network, latents(6), kept, 2)
    before = {name: tensor.clone() for name, tensor in kept.tensors().items()}
    streamed(network, latents(4, seed=8), kept.copy(), 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in kept.tensors().items())


def test_two_streams_in_a_batch_are_two_streams() -> None:
    network, x = model(), latents(10)
    both = streamed(network, x, memory(network, Window(1, 3), 2), 2)
    for k in range(2):
        one = streamed(network, x[k : k + 1], memory(network, Window(1, 3), 2), 2, WORDS[k : k + 1])
        torch.testing.assert_close(one, both[k : k + 1], atol=1e-5, rtol=0)


def test_relative_and_absolute_positions_agree_until_a_frame_leaves() -> None:
    network, x = model(), latents(12)
    one, other = (streamed(network, x, memory(network, Window(2, 4), 2, relative=it), 2) for it in (True, False))
    torch.testing.assert_close(one[:, :, :8], other[:, :, :8], atol=2e-5, rtol=0)
    assert (one[:, :, 8:] - other[:, :, 8:]).abs().max() > 1e-3


def test_branches_have_pasts_of_their_own() -> None:
    network, x, control = model(branches=True), latents(6), depth(6)
    number = torch.arange(6) // 2
    with torch.no_grad():
        whole = network(x, torch.zeros(2), WORDS, controls=(control,), visible=number[:, None] >= number)
        trunk, branch = memory(network, Window(2, 4), 2), memory(network, Window(2, 4), 2, branch=True)
        out = []
        for at in range(0, 6, 2):
            span = slice(at, at + 2)
            part = ControlInput("dense", control.latents[:, :, span], control.strength[:, span], kind=1)
            positions = trunk.begin(range(at, at + 2))
            branch.begin(range(at, at + 2), end=int(positions[-1]) + 1)
            out.append(
                network(
                    x[:, :, span], torch.zeros(2), WORDS, controls=(part,), past=trunk, branch_pasts=(branch,),
                    positions=positions,
                )
            )  # fmt: skip
            trunk.end()
            branch.end()
    torch.testing.assert_close(torch.cat(out, dim=2), whole, atol=2e-5, rtol=0)


def test_a_branch_that_begins_late_stands_where_the_trunk_does() -> None:
    network = model(branches=True)
    trunk, branch = memory(network, Window(1, 3), 2), memory(network, Window(1, 3), 2, branch=True)
    for at in range(0, 10, 2):
        positions = trunk.begin(range(at, at + 2))
        if at >= 6:
            assert torch.equal(branch.begin(range(at, at + 2), end=int(positions[-1]) + 1), positions)
            branch.end()
        trunk.end()


def test_what_is_forgotten_is_not_looked_at() -> None:
    network, x = model(), latents(8)
    kept = memory(network, Window(2, 2), 2)
    streamed(network, x, kept, 2)
    kept.forget(sink=True)
    assert [frame for frame in kept.slots.frames if frame is not None] == [0, 1]
    kept.forget(sink=False)
    fresh = streamed(network, x[:, :, :2], kept, 2)
    assert torch.equal(fresh, streamed(network, x[:, :, :2], memory(network, Window(2, 2), 2), 2))


@pytest.mark.parametrize("relative", [True, False])
def test_memory_and_work_do_not_grow_with_length(relative: bool) -> None:
    network = model()
    kept = memory(network, Window(1, 3), 2, relative=relative)
    sizes, bytes_a_block = [], []
    for at in range(0, 24, 2):
        before = kept.copied
        with torch.no_grad():
            positions = kept.begin(range(at, at + 2))
            network(latents(2, seed=at), torch.zeros(2), WORDS, past=kept, positions=positions)
        kept.end()
        sizes.append(
            sum(tensor.untyped_storage().nbytes() for tensor in (*kept._keys.values(), *kept._values.values()))
        )
        bytes_a_block.append(kept.copied - before)
    assert len(set(sizes)) == 1
    assert len(set(bytes_a_block[3:])) == 1
    own = 2 * 2 * 2 * 2 * 6 * 48 * 4  # layers, keys and values, batch, frames, tokens, width, bytes
    assert bytes_a_block[-1] == own + (2 * 2 * 6 * 6 * 48 * 4 if relative else 0), "and keys turned once a block"
