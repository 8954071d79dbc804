#!/usr/bin/env python3
"""Writes the golden files of the Rust tests of speech: results of transformers' Whisper, kept small.

    pip install "transformers==5.19.0" torch safetensors tokenizers
    scripts/model/speech_reference.py [--out server/engine/tests/parity]
    scripts/model/speech_reference.py --clips MODEL OUT

The first form writes two random checkpoints and what transformers makes of drawn sounds:

  checkpoints/NAME/        a random Whisper checkpoint
  golden/NAME.json         {"model": NAME, "cases": [CASE]}
  golden/NAME.safetensors  tensors keyed CASE/...: see case()

The second form lets `flite` speak sentences (one WAV each in OUT), transcribes them with the checkpoint in the directory MODEL,
and writes OUT/expected.json: {"clips": [{"file", "text", "tokens"}]}.

No sound is stored: `sound()` below draws it with integers, and the Rust tests draw the same. All is computed in f32 on the CPU;
the seeds of weights are found, the same ones each time.
"""

import argparse
import json
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.generation import GenerationConfig

RATE = 16_000
SAMPLED_ROWS = 12
SEEDS = 100
LANGUAGES = ["en", "de", "fr", "haw"]
CORPUS = ["the children play in the snow and their grandmother laughs. what a lovely day it is!", "noël à la maison, größer"]

# What distinguishes the checkpoints.
SHAPES = {
    "speech-en": dict(languages=[], window_s=30, bins=80, dtype=torch.float16, max_length=40,
                      shape=dict(d_model=24, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
                                 decoder_attention_heads=3, encoder_ffn_dim=48, decoder_ffn_dim=40)),  # fmt: skip
    "speech-multilingual": dict(languages=LANGUAGES, window_s=10, bins=128, dtype=torch.bfloat16, max_length=48,
                                shape=dict(d_model=32, encoder_layers=1, decoder_layers=3, encoder_attention_heads=4,
                                           decoder_attention_heads=2, encoder_ffn_dim=40, decoder_ffn_dim=64)),  # fmt: skip
}  # fmt: skip

# Sounds: seed, seconds, and where silence begins and ends.
CASES = {
    "whole": dict(seed=1, seconds=31.0),
    "short": dict(seed=2, seconds=4.33),
    "with_silence": dict(seed=3, seconds=9.5, silence=[2.0, 5.25]),
    "quiet": dict(seed=4, seconds=7.0, shift=7),
    "blink": dict(seed=5, seconds=0.0101),
    "silent": dict(seed=6, seconds=3.0, silence=[0.0, 3.0]),
}


