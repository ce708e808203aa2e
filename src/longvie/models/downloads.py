"""Where the files of published models lie: in a folder that is named, in `models/`, or in the hub's cache.

They are looked for and nothing else: no file is fetched, none is written. What is not there is said with the command
that gets it; what is there as a pickle, with the command that converts it.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import CacheNotFound, constants, scan_cache_dir

from longvie.errors import WeightsError
from longvie.models.weights import PICKLES, conversion

MODELS = Path("models")  # from the folder that the program runs in, as configs/ have it


@dataclass(frozen=True)
class Part:
    """One part of a published model.

    Attributes:
        what: it is, in words.
        choices: files or folders that hold it, of every layout.
        pickled: files that hold it as a pickle.
        inside: which part of that pickle is meant.
    """

    what: str
    choices: tuple[str, ...]
    pickled: tuple[str, ...] = ()
    inside: str = ""


@dataclass(frozen=True)
class Source:
    """A published model.

    Attributes:
        repositories: its names on the hub; any of them will do.
        fetch: what `hf download` is to be told.
        option: by which its place can be named.
    """

    repositories: tuple[str, ...]
    fetch: tuple[str, ...]
    option: str

    def remedy(self, into: Path | None) -> str:
        """How to get it: into a folder that the user has named, or else into the hub's cache."""
        named = [] if into is None else ["--local-dir", str(into)]
        return f"{shlex.join(['hf', 'download', *self.fetch, *named])}, or set {self.option}"

    def places(self, cache: Path | None) -> tuple[Path, ...]:
        """Folders that may hold it: in `models/`, whether they are there or not, and in the hub's cache.

        The cache itself comes last. It holds no file by itself, but a refusal names all places.
        """
        root = Path(constants.HF_HUB_CACHE) if cache is None else cache
        local = tuple(MODELS / repository.partition("/")[2] for repository in self.repositories)
        return (*local, *snapshots(self.repositories, root), root)


TRUNK = Part(
    "transformer",
    ("transformer", "diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors"),
)
AUTOENCODER = Part("autoencoder", ("vae", "Wan2.1_VAE.safetensors"), ("Wan2.1_VAE.pth",))
WORDS = Part(
    "text encoder",
    ("text_encoder", "models_t5_umt5-xxl-enc-bf16.safetensors"),
    ("models_t5_umt5-xxl-enc-bf16.pth",),
)
TOKENIZER = Part("tokenizer", ("tokenizer/tokenizer.json", "google/umt5-xxl/tokenizer.json"))
PICTURES = Part(
    "picture encoder",
    ("image_encoder", "models_clip_open-clip-xlm-roberta-large-vit-huge-14.safetensors"),
    ("models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",),
)
LIVE = Part(
    "LongLive base",
    ("longlive_base.safetensors", "models/longlive_base.safetensors"),
    ("longlive_base.pt", "models/longlive_base.pt"),
    "generator",
)
LORA = Part(
    "LongLive adapter",
    ("lora.safetensors", "models/lora.safetensors", "adapter_model.safetensors"),
    ("lora.pt", "models/lora.pt"),
    "generator_lora",
)
WAN_1_3B = Source(
    ("Wan-AI/Wan2.1-T2V-1.3B", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
    ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "--include", "vae/*", "text_encoder/*", "tokenizer/*"),
    "model.base",
)
LONGLIVE = Source(
    ("Efficient-Large-Model/LongLive-1.3B",), ("Efficient-Large-Model/LongLive-1.3B",), "model.live and model.lora"
)


@dataclass(frozen=True)
class Search:
    """A part and the folders in which it is looked for. What is converted belongs into the first of them."""

    part: Part
    places: tuple[Path, ...]

    @property
    def found(self) -> Path | None:
        """Of the first folder that has it."""
        return _first(self.places, self.part.choices)

    @property
    def convert(self) -> str | None:
        """How to make it, if it is there as a pickle."""
        pickled = _first(self.places, self.part.pickled)
        if pickled is None:
            return None
        files = [choice for choice in self.part.choices if choice.endswith(".safetensors")]
        name = files[0] if files else pickled.with_suffix(".safetensors").name
        return conversion(pickled, self.places[0] / name, self.part.inside)


def _first(places: Sequence[Path], choices: Sequence[str]) -> Path | None:
    return next((place / choice for place in places for choice in choices if (place / choice).exists()), None)


