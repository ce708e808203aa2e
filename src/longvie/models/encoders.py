"""Words and first picture → embeddings.

Text is cleaned, cut into tokens, and read by a umT5 encoder: the same class at every size, so the embedded model
differs from the full one by numbers in a config only. Pictures go through a CLIP vision tower, which only the 14B model
needs. This is the one file below `engine` that knows words.
"""

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import ftfy
import torch
from jaxtyping import Bool, Float, Int64
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import CLIPVisionModel, UMT5Config, UMT5EncoderModel

from longvie.errors import ConfigError, WeightsError

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]  # the spelling that byte fallback looks for
RESERVED = [PAD, EOS, UNKNOWN, *BYTES]
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
TOKENIZER_FILE, WORDS_FILE = "tokenizer.json", "words.json"

Model = TypeVar("Model", UMT5EncoderModel, CLIPVisionModel)

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clean(text: str) -> str:
    """The text as the encoder should meet it: mojibake repaired, entities resolved, one blank between words.

    Entities are resolved twice because scraped captions are often escaped twice (`&amp;lt;`).
    """
    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip()


def words(text: str) -> list[str]:
    """The words of a text in lower case, in order, without punctuation and without the 's of a possessor."""
    return [re.sub("['’]s$", "", word) for word in WORD.findall(clean(text).lower())]


def vocabulary(captions: Iterable[str]) -> list[str]:
    """Every word that occurs in the captions, sorted: what a model trained on them has seen."""
    return sorted({word for caption in captions for word in words(caption)})


def train_tokenizer(captions: Iterable[str], vocab_size: int) -> Tokenizer:
    """A lower-case byte-pair tokenizer of at most `vocab_size` tokens that can spell any text.

    Frequent words become one token each; a word that was never met falls apart into pieces, and a letter that was never
    met into its UTF-8 bytes, so that nothing is unknown. Ids: 0 padding, 1 end of text, 2 unknown, 3..258 the bytes,
    then the pieces. The same captions give the same file.

    Raises:
        ConfigError: the bytes and the alphabet alone need more than `vocab_size` tokens.
    """
    learned = Tokenizer(models.BPE())
    _lower_case_words(learned)
    trainer = trainers.BpeTrainer(vocab_size=max(vocab_size - len(RESERVED), 0), show_progress=False)
    learned.train_from_iterator(map(clean, captions), trainer)
    pieces = sorted(learned.get_vocab().items(), key=lambda piece: piece[1])
    ids = {token: at for at, token in enumerate([*RESERVED, *(piece for piece, _ in pieces)])}
    if len(ids) > vocab_size:
        raise ConfigError(f"vocab_size is {vocab_size}, bytes and alphabet alone are {len(ids)} tokens: use more")

    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True))
    _lower_case_words(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, ids[EOS])])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()])
    tokenizer.add_special_tokens([PAD, EOS, UNKNOWN])
    return tokenizer


def _lower_case_words(tokenizer: Tokenizer) -> None:
    """No token crosses a word; punctuation and digits stand alone, so that `ball` and `ball.` are the same word."""
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True)]
    )


