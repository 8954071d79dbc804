"""The checkpoint around the weights: tokenizer, chat template, configs, processors, export."""

import json
import shutil
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
           "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
           "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]  # fmt: skip
# Qwen's own pre-tokenizer.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
VOCAB = 768
VIDEO_SIZE = {"shortest_edge": 4096, "longest_edge": 368640}
IMAGE_SIZE = {"shortest_edge": 4096, "longest_edge": 73728}
TEMPLATE = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content %}
            {%- if part.type == 'image' or 'image' in part or 'image_url' in part %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif part.type == 'video' or 'video' in part or 'video_url' in part %}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' }}
            {%- elif 'text' in part %}
                {{- part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def train_tokenizer(corpus):
    """Byte-level BPE with Qwen's pre-tokenizer and special tokens, VOCAB ids in all."""
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(SPECIAL), min_frequency=2, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    tok.train_from_iterator(corpus, trainer)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    return tok


def config(tok):
    """The architecture: about 3.2 M parameters."""
    ids = {t: tok.token_to_id(t) for t in SPECIAL}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_interleaved": True, "mrope_section": [6, 5, 5]}
    return Qwen3VLConfig(
        text_config={
            "vocab_size": VOCAB, "hidden_size": 192, "intermediate_size": 448, "num_hidden_layers": 5,
            "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 32, "hidden_act": "silu",
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "attention_bias": False,
            "rope_parameters": rope, "rope_theta": 10000.0, "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            "depth": 4, "hidden_size": 96, "intermediate_size": 288, "num_heads": 4, "num_position_embeddings": 64,
            "deepstack_visual_indexes": [1, 2], "out_hidden_size": 192, "hidden_act": "gelu_pytorch_tanh",
            "in_channels": 3, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"], tie_word_embeddings=True,
    )  # fmt: skip


def new_model(tok, seed=0):
    """A model with a small network's initial scale."""
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config(tok)).float()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed" in name and p.dim() == 2:
                p.normal_(0, 0.06)
            elif p.dim() >= 2:
                fan = p[0].numel()
                gain = 0.35 if any(k in name for k in ("o_proj", "down_proj", "attn.proj", "mlp.linear_fc2")) else 0.8
                p.normal_(0, gain / fan**0.5)
    return model


def processor(tok):
    """The Hugging Face processor (prompt, images, videos)."""
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                                   model_max_length=8192, clean_up_tokenization_spaces=False)  # fmt: skip
    fast.chat_template = TEMPLATE
    half = [0.5] * 3
    images = Qwen2VLImageProcessor(patch_size=16, merge_size=2, temporal_patch_size=2, image_mean=half, image_std=half,
                                   size=dict(IMAGE_SIZE))  # fmt: skip
    videos = Qwen3VLVideoProcessor(patch_size=16, merge_size=2, temporal_patch_size=2, image_mean=half, image_std=half,
                                   size=dict(VIDEO_SIZE), fps=2, min_frames=4, max_frames=768)  # fmt: skip
    return Qwen3VLProcessor(image_processor=images, tokenizer=fast, video_processor=videos, chat_template=TEMPLATE)


def export(model, tok, out):
    """Write the checkpoint directory in the layout of transformers 5, and the files of 4.57 beside it."""
    out = Path(out)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    eos = [tok.token_to_id("<|im_end|>"), tok.token_to_id("<|endoftext|>")]
    model.generation_config.eos_token_id = eos
    model.generation_config.pad_token_id = eos[1]
    model.generation_config.bos_token_id = eos[1]
    model.generation_config.do_sample = False
    model.to(torch.bfloat16).save_pretrained(part)
    proc = processor(tok)
    proc.save_pretrained(part)
    for name, which in (("preprocessor_config.json", "image_processor"), ("video_preprocessor_config.json", "video_processor")):
        data = json.loads(getattr(proc, which).to_json_string())
        (part / name).write_text(json.dumps(data, indent=2) + "\n")
    out.mkdir(parents=True, exist_ok=True)
    for f in part.iterdir():
        f.replace(out / f.name)
    part.rmdir()
