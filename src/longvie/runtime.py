"""Device, number type, threads, randomness: the one place that names a device."""

import ctypes
import functools
import importlib.metadata
import platform
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import av
import numpy as np
import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from longvie.errors import ConfigError, ResourceError

FASTER = 1.2  # by how much bfloat16 must win on a CPU; less is noise, and float32 is more exact
SEEDS = 2**63  # seeds run from 0 to one less: what every generator here takes
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of glibc's mallopt (malloc.h)
LIBRARIES = ("longvie", "torch", "diffusers", "transformers", "safetensors", "numpy", "av", "pillow")


def device(name: str | None = None) -> torch.device:
    """The device of that name, or the best one there is: CUDA, else CPU.

    Apple's `mps` is taken when named, not by itself: nothing here has been measured on it.

    Raises:
        ConfigError: the name is not one of a device.
        ResourceError: this machine does not have that device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError as reason:
        raise ConfigError(f"{name!r} is not a device; use cpu, cuda, cuda:1 or mps") from reason
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"{name!r} is not a device that we run on; use cpu, cuda, cuda:1 or mps")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[chosen.type]
    if (chosen.index or 0) >= count:
        raise ResourceError(f"device {name!r} was asked for, this machine has {count} of that kind: use cpu, or none")
    return chosen


def inference_dtype(place: torch.device, forced: torch.dtype | None = None) -> torch.dtype:
    """In which numbers to compute: bfloat16 where it is faster, else float32. Never float16, which is slow on CPUs.

    A CPU is asked once per process, by a stopwatch of about 50 ms. A run that is to be repeated to the bit should
    record the answer and force it the next time.
    """
    if forced is not None:
        return forced
    if place.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if place.type == "cpu" and bf16_speedup() > FASTER else torch.float32


@functools.cache
def bf16_speedup() -> float:
    """How many times faster than float32 this CPU multiplies matrices in bfloat16.

    Once per process, about 50 ms, on one thread: two threads wait for each other where a neighbour holds a core, and
    such waits have turned the answer round.
    """
    full, half = (torch.ones(384, 384, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    with one_thread():
        slow, fast = shortest(lambda: full @ full, lambda: half @ half, seconds=0.05)
    return slow / fast


@functools.cache
def amx() -> bool:
    """Whether this CPU multiplies tiles of bfloat16 (Intel's AMX), as far as torch says."""
    asked: Callable[[], bool] | None = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return asked is not None and asked()


def shortest(*works: Callable[[], object], seconds: float) -> list[float]:
    """The shortest run of each, in seconds, of those that begin within so many; they take turns, the first not counted.

    The shortest, not the mean: a neighbour on the machine can make a run longer, never shorter. Turns, so that a
    neighbour who comes and goes meets all of them.
    """
    for work in works:
        work()
    end, best = time.perf_counter() + seconds, [float("inf")] * len(works)
    while float("inf") in best or time.perf_counter() < end:
        for place, work in enumerate(works):
            begun = time.perf_counter()
            work()
            best[place] = min(best[place], time.perf_counter() - begun)
    return best


def threads(count: int | None = None) -> int:
    """Sets how many threads torch computes with, if told, and says how many there are.

    One is often faster than two where a neighbour takes a core. Between counts, sums may differ in their last bit.

    Raises:
        ConfigError: less than one.
    """
    if count is not None:
        if count < 1:
            raise ConfigError(f"threads is {count}; use 1 or more")
        torch.set_num_threads(count)
    return torch.get_num_threads()


def one_thread() -> AbstractContextManager[None]:
    """One thread for a while, then as many as before."""
    return _some_threads(1)


def half_the_threads() -> AbstractContextManager[None]:
    """Half of them for a while, for each of two who compute side by side."""
    return _some_threads(max(1, threads() // 2))


@contextmanager
def _some_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_memory() -> bool:
    """Freed memory stays with this process for its next tensors instead of going back to the system; says if it does.

    glibc gives every large tensor pages of its own and takes them back when the tensor dies; the next one then costs a
    page fault for each 4 KiB, which on a CPU can take longer than what is computed (figures in docs/training.md). The
    price: a process keeps the size that it once had. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    allocator = ctypes.CDLL(None).mallopt
    return bool(allocator(MMAP_MAX, 0)) and bool(allocator(TRIM_THRESHOLD, 2**31 - 1))


def checked_seed(seed: int) -> int:
    """The seed, if every generator takes it.

    Raises:
        ConfigError: negative or too large.
    """
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"seed is {seed}; use a whole number from 0 to {SEEDS - 1}")
    return seed


def seed_everything(seed: int) -> None:
    """Python's, numpy's and torch's own generators, on all devices: for training. Engines take a `generator` instead.

    Raises:
        ConfigError: negative or too large.
    """
    random.seed(checked_seed(seed))
    np.random.seed(seed % 2**32)  # numpy's global generator takes 32 bits
    torch.manual_seed(seed)


def generator(seed: int, place: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own, so that nobody else's draws change ours.

    Raises:
        ConfigError: negative or too large.
    """
    return torch.Generator(device=place).manual_seed(checked_seed(seed))


def noise(shape: tuple[int, ...], source: torch.Generator) -> Float[Tensor, "..."]:
    """Standard normal noise, drawn in float32 on the CPU whatever computes later: the same seed, the same video.

    Raises:
        ConfigError: the generator lives on another device, whose numbers would be others.
    """
    if source.device.type != "cpu":
        raise ConfigError(f"noise is drawn on the CPU, the generator is on {source.device}; use generator(seed)")
    return torch.randn(shape, generator=source, dtype=torch.float32)


def deterministic(on: bool) -> None:
    """Only algorithms that repeat to the bit on the same device; one that cannot is an error of torch.

    On CUDA this costs speed, and the variable `CUBLAS_WORKSPACE_CONFIG=:4096:8` has to be set before the process
    begins: cuBLAS reads it once, and torch says so where it is missing.
    """
    torch.use_deterministic_algorithms(on)
    torch.backends.cudnn.deterministic = on
    torch.backends.cudnn.benchmark = False


def doctor() -> dict[str, str | int | float | bool]:
    """Facts about this machine that explain a speed or a failure; takes the time of `bf16_speedup`."""
    memory = psutil.virtual_memory()
    facts: dict[str, str | int | float | bool] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count() or 1,
        "threads": threads(),
        "memory_gib": round(memory.total / 2**30, 1),
        "memory_free_gib": round(memory.available / 2**30, 1),
        "bf16_speedup": round(bf16_speedup(), 2),
        "device": str(device()),
        "dtype": str(inference_dtype(device())).removeprefix("torch."),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "ffmpeg": av.ffmpeg_version_info,
    }
    facts |= {name: importlib.metadata.version(name) for name in LIBRARIES}
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        facts[f"cuda:{index}"] = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
    return facts
