#!/usr/bin/env python3
"""Compares the speed of speech to text with faster-whisper, in turns, on the same sound with the same checkpoint.

    pip install faster-whisper==1.2.1
    pip install torch transformers          # convert the checkpoint, once
    cargo build --release -p homereel-engine --example transcribe
    scripts/peers/compare-speech.py MODEL FILE.wav target/release/examples/transcribe [--rounds 3] [--repeat 10]

MODEL is a directory with a Whisper checkpoint, FILE.wav has speech without long pauses (16 kHz, mono, 16 bits), which is
transcribed --repeat times over, as one sound. Both compute in f32 on two threads, choose the most likely token (beam 1), and try
higher temperatures where Whisper's rules say so. faster-whisper runs without voice activity detection; ours finds speech
everywhere in such sound. Loading is not measured. Prints how many times faster than real time each is, per round.
"""

import argparse
import re
import statistics
import subprocess
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel

THREADS = 2


def converted(model, out):
    if not (out / "model.bin").exists():
        command = ["ct2-transformers-converter", "--model", str(model), "--output_dir", str(out), "--force"]
        files = [name for name in ("tokenizer.json", "preprocessor_config.json") if (model / name).exists()]
        subprocess.run([*command, "--copy_files", *files], check=True)
    return WhisperModel(str(out), device="cpu", compute_type="float32", cpu_threads=THREADS)


def samples(path, repeat):
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2), "16 kHz, mono, 16 bits"
        sound = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16).astype(np.float32) / 32768
    return np.tile(sound, repeat)


def theirs(model, sound):
    start = time.perf_counter()
    segments, _ = model.transcribe(sound, language="en", beam_size=1, best_of=1, vad_filter=False, condition_on_previous_text=False)
    words = sum(len(segment.text.split()) for segment in segments)
    return len(sound) / 16000 / (time.perf_counter() - start), words


def ours(program, model, path, repeat):
    command = ["taskset", "-c", f"0-{THREADS - 1}", program, model, path, "--repeat", str(repeat), "--language", "en"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    words = sum(len(line.split()[3:]) for line in text.splitlines()[:-1])
    return float(re.search(r"([0-9.]+) times faster", text).group(1)), words


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("program")
    parser.add_argument("--converted", type=Path, help="directory for the converted checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = converted(args.model, args.converted or Path(scratch) / "model")
        sound = samples(args.file, args.repeat)
        theirs(model, sound[: 30 * 16000])
        ratios = []
        for round_ in range(args.rounds):
            own, own_words = ours(args.program, str(args.model), str(args.file), args.repeat)
            other, other_words = theirs(model, sound)
            ratios.append(own / other)
            print(f"round {round_ + 1}: ours {own:.1f} times real time ({own_words} words), faster-whisper {other:.1f} ({other_words} words)", flush=True)
        print(f"ours / faster-whisper: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