def find(place: Path, *parts: Part) -> tuple[Path, ...]:
    """Parts of a published model in its folder.

    Raises:
        WeightsError: names those that are not there, and how to convert those that are pickles.
    """
    searches = [Search(part, (place,)) for part in parts]
    return _found(f"{place.name}/", searches, _lacking(searches))


def _found(whole: str, searches: Sequence[Search], troubles: Sequence[str]) -> tuple[Path, ...]:
    if troubles:
        raise WeightsError(f"{whole} is not complete: {'; '.join(troubles)}", code="weights_missing")
    return tuple(search.found for search in searches if search.found is not None)


@dataclass(frozen=True)
class LongLive:
    """Where the parts of `longlive-1.3b` lie: three of Wan2.1-T2V-1.3B, and LongLive's own two."""

    autoencoder: Path
    words: Path
    tokenizer: Path
    live: Path
    lora: Path


def longlive(
    base: Path | None = None, live: Path | None = None, lora: Path | None = None, *, cache: Path | None = None
) -> LongLive:
    """The parts of `longlive-1.3b`, each in the first place that has it.

    Args:
        base: folder of Wan2.1-T2V-1.3B in either layout; None: `models/`, then the hub's cache.
        live: file of LongLive's base, or a folder with it; None as for `base`.
        lora: of its adapter; None: beside `live` if that is given, else as for `base`.
        cache: of the hub; None is the one that its own library uses.

    Raises:
        WeightsError: names all that is missing, where it was looked for, and how to get it.
    """
    wan = WAN_1_3B.places(cache) if base is None else (base,)
    own = LONGLIVE.places(cache) if live is None else (live.parent if _is_file(live) else live,)
    theirs = [Search(part, wan) for part in (AUTOENCODER, WORDS, TOKENIZER)]
    ours = [_search(LIVE, live, own), _search(LORA, lora, own)]
    named = own[0] if live is not None else None
    troubles = [*_lacking(theirs, WAN_1_3B, into=base), *_lacking(ours, LONGLIVE, into=named)]
    return LongLive(*_found("longlive-1.3b", [*theirs, *ours], troubles))


def _search(part: Part, given: Path | None, places: tuple[Path, ...]) -> Search:
    """For a part that the user may have named: as a folder, as a file, or as the pickle that it was published as."""
    if given is None:
        return Search(part, places)
    if not _is_file(given):
        return Search(part, (given,))
    if given.suffix.lower() in PICKLES:
        return Search(replace(part, choices=(), pickled=(given.name,)), (given.parent,))
    return Search(replace(part, choices=(given.name,)), (given.parent,))


def _is_file(given: Path) -> bool:
    """Whether a file is named and not a folder; neither need be there."""
    return given.suffix.lower() in (".safetensors", ".json", *PICKLES)


def _lacking(searches: Sequence[Search], source: Source | None = None, into: Path | None = None) -> list[str]:
    """Sentences on what was not found, of one published model."""
    lost = [search for search in searches if search.found is None]
    absent = [search for search in lost if search.convert is None]
    commands = [search.convert for search in lost if search.convert is not None]
    troubles = [f"what is a pickle must be converted first: {' && '.join(commands)}"] if commands else []
    if absent:
        what = ", ".join(f"no {s.part.what} ({' or '.join(s.part.choices or s.part.pickled)})" for s in absent)
        places = dict.fromkeys(str(place) for search in absent for place in search.places)
        said = f"{what} in {' or '.join(places)}"
        troubles.append(said if source is None else f"{said}: {source.remedy(into)}")
    return troubles


def snapshots(repositories: Sequence[str], cache: Path) -> tuple[Path, ...]:
    """Folders of these models in a cache of the hub: in this order, of each the last one that was fetched first.

    Raises:
        WeightsError: there is a cache that cannot be read.
    """
    try:
        kept = scan_cache_dir(cache).repos
    except CacheNotFound:
        return ()
    except (OSError, ValueError) as reason:
        raise WeightsError(f"the hub's cache cannot be read: {reason}") from reason
    found = [
        (repositories.index(repo.repo_id), -revision.last_modified, revision.snapshot_path)
        for repo in kept
        if repo.repo_type == "model" and repo.repo_id in repositories
        for revision in repo.revisions
    ]
    return tuple(path for _, _, path in sorted(found))