def sound(seed, seconds, silence=(0.0, 0.0), shift=0):
    """Draws i16 samples: two triangle waves, the second of which changes its pitch, and noise.

    wave(p, i) = |((i mod p) * 16384) div p - 8192|; with p = 40 + 13 (seed mod 7) and q = 25 + seed + (i div 4000) mod 23:
    x = wave(p, i) + wave(q, i) - 8192 + (h >> 20) - 2048, where h = i * 2654435761 ^ seed * 2246822519 modulo 2^32,
    h ^= h >> 15, h *= 2246822519 modulo 2^32. Then x is divided by 2^shift, rounded down, and 0 in the silence.
    """
    i = np.arange(int(seconds * RATE), dtype=np.int64)
    mask = 0xFFFFFFFF
    h = ((i * 2654435761) & mask) ^ ((seed * 2246822519) & mask)
    h = h ^ (h >> 15)
    h = (h * 2246822519) & mask
    triangle = lambda period: np.abs((i % period) * 16384 // period - 8192)
    x = triangle(40 + 13 * (seed % 7)) + triangle(25 + seed + i // 4000 % 23) - 8192 + (h >> 20) - 2048
    x = x >> shift
    x[int(silence[0] * RATE) : int(silence[1] * RATE)] = 0
    return (x.clip(-32768, 32767) / 32768).astype(np.float32)


def train_tokenizer(languages):
    """Byte-level BPE with the special tokens in Whisper's order; timestamps have no text, as in the hub's files."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=320, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    tok.train_from_iterator(CORPUS * 20, trainer)
    specials = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages or ["en"]),
                "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
                "<|notimestamps|>"]  # fmt: skip
    tok.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tok


def write_checkpoint(name, seed, out):
    """Writes the checkpoint `name` with weights drawn by `seed` to the directory `out`."""
    plan = SHAPES[name]
    tok = train_tokenizer(plan["languages"])
    ids = tok.get_vocab(with_added_tokens=True)
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    positions = 50 * plan["window_s"]
    first_timestamp = ids["<|notimestamps|>"] + 1
    config = WhisperConfig(**plan["shape"], vocab_size=first_timestamp + positions + 1, num_mel_bins=plan["bins"],
                           max_source_positions=positions, max_target_positions=448, bos_token_id=end, eos_token_id=end,
                           pad_token_id=end, decoder_start_token_id=start, suppress_tokens=None,
                           begin_suppress_tokens=None)  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter_name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=draw)
            if p.dim() == 1:
                p.copy_(1 + 0.2 * noise if "norm.weight" in parameter_name else 0.1 * noise)
            elif "embed_positions" in parameter_name:
                p.copy_(noise)
            else:
                p.copy_(noise * 1.5 / p[0].numel() ** 0.5)
        # There are many more timestamps than words: each is less probable, so that texts have both.
        embeddings = model.model.decoder.embed_tokens.weight
        embeddings[first_timestamp:] *= 0.4
        embeddings[:first_timestamp] *= 1.5
        embeddings[end] *= 1.9
    more = {}
    if plan["languages"]:
        more = dict(lang_to_id={f"<|{code}|>": ids[f"<|{code}|>"] for code in plan["languages"]},
                    task_to_id={task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")})  # fmt: skip
    model.generation_config = GenerationConfig(
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start, max_length=plan["max_length"],
        no_timestamps_token_id=first_timestamp - 1, is_multilingual=bool(plan["languages"]),
        max_initial_timestamp_index=50, suppress_tokens=[1, 2, 90, start, ids["<|nospeech|>"]],
        begin_suppress_tokens=[32, end], return_timestamps=False, **more)  # fmt: skip
    shutil.rmtree(out, ignore_errors=True)
    model.to(plan["dtype"]).save_pretrained(out)
    WhisperFeatureExtractor(feature_size=plan["bins"], chunk_length=plan["window_s"]).save_pretrained(out)
    tok.save(str(out / "tokenizer.json"))
    for file in out.iterdir():
        file.chmod(0o644)


def rows_of(tensor):
    """A few rows, evenly spread, first and last among them."""
    return tensor[np.linspace(0, len(tensor) - 1, min(SAMPLED_ROWS, len(tensor))).round().astype(int)].contiguous()


def generate(model, features, language):
    """Greedy tokens of one window, with the scores by which they were chosen: (tokens with the end, scores)."""
    options = dict(language=language, task="transcribe") if language else {}
    result = model.generate(features, return_timestamps=True, force_unique_generate_call=True, return_dict_in_generate=True,
                            output_scores=True, **options)  # fmt: skip
    scores = torch.stack(result.scores)[:, 0].float()
    return result.sequences[0, -len(scores) :], scores


def case(name, plan, extractor, model):
    """Computes one case: (record for the JSON, tensors).

    Tensors, f32: features and encoded, rows round(linspace(0, n-1, min(12, n))) of [frames, bins] and [positions, d_model];
    logits [vocabulary] behind the start.
    """
    samples = sound(**plan)
    features = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
    generation = model.generation_config
    with torch.no_grad():
        encoded = model.model.encoder(features).last_hidden_state[0]
        start = torch.tensor([[generation.decoder_start_token_id]])
        logits = model(features, decoder_input_ids=start).logits[0, 0]
        language = None
        if generation.is_multilingual:
            detected = int(model.detect_language(features)[0])
            language = next(text for text, id in generation.lang_to_id.items() if id == detected)
        tokens, scores = generate(model, features, language)
    best = scores.topk(2).values
    margins = (best[:, 0] - best[:, 1])[best[:, 1].isfinite()]
    logprobs = scores.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    ends = bool(tokens[-1] == generation.eos_token_id)
    record = {"name": name, "sound": plan, "language": language and language[2:-2],
              "tokens": tokens[: len(tokens) - ends].tolist(), "ends": ends,
              "avg_logprob": round(float(logprobs.mean()), 6),
              "no_speech_prob": float(logits.softmax(-1)[generation.no_timestamps_token_id - 1]),
              "least_margin": round(float(margins.min()), 5)}  # fmt: skip
    tensors = {"features": rows_of(features[0].T), "encoded": rows_of(encoded), "logits": logits}
    return record, {f"{name}/{key}": value.float().contiguous() for key, value in tensors.items()}


def load(directory):
    extractor = WhisperFeatureExtractor.from_pretrained(directory)
    return extractor, WhisperForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).eval()


def write_golden(name, out):
    """Computes all cases of the checkpoint `name`. Returns why they are no test, and writes nothing then."""
    extractor, model = load(out / "checkpoints" / name)
    records, tensors = [], {}
    for case_name, plan in CASES.items():
        record, part = case(case_name, plan, extractor, model)
        records.append(record)
        tensors.update(part)
        first = model.generation_config.no_timestamps_token_id + 1
        timestamps = sum(token >= first for token in record["tokens"])
        print(f"{name}/{case_name}: {len(record['tokens'])} tokens, {timestamps} timestamps, {len(set(record['tokens']))} distinct, "
              f"margin {record['least_margin']}, ends {record['ends']}, {record['language']}, {record['avg_logprob']}")  # fmt: skip
    problems = []
    if len({tuple(record["tokens"]) for record in records}) < len(records):
        problems.append("two cases have one answer: the weights are too flat for a test")
    if not 0 < sum(record["ends"] for record in records) < len(records):
        problems.append("no answer ends, or all do")
    if min(record["least_margin"] for record in records) < 5e-4:
        problems.append("a greedy step is nearly a tie: rounding would decide")
    if model.generation_config.is_multilingual and len({record["language"] for record in records}) < 2:
        problems.append("all sounds have one language")
    if problems:
        return problems
    (out / "golden").mkdir(parents=True, exist_ok=True)
    (out / "golden" / f"{name}.json").write_text(json.dumps({"model": name, "cases": records}) + "\n")
    path = out / "golden" / f"{name}.safetensors"
    save_file(tensors, path)
    path.chmod(0o644)
    return []


SENTENCES = [
    ("slt", "The children are building a snowman in the garden behind our house."),
    ("awb", "Grandmother blows out the candles on her birthday cake, and everybody claps."),
    ("rms", "Look at the dog! He is running into the water again."),
    ("kal16", "We drove along the coast until the sun went down over the sea."),
    ("slt", "Happy new year, everyone! Watch the fireworks above the church."),
    ("awb", "This is the first time that she rides her bicycle without any help."),
    ("rms", "Could you please hold the camera a little higher? I can not see the boat."),
    ("kal16", "Dad is grilling sausages while the boys play football on the lawn."),
    ("slt", "The train leaves at seven thirty in the morning, so we packed our bags last night."),
    ("rms", "One, two, three, jump! That was amazing. Let us do it once more."),
    ("awb", "My sister found a tiny green frog under the old wooden bridge, and she wants to keep it as a pet. "
            "Mother says that it has to stay by the river, where its family lives. So we said goodbye and went on."),
]  # fmt: skip


def write_clips(model, out):
    """Lets flite speak, and transcribes."""
    extractor, model = load(model)
    out.mkdir(parents=True, exist_ok=True)
    clips = []
    for index, (voice, text) in enumerate(SENTENCES):
        path = out / f"{index:02}-{voice}.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", path], check=True)
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2), path
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
        features = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
        tokens, _ = generate(model, features, None)
        tokens = [token for token in tokens.tolist() if token != model.generation_config.eos_token_id]
        clips.append({"file": path.name, "text": text, "tokens": tokens})
    (out / "expected.json").write_text(json.dumps({"clips": clips}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("server/engine/tests/parity"))
    parser.add_argument("--clips", type=Path, nargs=2, metavar=("MODEL", "OUT"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.clips:
        write_clips(*args.clips)
        return
    for name in SHAPES:
        # The first weights with which no greedy step is close to a tie, answers vary, and some of them end.
        for seed in range(1, SEEDS):
            write_checkpoint(name, seed, args.out / "checkpoints" / name)
            problems = write_golden(name, args.out)
            if not problems:
                break
            print(f"{name}, seed {seed}: {'; '.join(problems)}")
        else:
            parser.exit(1, f"{name}: none of {SEEDS} seeds makes a test\n")


if __name__ == "__main__":
    main()
