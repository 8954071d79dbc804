"""Writes a checkpoint with the shape of Qwen3-VL-2B-Instruct and random weights, for scripts/bench.sh. Its answers are
meaningless, but it takes the memory and the time of the published one. Hugging Face layout, bf16, 4.3 GB, seeded.

usage: python scripts/model/random_checkpoint.py OUT_DIRECTORY      (with torch and transformers, as vLLM's environment has them)
"""

import itertools
import json
import shutil
import sys
from pathlib import Path

import torch
from reference_checkpoints import PATTERN, SPECIAL, TEMPLATE, write_json
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

SEED = 2
# The published sizes: tokens of plain text, and rows of the embedding (the remaining ones are special or unused).
PLAIN, VOCAB = 151_643, 151_936
TEXT = dict(hidden_size=2048, intermediate_size=6144, num_hidden_layers=28, num_attention_heads=16,
            num_key_value_heads=8, head_dim=128, max_position_embeddings=262_144)  # fmt: skip
VISION = dict(depth=24, hidden_size=1024, intermediate_size=4096, num_heads=16, num_position_embeddings=2304,
              deepstack_visual_indexes=[5, 11, 17], patch_size=16)  # fmt: skip
SHARD_BYTES = 2 << 30


def pieces():
    """Merges that make `PLAIN` tokens of bytes and letters. Every token that a random model draws is then visible text, so the
    time of the first token is the time of the first text."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pairs = list(itertools.product(letters, repeat=2))
    yield from pairs
    yield from (("Ġ", a) for a in letters)
    yield from (("Ġ" + a, b) for a, b in pairs)
    yield from ((a + b, c) for (a, b), c in itertools.product(pairs, letters))
    yield from (("Ġ" + a + b, c) for (a, b), c in itertools.product(pairs, letters))
    yield from ((a + b, c + d) for (a, b), (c, d) in itertools.product(pairs, pairs))


def tokenizer():
    """Byte-level BPE of the published size, with Qwen's normaliser, pattern and special tokens at Qwen's ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = list(itertools.islice(pieces(), PLAIN - len(alphabet)))
    vocab = {token: n for n, token in enumerate(alphabet + [a + b for a, b in merges])}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tok.add_tokens([AddedToken(f"<{n}>", normalized=False) for n in range(VOCAB - PLAIN - len(SPECIAL))])
    assert tok.get_vocab_size() == VOCAB, tok.get_vocab_size()
    return tok


def config(ids):
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True, "mrope_section": [24, 20, 20]}
    text = dict(TEXT, vocab_size=VOCAB, hidden_act="silu", rms_norm_eps=1e-6, attention_bias=False, rope_parameters=rope,
                tie_word_embeddings=True, bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"])  # fmt: skip
    vision = dict(VISION, hidden_act="gelu_pytorch_tanh", in_channels=3, spatial_merge_size=2, temporal_patch_size=2,
                  out_hidden_size=text["hidden_size"])  # fmt: skip
    made = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True,
                         image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
                         vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"])  # fmt: skip
    made.architectures = ["Qwen3VLForConditionalGeneration"]
    made.dtype = torch.bfloat16
    return made


def tensors(shapes):
    """Writes random weights one tensor at a time, so that they are never all in memory."""
    draw = torch.Generator().manual_seed(SEED)
    for name, shape in shapes:
        noise = torch.randn(shape, generator=draw)
        if len(shape) == 1:
            noise = 0.02 * noise if "bias" in name else 1 + 0.02 * noise
        else:
            noise /= noise[0].numel() ** 0.5
        yield name, noise.to(torch.bfloat16)


def write_weights(out, shapes):
    part, size, total, files, weight_map = {}, 0, 0, [], {}

    def flush():
        nonlocal part, size
        file = f"part-{len(files)}.safetensors"
        save_file(part, out / file, metadata={"format": "pt"})
        files.append((file, list(part)))
        part, size = {}, 0

    for name, tensor in tensors(shapes):
        part[name] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
        if size > SHARD_BYTES:
            flush()
    if part:
        flush()
    for n, (file, names) in enumerate(files):
        named = f"model-{n + 1:05}-of-{len(files):05}.safetensors"
        (out / file).rename(out / named)
        weight_map.update(dict.fromkeys(names, named))
    write_json(out / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    return total


def main(out):
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tok = tokenizer()
    made = config({t: tok.token_to_id(t) for t in SPECIAL})
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(made)
    shapes = [(name, p.shape) for name, p in model.named_parameters() if name != "lm_head.weight"]
    total = write_weights(part, shapes)
    made.save_pretrained(part)
    ends = [tok.token_to_id(t) for t in ("<|im_end|>", "<|endoftext|>")]
    write_json(part / "generation_config.json", {"eos_token_id": ends, "pad_token_id": ends[1]})
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                                   model_max_length=TEXT["max_position_embeddings"],
                                   clean_up_tokenization_spaces=False)  # fmt: skip
    fast.chat_template = TEMPLATE
    common = dict(patch_size=16, merge_size=2, temporal_patch_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    images = Qwen2VLImageProcessor(**common, size={"shortest_edge": 65_536, "longest_edge": 16_777_216})
    videos = Qwen3VLVideoProcessor(**common, size={"shortest_edge": 4096, "longest_edge": 25_165_824}, fps=2,
                                   min_frames=4, max_frames=768)  # fmt: skip
    Qwen3VLProcessor(image_processor=images, tokenizer=fast, video_processor=videos, chat_template=TEMPLATE).save_pretrained(part)
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    print(json.dumps({"directory": str(out), "parameters": total // 2}))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
