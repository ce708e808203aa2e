"""Names in foreign checkpoints ↔ ours. Pure functions: a name and a tensor in, our names and tensors out.

Our transformer keeps Wan's own names for the trunk; its branches have names of their own (`controls.…`). The other
networks are those of diffusers and transformers, so the original layouts are brought to theirs. Tables:
reference/longvie.md §1.7, §1.8, §2.1, §4; reference/longlive.md §1.8.
"""

import re
from collections.abc import Callable, Iterable

from torch import Tensor

Converter = Callable[[str, Tensor], dict[str, Tensor]]
"""One tensor of a file → what it becomes; nothing: left out on purpose. A name that nobody knows stays as it is."""

# What trainers and pipelines put before the names; stripped as often as it stands there.
PREFIXES = (
    *("pipe.", "dual_controller.", "dit.", "model.", "diffusion_model.", "generator.", "generator_ema."),
    *("base_model.", "transformer."),  # of adapters: PEFT's, diffusers'
)
# One half of a low-rank addition, as PEFT and diffusers (A, B) or other trainers (down, up) call it.
HALF = re.compile(r"(.+)\.lora_(A|B|down|up)(?:\.[^.]+)?\.weight")

# Wan's beginning of a name, diffusers' beginning of it.
TRUNK = (
    ("text_embedding.0.", "condition_embedder.text_embedder.linear_1."),
    ("text_embedding.2.", "condition_embedder.text_embedder.linear_2."),
    ("time_embedding.0.", "condition_embedder.time_embedder.linear_1."),
    ("time_embedding.2.", "condition_embedder.time_embedder.linear_2."),
    ("time_projection.1.", "condition_embedder.time_proj."),
    ("img_emb.proj.0.", "condition_embedder.image_embedder.norm1."),
    ("img_emb.proj.1.", "condition_embedder.image_embedder.ff.net.0.proj."),
    ("img_emb.proj.3.", "condition_embedder.image_embedder.ff.net.2."),
    ("img_emb.proj.4.", "condition_embedder.image_embedder.norm2."),
    ("head.modulation", "scale_shift_table"),
    ("head.head.", "proj_out."),
)
ATTENTION = (("q.", "to_q."), ("k.", "to_k."), ("v.", "to_v."), ("o.", "to_out.0."))
BLOCK = (
    ("modulation", "scale_shift_table"),
    *((f"self_attn.{wan}", f"attn1.{theirs}") for wan, theirs in ATTENTION),
    *((f"cross_attn.{wan}", f"attn2.{theirs}") for wan, theirs in ATTENTION),
    ("self_attn.norm_", "attn1.norm_"),
    ("cross_attn.k_img.", "attn2.add_k_proj."),
    ("cross_attn.v_img.", "attn2.add_v_proj."),
    ("cross_attn.norm_k_img.", "attn2.norm_added_k."),
    ("cross_attn.norm_", "attn2.norm_"),
    ("norm3.", "norm2."),
    ("ffn.0.", "ffn.net.0.proj."),
    ("ffn.2.", "ffn.net.2."),
)
# LongVie's beginning of a name, ours.
BRANCHES = (
    ("control_blocks_dense.", "controls.dense.blocks."),
    ("control_blocks_sparse.", "controls.sparse.blocks."),
    ("control_initial_combine_linear_dense.", "controls.dense.enter."),
    ("control_initial_combine_linear_sparse.", "controls.sparse.enter."),
    ("control_combine_linears.", "controls.joins."),
    ("control_text_linear.", "controls.words."),
    ("control_t_mod.", "controls.time."),
)
# umT5 in the original layout, in transformers'; the first inside `blocks.N.` → `encoder.block.N.`.
WORDS_BLOCK = (
    ("norm1.", "layer.0.layer_norm."),
    ("norm2.", "layer.1.layer_norm."),
    ("attn.", "layer.0.SelfAttention."),
    ("pos_embedding.embedding.", "layer.0.SelfAttention.relative_attention_bias."),
    ("ffn.gate.0.", "layer.1.DenseReluDense.wi_0."),
    ("ffn.fc1.", "layer.1.DenseReluDense.wi_1."),
    ("ffn.fc2.", "layer.1.DenseReluDense.wo."),
)
# CLIP's vision tower, original and transformers', inside `transformer.N.` → `encoder.layers.N.`.
PICTURES_BLOCK = (
    ("norm1.", "layer_norm1."),
    ("norm2.", "layer_norm2."),
    ("attn.proj.", "self_attn.out_proj."),
    ("mlp.0.", "mlp.fc1."),
    ("mlp.2.", "mlp.fc2."),
)
PICTURES = (
    ("patch_embedding.", "embeddings.patch_embedding."),
    ("pre_norm.", "pre_layrnorm."),
    ("post_norm.", "post_layernorm."),
)
# Wan's autoencoder, original and diffusers'.
VIDEO = (
    ("conv1.", "quant_conv."),
    ("conv2.", "post_quant_conv."),
    *(
        pair
        for side in ("encoder", "decoder")
        for pair in (
            (f"{side}.conv1.", f"{side}.conv_in."),
            (f"{side}.head.0.", f"{side}.norm_out."),
            (f"{side}.head.2.", f"{side}.conv_out."),
            (f"{side}.middle.0.", f"{side}.mid_block.resnets.0."),
            (f"{side}.middle.1.", f"{side}.mid_block.attentions.0."),
            (f"{side}.middle.2.", f"{side}.mid_block.resnets.1."),
        )
    ),
)
VIDEO_RESIDUAL = (
    ("residual.0.", "norm1."),
    ("residual.2.", "conv1."),
    ("residual.3.", "norm2."),
    ("residual.6.", "conv2."),
    ("shortcut.", "conv_shortcut."),
)


