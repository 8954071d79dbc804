"""Random Qwen3-VL checkpoints of unusual shapes, for reference.py. Small, seeded, in the Hugging Face layout."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
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
VOCAB = 384
CORPUS = [
    "what happens in this video? describe the pictures and the videos in a few words.\n",
    "system user assistant <0.2 seconds> <1.5 seconds> Picture 1: Video 2: red green blue left right\n",
]

# The branches of the published template (no default system prompt, tools, parts, ids), in our words.
TEMPLATE = """{%- set image_count = namespace(value=0) %}
{%- set video_count = namespace(value=0) %}
{%- macro render(content) %}
    {%- if content is string %}
        {{- content }}
    {%- else %}
        {%- for part in content %}
            {%- if part.type == 'image' or 'image' in part or 'image_url' in part %}
                {%- set image_count.value = image_count.value + 1 %}
                {%- if add_vision_id %}Picture {{ image_count.value }}: {% endif -%}
                <|vision_start|><|image_pad|><|vision_end|>
            {%- elif part.type == 'video' or 'video' in part %}
                {%- set video_count.value = video_count.value + 1 %}
                {%- if add_vision_id %}Video {{ video_count.value }}: {% endif -%}
                <|vision_start|><|video_pad|><|vision_end|>
            {%- elif 'text' in part %}
                {{- part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- render(messages[0].content) + '\\n\\n' }}
    {%- endif %}
    {{- '# Tools\\n<tools>' }}
    {%- for tool in tools %}
        {{- '\\n' }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + render(messages[0].content) + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role != 'system' %}
        {{- '<|im_start|>' + message.role + '\\n' + render(message.content) + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

TEXT = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            head_dim=16, mrope_section=[4, 2, 2])  # fmt: skip
VISION = dict(depth=3, hidden_size=24, intermediate_size=48, num_heads=2, num_position_embeddings=36,
              deepstack_visual_indexes=[0, 1], patch_size=16)  # fmt: skip

# What writes to a residual stream, and the input of the query and key norms.
SMALL_PARTS = ["embed_tokens", "patch_embed", "pos_embed", "o_proj", "down_proj", "q_proj", "k_proj", "attn.proj", "mlp.linear_fc2"]

# What distinguishes each checkpoint; all differ from the published sizes. Seeds are chosen so that no greedy step is close to
# a tie and answers vary.
SHAPES = {
    "tied": dict(seed=111, text={}, vision={}, tie=True),
    "untied": dict(seed=712, text=dict(num_key_value_heads=4), vision=dict(num_position_embeddings=49), tie=False),
    "wide-heads": dict(seed=813, text=dict(hidden_size=40, num_key_value_heads=1, head_dim=24, mrope_section=[4, 4, 4]),
                       vision=dict(deepstack_visual_indexes=[2]), tie=True),  # fmt: skip
    "vision72": dict(seed=414, text=dict(num_hidden_layers=2), tie=True,
                     vision=dict(hidden_size=72, num_heads=1, depth=2, deepstack_visual_indexes=[0], patch_size=8,
                                 intermediate_size=80)),  # fmt: skip
    "moe": dict(seed=15, text=dict(num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32,
                                   decoder_sparse_step=1, mlp_only_layers=[1]), vision={}, tie=False),  # fmt: skip
    # Residual streams so small that the epsilon of every norm changes the result, and a theta so small that every rotary
    # frequency does.
    "sensitive": dict(seed=921, text={}, vision={}, tie=False, small=1e-3, theta=20.0),
    "v457": dict(seed=816, text=dict(num_key_value_heads=1), vision={}, tie=True, old=True),
}


def train_tokenizer():
    """Byte-level BPE with Qwen's normaliser, pre-tokenizer and special tokens."""
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(SPECIAL), show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    tok.train_from_iterator(CORPUS * 20, trainer)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    return tok


def build(shape, tok):
    """The model with random weights, scaled so that the answer depends on every input."""
    ids = {t: tok.token_to_id(t) for t in SPECIAL}
    text, vision = {**TEXT, **shape["text"]}, {**VISION, **shape["vision"]}
    rope = {"rope_type": "default", "rope_theta": shape.get("theta", 5e6), "mrope_interleaved": True,
            "mrope_section": text.pop("mrope_section")}  # fmt: skip
    text.update(vocab_size=VOCAB, hidden_act="silu", max_position_embeddings=4096, rms_norm_eps=1e-6,
                attention_bias=False, rope_parameters=rope, tie_word_embeddings=shape["tie"],
                bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"])  # fmt: skip
    vision.update(hidden_act="gelu_pytorch_tanh", in_channels=3, spatial_merge_size=2, temporal_patch_size=2,
                  out_hidden_size=text["hidden_size"])  # fmt: skip
    moe = "num_experts" in text
    config_class = Qwen3VLMoeConfig if moe else Qwen3VLConfig
    model_class = Qwen3VLMoeForConditionalGeneration if moe else Qwen3VLForConditionalGeneration
    config = config_class(text_config=text, vision_config=vision, tie_word_embeddings=shape["tie"],
                          image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
                          vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"])  # fmt: skip
    model = model_class(config)
    draw = torch.Generator().manual_seed(shape["seed"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=draw)
            if p.dim() == 1 and "bias" not in name:
                p.copy_(1 + 0.2 * noise)
            elif p.dim() == 1:
                p.copy_(0.1 * noise)
            elif "patch_embed" in name:
                p.copy_(noise * 2 / p[0].numel() ** 0.5)
            else:
                p.copy_(noise * 1.2 / p.shape[-1] ** 0.5)
            if any(part in name for part in SMALL_PARTS):
                p.mul_(shape.get("small", 1))
    model.generation_config.eos_token_id = [ids["<|im_end|>"], ids["<|endoftext|>"]]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model.to(torch.bfloat16)


def processor(shape, tok):
    """The processor; its pixel budgets are small, so that a short clip reaches them."""
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                                   model_max_length=4096, clean_up_tokenization_spaces=False)  # fmt: skip
    fast.chat_template = TEMPLATE
    patch = {**VISION, **shape["vision"]}["patch_size"]
    common = dict(patch_size=patch, merge_size=2, temporal_patch_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    images = Qwen2VLImageProcessor(**common, size={"shortest_edge": 4096, "longest_edge": 65536})
    videos = Qwen3VLVideoProcessor(**common, size={"shortest_edge": 4096, "longest_edge": 98304}, fps=2,
                                   min_frames=4, max_frames=768)  # fmt: skip
    return Qwen3VLProcessor(image_processor=images, tokenizer=fast, video_processor=videos, chat_template=TEMPLATE)


def write_checkpoint(name, out):
    """Writes the checkpoint `name` to the directory `out`."""
    shape = SHAPES[name]
    shutil.rmtree(out, ignore_errors=True)
    tok = train_tokenizer()
    build(shape, tok).save_pretrained(out)
    proc = processor(shape, tok)
    proc.save_pretrained(out)
    if shape.get("old"):
        rewrite_as_457(out, proc)
    for file in out.iterdir():
        file.chmod(0o644)


def rewrite_as_457(out, proc):
    """Turns the files of transformers 5 into those of 4.57: other config keys, one file per processor, shards."""
    config = json.loads((out / "config.json").read_text())
    rope = config["text_config"].pop("rope_parameters")
    config["text_config"]["rope_theta"] = rope.pop("rope_theta")
    config["text_config"]["rope_scaling"] = rope
    config["text_config"].pop("tie_word_embeddings", None)
    config["text_config"]["dtype"] = config.pop("dtype")
    config["vision_config"].pop("rope_parameters", None)
    config["vision_config"]["model_type"] = "qwen3_vl"
    config["transformers_version"] = "4.57.0.dev0"
    write_json(out / "config.json", config)
    images = json.loads(proc.image_processor.to_json_string())
    images.update(image_processor_type="Qwen2VLImageProcessorFast", processor_class="Qwen3VLProcessor")
    write_json(out / "preprocessor_config.json", images)
    videos = json.loads(proc.video_processor.to_json_string())
    videos.update(video_processor_type="Qwen3VLVideoProcessor", processor_class="Qwen3VLProcessor")
    write_json(out / "video_preprocessor_config.json", videos)
    write_json(out / "chat_template.json", {"chat_template": TEMPLATE})
    (out / "processor_config.json").unlink()
    (out / "chat_template.jinja").unlink()
    tensors = load_file(out / "model.safetensors")
    (out / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for index in range(2):
        file = f"model-{index + 1:05}-of-00002.safetensors"
        part = {n: tensors[n] for n in names[index::2]}
        save_file(part, out / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    write_json(out / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": weight_map})


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")
