"""Devices by name, numbers by stopwatch, randomness by seed."""

import json
import platform
import random
import resource
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from longvie import runtime
from longvie.errors import ConfigError, ResourceError


@pytest.fixture
def clean_torch() -> Iterator[None]:
    """What these tests set for the whole process is put back."""
    count, on = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    cudnn = torch.backends.cudnn.deterministic
    yield
    torch.set_num_threads(count)
    torch.use_deterministic_algorithms(on)
    torch.backends.cudnn.deterministic = cudnn


def test_a_device_by_name_or_the_best() -> None:
    assert runtime.device("cpu") == torch.device("cpu")
    assert runtime.device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cpu!", "meta", "cpux:1"])
def test_a_name_that_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="use cpu"):
        runtime.device(name)


@pytest.mark.parametrize("name", ["cuda:99", "cpu:1"])
def test_a_device_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(ResourceError, match="this machine has"):
        runtime.device(name)


@pytest.mark.parametrize(
    ("speedup", "dtype"), [(0.3, torch.float32), (1.1, torch.float32), (1.3, torch.bfloat16), (5.0, torch.bfloat16)]
)
def test_the_faster_numbers_are_taken(monkeypatch: pytest.MonkeyPatch, speedup: float, dtype: torch.dtype) -> None:
    monkeypatch.setattr(runtime, "bf16_speedup", lambda: speedup)
    assert runtime.inference_dtype(torch.device("cpu")) == dtype
    assert runtime.inference_dtype(torch.device("cpu"), torch.float64) == torch.float64


def test_the_stopwatch_is_short_and_used_once() -> None:
    runtime.bf16_speedup.cache_clear()
    first = runtime.bf16_speedup()
    assert 0.01 < first < 100
    assert runtime.bf16_speedup() == first
    assert runtime.bf16_speedup.cache_info().misses == 1


def test_the_shortest_run_counts_and_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def lasting(*lengths: float) -> Callable[[], None]:
        left = iter(lengths)

        def work() -> None:
            now[0] += next(left)

        return work

    monkeypatch.setattr(runtime.time, "perf_counter", lambda: now[0])
    one, other = lasting(0.001, 3.0, 2.0, 9.0), lasting(0.001, 1.0, 4.0, 9.0)  # the first of each is the warm-up
    assert runtime.shortest(one, other, seconds=6.0) == pytest.approx([2.0, 1.0])
    assert now[0] == pytest.approx(10.002), "no turn begins after the time is over"
    assert runtime.shortest(lasting(1.0, 5.0), seconds=0.0) == pytest.approx([5.0]), "each has one turn at least"


@pytest.mark.usefixtures("clean_torch")
def test_the_stopwatch_runs_on_one_thread_and_puts_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two threads a busy neighbour turned the answer round in two of five runs."""
    during: list[int] = []

    def watched(*_: Callable[[], object], seconds: float) -> list[float]:
        during.append(torch.get_num_threads())
        return [2 * seconds, seconds]

    monkeypatch.setattr(runtime, "shortest", watched)
    runtime.bf16_speedup.cache_clear()
    torch.set_num_threads(2)
    assert runtime.bf16_speedup() == 2
    assert during == [1]
    assert torch.get_num_threads() == 2
    runtime.bf16_speedup.cache_clear()


@pytest.mark.usefixtures("clean_torch")
def test_threads() -> None:
    assert runtime.threads(1) == 1
    assert runtime.threads() == 1
    assert runtime.threads(2) == torch.get_num_threads() == 2
    with pytest.raises(ConfigError, match="1 or more"):
        runtime.threads(0)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left as they are")
def test_kept_memory_is_not_asked_for_again() -> None:
    """Page faults of a chain of tensors of 4 MB each, whose pages went back to the system between calls before."""
    assert runtime.keep_memory()
    first, layer = torch.ones(4, 64, 48, 88), torch.nn.Conv2d(64, 64, 1)

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        with torch.no_grad():
            assert ((torch.relu(layer(first)) + 1) * first).isfinite().all()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert min([faults() for _ in range(6)][2:]) < 100  # 4 KiB each: one new tensor of 4 MB costs 1056


def test_one_seed_for_all() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    runtime.seed_everything(7)
    first = draw()
    runtime.seed_everything(7)
    assert draw() == first
    runtime.seed_everything(8)
    assert all(one != other for one, other in zip(draw(), first, strict=True))
    runtime.seed_everything(2**40)


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    for take in (runtime.seed_everything, runtime.generator):
        with pytest.raises(ConfigError, match=str(seed)):
            take(seed)


def test_noise_depends_on_its_seed_alone() -> None:
    first = runtime.noise((2, 3), runtime.generator(5))
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        second = runtime.noise((2, 3), runtime.generator(5))
    finally:
        torch.set_default_dtype(torch.float32)
    assert first.dtype == second.dtype == torch.float32
    assert torch.equal(first, second)
    assert not torch.equal(first, runtime.noise((2, 3), runtime.generator(6)))
    assert runtime.noise((10_000,), runtime.generator(0)).std() == pytest.approx(1, abs=0.03)


def test_two_generators_do_not_meet() -> None:
    one, other = runtime.generator(1), runtime.generator(1)
    runtime.noise((100,), other)
    assert torch.equal(runtime.noise((4,), one), runtime.noise((4,), runtime.generator(1)))


@pytest.mark.usefixtures("clean_torch")
def test_deterministic_refuses_what_cannot_repeat() -> None:
    runtime.deterministic(True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert runtime.doctor()["deterministic"] is True
    runtime.deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_doctor_knows_this_machine() -> None:
    facts = runtime.doctor()
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == torch.get_num_threads()
    assert facts["bf16_speedup"] == round(runtime.bf16_speedup(), 2)
    assert isinstance(facts["ffmpeg"], str)
    memory, free = facts["memory_gib"], facts["memory_free_gib"]
    assert isinstance(memory, float)
    assert isinstance(free, float)
    assert 0 < free <= memory
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator here")
def test_on_an_accelerator() -> None:
    assert runtime.device().type == "cuda"
    assert runtime.inference_dtype(runtime.device()) in (torch.bfloat16, torch.float32)
    with pytest.raises(ConfigError, match="CPU"):
        runtime.noise((2,), runtime.generator(0, "cuda"))
    assert "GiB" in str(runtime.doctor()["cuda:0"])