def bare(name: str) -> str:
    """The name without what trainers and pipelines put before it or, when sharding, into it."""
    name = name.replace("_fsdp_wrapped_module.", "")
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), ""):
        name = name[len(prefix) :]
    return name


def transformer(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Wan's layout, diffusers' layout and LongVie's controller → ours; no tensor changes its shape."""
    return {ours(name): tensor}


def ours(name: str) -> str:
    """Our name of a weight in any layout of the transformer."""
    name = bare(name)
    numbered = re.match(r"blocks\.\d+\.", name)
    if numbered:
        return numbered[0] + _swap(name[numbered.end() :], _turned(BLOCK))
    return _swap(name, (*BRANCHES, *_turned(TRUNK)))


def to_diffusers(name: str) -> str:
    """Our name of a trunk weight, in diffusers' layout."""
    numbered = re.match(r"blocks\.\d+\.", name)
    if numbered:
        return numbered[0] + _swap(name[numbered.end() :], BLOCK)
    return _swap(name, TRUNK)


def to_longvie(name: str) -> str:
    """Our name of a branch weight, in `control.safetensors`; other names stay."""
    return _swap(name, _turned(BRANCHES))


def adapter(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Low-rank additions to any layout → `….lora_A.weight`, `….lora_B.weight` and `….alpha` of our layers."""
    half = HALF.fullmatch(name)
    if half:
        return {f"{ours(f'{half[1]}.')}lora_{'A' if half[2] in ('A', 'down') else 'B'}.weight": tensor}
    if name.endswith(".alpha"):
        return {ours(name): tensor}
    return {name: tensor}


def words(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The original umT5 encoder → transformers' `UMT5EncoderModel`; transformers' own layout as it is."""
    if name in ("token_embedding.weight", "shared.weight"):
        return {"shared.weight": tensor, "encoder.embed_tokens.weight": tensor}  # one tensor, two names
    if name == "encoder.embed_tokens.weight":
        return {}  # the second name of the same tensor, which some files hold twice
    if name == "norm.weight":
        return {"encoder.final_layer_norm.weight": tensor}
    numbered = re.match(r"blocks\.(\d+)\.", name)
    if numbered:
        return {f"encoder.block.{numbered[1]}.{_swap(name[numbered.end() :], WORDS_BLOCK)}": tensor}
    return {name: tensor}


def pictures(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The original CLIP vision tower → transformers' `CLIPVisionModel`; the text tower and the projection are left out.

    Queries, keys and values lie fused in the original, one below the other.
    """
    name = re.sub(r"^(visual|vision_model)\.", "", name)
    if name.startswith("textual.") or name in ("head", "log_scale", "embeddings.position_ids"):
        return {}
    if name == "cls_embedding":
        return {"embeddings.class_embedding": tensor.flatten()}
    if name == "pos_embedding":
        return {"embeddings.position_embedding.weight": tensor.flatten(0, -2)}
    numbered = re.match(r"transformer\.(\d+)\.", name)
    if not numbered:
        return {_swap(name, PICTURES): tensor}
    layer, rest = f"encoder.layers.{numbered[1]}.", name[numbered.end() :]
    if rest.startswith("attn.to_qkv.") and tensor.shape[0] % 3 == 0:
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{layer}self_attn.{part}_proj.{rest.removeprefix('attn.to_qkv.')}": rows for part, rows in parts}
    return {layer + _swap(rest, PICTURES_BLOCK): tensor}


def video(names: Iterable[str]) -> Converter:
    """The original Wan autoencoder, with these names in its file → diffusers' `AutoencoderKLWan`.

    The original counts all parts of a side in one list; how many make a level is seen from where the decoder first
    grows.
    """
    grows = [int(found[1]) for name in names if (found := re.match(r"decoder\.upsamples\.(\d+)\.resample\.", name))]
    level = min(grows, default=3) + 1

    def convert(name: str, tensor: Tensor) -> dict[str, Tensor]:
        down = re.match(r"encoder\.downsamples\.(\d+)\.", name)
        up = re.match(r"decoder\.upsamples\.(\d+)\.", name)
        if down:
            return {f"encoder.down_blocks.{down[1]}.{_swap(name[down.end() :], VIDEO_RESIDUAL)}": tensor}
        if up:
            at, part = divmod(int(up[1]), level)
            inside = "upsamplers.0" if part == level - 1 else f"resnets.{part}"
            return {f"decoder.up_blocks.{at}.{inside}.{_swap(name[up.end() :], VIDEO_RESIDUAL)}": tensor}
        name = _swap(name, VIDEO)
        middle = re.match(r"(?:en|de)coder\.mid_block\.resnets\.\d\.", name)
        return {middle[0] + _swap(name[middle.end() :], VIDEO_RESIDUAL) if middle else name: tensor}

    return convert


def _swap(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """The first beginning that fits, exchanged for its other; the name itself where none fits."""
    for old, new in pairs:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def _turned(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((new, old) for old, new in pairs)
