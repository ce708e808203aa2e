"""Where official weights lie on this machine, whether they are the right ones, and what to do where they are missing.

Nothing is ever fetched: a file that is not there is described, with its source and its licence, and the user decides.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from longvie.errors import ConfigError
from longvie.evaluation.metric import Weights

VARIABLE = "LONGVIE_EVAL_WEIGHTS"  # read by the command line, which hands it on as `named`
CHUNK = 1 << 20  # bytes read at a time

Status = Literal["found", "missing", "wrong hash"]
Check = Literal["sha256", "prefix", "none"]

# PyTorch's files carry the first digits of their SHA-256 in their names: alexnet-owt-7be5be79.pth.
IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")

# CLIP's hashes stand in the addresses of its files. Those of its words, RAFT, I3D, AlexNet and LPIPS are what several
# independent projects have written down of the published files, all the same. Where none is known, none is written.
OFFICIAL: Mapping[str, Weights] = {
    "dino": Weights(
        "dino_vitbase16_pretrain.pth",
        "",
        "Apache-2.0",
        "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
    ),
    "dinov2": Weights(
        "dinov2_vitb14_pretrain.pth",
        "",
        "Apache-2.0",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
    ),
    "clip-b32": Weights(
        "ViT-B-32.pt",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        "MIT",
        "https://openaipublic.azureedge.net/clip/models/"
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
    ),
    "clip-l14": Weights(
        "ViT-L-14.pt",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        "MIT",
        "https://openaipublic.azureedge.net/clip/models/"
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
    ),
    "clip-words": Weights(
        "bpe_simple_vocab_16e6.txt.gz",
        "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
        "MIT",
        "https://github.com/openai/CLIP/blob/main/clip/bpe_simple_vocab_16e6.txt.gz",
    ),
    "aesthetic": Weights("sa_0_4_vit_l_14_linear.pth", "", "MIT", "https://github.com/LAION-AI/aesthetic-predictor"),
    "musiq": Weights(
        "musiq_spaq_ckpt-358bb6af.pth",
        "",
        "CC BY-NC-SA 4.0, no commercial use",
        "https://huggingface.co/chaofengc/IQA-PyTorch-Weights",
    ),
    "amt": Weights(
        "amt-s.torchscript.pt",
        "",
        "CC BY-NC 4.0, no commercial use",
        "https://github.com/MCG-NKU/AMT as amt-s.pth, made a TorchScript archive (docs/evaluation.md)",
    ),
    "dreamsim": Weights(
        "dreamsim.torchscript.pt",
        "",
        "MIT",
        "https://github.com/ssundaram21/dreamsim, made a TorchScript archive (docs/evaluation.md)",
    ),
    "subject-table": Weights(
        "subject_mapping_table.yaml",
        "",
        "Apache-2.0",
        "https://github.com/Vchitect/VBench/tree/master/vbench2_beta_long/configs",
    ),
    "background-table": Weights(
        "background_mapping_table.yaml",
        "",
        "Apache-2.0",
        "https://github.com/Vchitect/VBench/tree/master/vbench2_beta_long/configs",
    ),
    "raft": Weights(
        "raft-things.pth",
        "fcfa4125d6418f4de95d84aec20a3c5f4e205101715a79f193243c186ac9a7e1",
        "BSD-3-Clause",
        "https://github.com/princeton-vl/RAFT (models.zip)",
    ),
    "viclip": Weights(
        "ViClip-InternVid-10M-FLT.pth", "", "MIT, behind a form", "https://huggingface.co/OpenGVLab/ViCLIP"
    ),
    "i3d-stylegan-v": Weights(
        "i3d_torchscript.pt",
        "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
        "not stated with the file: ask before you publish",
        "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt",
    ),
    "i3d-videogpt": Weights(
        "i3d_pretrained_400.pt",
        "",
        "not stated with the file: ask before you publish",
        "https://github.com/wilson1yan/VideoGPT",
    ),
    "alexnet": Weights(
        "alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        "BSD-3-Clause",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    ),
    "lpips-alex": Weights(
        "alex.pth",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        "BSD-2-Clause",
        "https://github.com/richzhang/PerceptualSimilarity/tree/master/lpips/weights/v0.1",
    ),
}


@dataclass(frozen=True)
class Located:
    """What became of the search for one file.

    Attributes:
        path: where it is, also where its hash is wrong; none where it is missing.
        checked: by its whole hash, by the first digits of it in its name, or not at all.
        sentence: what to tell the user.
    """

    weights: Weights
    status: Status
    path: Path | None
    checked: Check
    sentence: str


def folders(folder: Path | None = None, named: Path | None = None) -> tuple[Path, ...]:
    """Where files are searched, in order: `folder`, `named`, ~/.cache/longvie/eval.

    Args:
        folder: that the user gave.
        named: what $LONGVIE_EVAL_WEIGHTS says. Nothing in the package reads the environment by itself.

    Raises:
        ConfigError: one of both is not there.
    """
    asked = [path.expanduser() for path in (folder, named) if path is not None]
    for path in asked:
        if not path.is_dir():
            raise ConfigError(
                f"no folder {path} to look for weights in; make it, or leave out the option or {VARIABLE}"
            )
    return (*asked, Path.home() / ".cache" / "longvie" / "eval")


def locate(weights: Sequence[Weights], folder: Path | None = None, named: Path | None = None) -> tuple[Located, ...]:
    """Each file in turn, in the order of `folders`. A file with a wrong hash does not hide a right one farther on.

    Raises:
        ConfigError: a folder that is not there, a name that is a path, a hash that is not a SHA-256.
    """
    places = folders(folder, named)
    return tuple(_locate(wanted, places) for wanted in weights)


def _locate(wanted: Weights, places: Sequence[Path]) -> Located:
    if Path(wanted.file).name != wanted.file or wanted.file in ("", ".."):
        raise ConfigError(f"weights are searched by name, not by path: {wanted.file!r}")
    expected, checked = _expected(wanted)
    wrong: Located | None = None
    for path in (place / wanted.file for place in places):
        if not path.is_file():
            continue
        if not expected:
            return Located(wanted, "found", path, checked, f"{wanted.file}: found at {path}; hash unknown, not checked")
        came = sha256(path)
        if came.startswith(expected):
            what = "SHA-256" if checked == "sha256" else f"first {len(expected)} digits of SHA-256"
            return Located(wanted, "found", path, checked, f"{wanted.file}: found at {path}; {what} as expected")
        wrong = wrong or Located(wanted, "wrong hash", path, checked, _wrong(wanted, path, came, expected))
    return wrong or Located(wanted, "missing", None, checked, _missing(wanted, places))


def _expected(wanted: Weights) -> tuple[str, Check]:
    """How its SHA-256 must begin, and how far that goes as a check."""
    if wanted.sha256:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", wanted.sha256):
            raise ConfigError(f"{wanted.file}: {wanted.sha256!r} is not a SHA-256, which has 64 hexadecimal digits")
        return wanted.sha256.lower(), "sha256"
    named = IN_NAME.search(wanted.file)
    return (named.group(1), "prefix") if named else ("", "none")


def found(folder: Path | None = None, named: Path | None = None) -> dict[str, str]:
    """Paths of the official files that are there and right, by their names in `OFFICIAL`: what `Facts.weights` wants.

    Raises:
        ConfigError: as `locate`.
    """
    located = zip(OFFICIAL, locate(tuple(OFFICIAL.values()), folder, named), strict=True)
    return {name: str(it.path) for name, it in located if it.status == "found"}


def sha256(path: Path) -> str:
    """Of a whole file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _missing(wanted: Weights, places: Sequence[Path]) -> str:
    searched = ", ".join(map(str, places))
    return (
        f"{wanted.file} is missing: download it from {wanted.source} (licence: {wanted.licence}) and put it into "
        f"{places[0]}; searched: {searched}"
    )


def _wrong(wanted: Weights, path: Path, came: str, expected: str) -> str:
    return (
        f"{path} is not the {wanted.file} that is needed: its SHA-256 begins with {came[: len(expected)]}, not with "
        f"{expected}; download it anew from {wanted.source} (licence: {wanted.licence})"
    )