def read_tokenizer(file: Path) -> Tokenizer:
    """A `tokenizer.json`, ours or one of a published umT5.

    Raises:
        WeightsError: the file is missing or is not a tokenizer with padding and end of text.
    """
    if not file.is_file():
        raise WeightsError(f"no {file.name} in {file.parent.name}/: the text encoder needs the tokenizer beside it")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as reason:  # the library raises nothing narrower
        raise WeightsError(f"{file.name} is not a tokenizer: {reason}") from reason
    token_id(tokenizer, PAD)
    token_id(tokenizer, EOS)
    tokenizer.no_truncation()  # we cut by ourselves, to be able to say that we did
    tokenizer.no_padding()
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that must be there.

    Raises:
        WeightsError: it is not.
    """
    found = tokenizer.token_to_id(token)
    if found is None:
        raise WeightsError(f"the tokenizer has no {token}; one of a umT5 has {PAD} and {EOS}")
    return found


class WordEncoder(nn.Module):
    """Text → one vector per token, by umT5.

    Args:
        encoder: the umT5 encoder; full size: umT5-XXL.
        tokenizer: with padding `<pad>` and end of text `</s>`.
        text_len: tokens per text, the end included; 64 embedded, 512 full size. Longer texts are cut.
        seen: every word of the training captions, or None where that list has no end (umT5-XXL).
    """

    def __init__(
        self, encoder: UMT5EncoderModel, tokenizer: Tokenizer, *, text_len: int, seen: Iterable[str] | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.text_len = text_len
        self.seen = None if seen is None else frozenset(seen)
        self.pad, self.eos = token_id(tokenizer, PAD), token_id(tokenizer, EOS)

    @classmethod
    def fresh(
        cls,
        captions: Iterable[str],
        *,
        vocab_size: int = 1024,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 256,
        text_len: int = 64,
    ) -> "WordEncoder":
        """An untrained encoder for these captions; the defaults are the embedded model's.

        Dropout is off: captions of the world are few, and what is learned with the transformer should not flicker.
        """
        captions = list(captions)
        tokenizer = train_tokenizer(captions, vocab_size)
        config = UMT5Config(
            vocab_size=tokenizer.get_vocab_size(),
            d_model=width,
            d_kv=width // heads,
            d_ff=hidden,
            num_layers=layers,
            num_heads=heads,
            dropout_rate=0.0,
        )
        return cls(UMT5EncoderModel(config), tokenizer, text_len=text_len, seen=vocabulary(captions))

    @property
    def width(self) -> int:
        """Width of one token's vector."""
        return self.encoder.config.d_model

    def ids(self, text: str) -> list[int]:
        """Token ids of the cleaned text with the end of text, not yet cut."""
        return [*self.tokenizer.encode(clean(text), add_special_tokens=False).ids, self.eos]

    def fits(self, text: str) -> bool:
        """False where the end of the text would be cut off and never read."""
        return len(self.ids(text)) <= self.text_len

    def unknown(self, text: str) -> list[str]:
        """Words of the text that the model has never seen, each once; none where it has seen nearly all of them."""
        if self.seen is None:
            return []
        return list(dict.fromkeys(word for word in words(text) if word not in self.seen))

    def tokens(self, texts: list[str]) -> tuple[Int64[Tensor, "b n"], Bool[Tensor, "b n"]]:
        """Ids cut and padded to `text_len`, and which of them are text: what `forward` takes.

        A text that is cut keeps its end-of-text token.
        """
        ids = torch.full((len(texts), self.text_len), self.pad)
        mask = torch.zeros(len(texts), self.text_len, dtype=torch.bool)
        for at, text in enumerate(texts):
            row = self._cut(text)
            ids[at, : len(row)] = torch.tensor(row)
            mask[at, : len(row)] = True
        return ids, mask

    def forward(self, ids: Int64[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """Embeddings with gradient, for training; padding is neither looked at nor answered (zeros)."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask.to(ids.dtype)).last_hidden_state
        return hidden * mask[..., None]

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Float[Tensor, "b n d"]:
        """Embeddings of `text_len` positions, zero beyond the text.

        Each text is read alone and at its own length: its embedding then does not depend, to the bit, on what it is
        asked together with, and a short prompt at full size does not pay for 512 positions.
        """
        embedding = self.encoder.shared.weight
        out = embedding.new_zeros(len(texts), self.text_len, self.width)
        for at, text in enumerate(texts):
            ids = torch.tensor([self._cut(text)], device=embedding.device)
            out[at, : ids.shape[1]] = self.encoder(input_ids=ids).last_hidden_state[0]
        return out

    def _cut(self, text: str) -> list[int]:
        ids = self.ids(text)
        return ids if len(ids) <= self.text_len else [*ids[: self.text_len - 1], self.eos]

    def save(self, folder: Path) -> None:
        """Config, weights (safetensors), tokenizer and seen words into a folder."""
        self.encoder.save_pretrained(folder)
        self.tokenizer.save(str(folder / TOKENIZER_FILE))
        seen = None if self.seen is None else sorted(self.seen)
        facts = json.dumps({"text_len": self.text_len, "seen": seen}, ensure_ascii=False)
        (folder / WORDS_FILE).write_text(facts + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype = torch.float32) -> "WordEncoder":
        """What `save` wrote.

        Raises:
            WeightsError: a file is missing or is not what it should be.
        """
        tokenizer = read_tokenizer(folder / TOKENIZER_FILE)
        try:
            facts = json.loads((folder / WORDS_FILE).read_text(encoding="utf-8"))
            text_len, seen = facts["text_len"], facts["seen"]
        except (OSError, ValueError, KeyError, TypeError) as reason:
            raise WeightsError(f"{folder.name}/{WORDS_FILE} is missing or broken: save the encoder again") from reason
        return cls(_pretrained(UMT5EncoderModel, folder, dtype), tokenizer, text_len=text_len, seen=seen).eval()


class PictureEncoder(nn.Module):
    """First picture → one vector per patch and one for the whole, by CLIP's vision tower.

    The last block and the final norm are left out, as published: what is read is the input of the last block.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, tower: CLIPVisionModel) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1), persistent=False)

    @property
    def width(self) -> int:
        """Width of one token's vector; 1280 for the published tower."""
        return self.tower.config.hidden_size

    def prepare(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 s s"]:
        """Pictures in [-1, 1] of any size → squares of the tower's size, in its own colour scale.

        Aspect is not kept and nothing is smoothed before shrinking: the released weights were trained on exactly that.
        """
        side: Any = self.tower.config.image_size  # typed as anything; all that were published are squares
        square = interpolate(pictures, size=(side, side), mode="bicubic", align_corners=False)
        return (square * 0.5 + 0.5 - self.mean.to(square)) / self.std.to(square)

    @torch.no_grad()
    def encode(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        """Pictures in [-1, 1] → tokens, the whole picture's first; 257 for the published tower."""
        weight = self.tower.embeddings.patch_embedding.weight
        prepared = self.prepare(pictures.to(weight.device, weight.dtype))
        return self.tower(pixel_values=prepared, output_hidden_states=True).hidden_states[-2]

    def save(self, folder: Path) -> None:
        """Config and weights (safetensors) into a folder."""
        self.tower.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype = torch.float32) -> "PictureEncoder":
        """What `save` wrote, or the `image_encoder` folder of a published model.

        Raises:
            WeightsError: a file is missing or is not what it should be.
        """
        return cls(_pretrained(CLIPVisionModel, folder, dtype)).to(dtype).eval()


def _pretrained(kind: type[Model], folder: Path, dtype: torch.dtype) -> Model:
    """From safetensors on this disk only: no download, no pickle, and no weight left at random."""
    if not (folder / "config.json").is_file():
        raise WeightsError(f"no config.json in {folder.name}/: without it the sizes of {kind.__name__} are unknown")
    try:
        loaded: Any = kind.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as reason:
        raise WeightsError(f"{folder.name}/ does not hold the weights of its {kind.__name__}: {reason}") from reason
    model, report = loaded
    if report["missing_keys"]:
        first, count = min(report["missing_keys"]), len(report["missing_keys"])
        raise WeightsError(
            f"{folder.name}/ lacks {count} weights of its {kind.__name__}, {first} for one: copy it again"
        )
    return model
