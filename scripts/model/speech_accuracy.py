#!/usr/bin/env python3
"""Makes tapes on which machines speak sentences as in home videos, for the test of what Homereel understands, and when.

    pip install "transformers==5.19.0" torch numpy
    scripts/model/speech_accuracy.py MODEL OUT

`flite` and `espeak-ng` speak 60 sentences in several voices; noise and silence are mixed in, and `ffmpeg` makes videos of them: MP4,
MKV and MOV with late sound, clocks that do not begin at zero, and edit lists. MODEL is a directory with a Whisper checkpoint, of
which transformers transcribes each sentence of the same sound. OUT gets the videos, nothing.mkv with ten minutes of silence, hum and
chords, and tapes.json: {"tapes": [{"file", "sentences": [{"start", "end", "text", "reference"}]}]}. Times are seconds from the first
picture. A directory that is complete is left as it is.
"""

import argparse
import json
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

RATE = 16_000
SEED = 20
PER_TAPE = 10
# Seconds of silence before the sentences, in turn.
PAUSES = (3.0, 0.6, 1.2, 7.5, 0.8, 2.5)
# Sound that transformers hears before and after a sentence, in seconds.
MARGIN = 0.4

SENTENCES = [
    "The children are building a snowman in the garden.",
    "Grandmother blows out the candles on her birthday cake.",
    "Look at the dog, he is running into the water again.",
    "We drove along the coast until the sun went down.",
    "Happy new year, everyone, watch the fireworks above the church.",
    "This is the first time that she rides her bicycle without help.",
    "Could you please hold the camera a little higher?",
    "Dad is grilling sausages while the boys play football.",
    "The train leaves at seven, so we packed our bags last night.",
    "That was amazing, let us do it once more.",
    "My sister found a little green frog under the bridge.",
    "The baby is sleeping, so please be quiet for a while.",
    "Can you see the boat behind the lighthouse?",
    "She painted the whole fence blue, and it looks beautiful.",
    "It started to rain just before the race began.",
    "Your cousin is coming for dinner on Sunday evening.",
    "The cat does not want to come down from the tree.",
    "We planted three apple trees behind the house.",
    "Uncle Peter is telling the story about the bear again.",
    "They are dancing in the kitchen, and nobody is cooking.",
    "Hold on to the rope and do not look down.",
    "The water is too cold for swimming today.",
    "He lost his first tooth this morning at school.",
    "Everybody smile, and say cheese.",
    "The old tractor is still working after forty years.",
    "Mother is reading a book under the big umbrella.",
    "We are waiting for the bus in front of the museum.",
    "There are so many stars in the sky tonight.",
    "The parade begins at the market and ends at the river.",
    "Please give the ball back to your little brother.",
    "The bride is coming out of the church right now.",
    "I have never seen so much snow in my life.",
    "Our neighbours brought a basket of strawberries.",
    "He is opening his presents one after the other.",
    "The kite is flying higher than the roof.",
    "Let me show you the room where I grew up.",
    "They sang the song for the teacher on the last day.",
    "The ferry to the island takes about two hours.",
    "Take a picture of the horses before they run away.",
    "We found this shell on the beach yesterday.",
    "The puppy is hiding under the table again.",
    "Grandpa is repairing the clock in his workshop.",
    "Jump into the pool when I count to three.",
    "The soup is ready, please call the others.",
    "She won the first prize at the music school.",
    "Do not feed the ducks with bread.",
    "This is our new kitchen, and it is not finished yet.",
    "The wind was so strong that the tent flew away.",
    "You can hear the waterfall from the other side of the valley.",
    "The twins are wearing the same yellow jacket.",
    "He is learning to play the guitar.",
    "We climbed the mountain and had lunch at the top.",
    "The lights went out in the middle of the concert.",
    "Say hello to your aunt in Canada.",
    "The garden is full of butterflies this summer.",
    "She is afraid of the big slide, but she will try it.",
    "They are carrying the piano up the stairs.",
    "The sheep are crossing the road, so we have to wait.",
    "Come here and blow out the candle with me.",
    "That is all for today, goodbye and see you tomorrow.",
]

VOICES = [("flite", "slt"), ("flite", "rms"), ("flite", "awb"), ("espeak-ng", "en-us"), ("flite", "kal16"), ("espeak-ng", "en-gb")]

# Name of each tape, loudness of its noise, seconds by which its sound is late, and options of ffmpeg for the output.
TAPES = [
    ("plain.mp4", 0.0, 0.0, ["-c:a", "aac"]),
    ("noisy.mkv", 0.004, 0.0, ["-c:a", "libopus"]),
    ("late.mp4", 0.002, 3.0, ["-c:a", "aac"]),
    ("later.mkv", 0.0, 1.7, ["-c:a", "flac", "-output_ts_offset", "5"]),
    ("edited.mov", 0.002, 0.0, ["-c:a", "aac"]),
    ("studio.mov", 0.006, 0.0, ["-c:a", "pcm_s16le", "-ac", "2"]),
]
# Seconds that an edit list cuts off the beginning of `edited.mov`.
CUT = 2.3


def run(*command):
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def ffmpeg(*arguments):
    run("ffmpeg", "-v", "error", "-y", "-nostdin", *arguments)


def read_wav(path):
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2), path
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def write_wav(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype(np.int16).tobytes())


def speak(program, voice, text, scratch):
    """A spoken sentence from its first to its last sound."""
    spoken, resampled = scratch / "spoken.wav", scratch / "resampled.wav"
    run(*(["flite", "-voice", voice, "-t", text, "-o", spoken] if program == "flite" else
          ["espeak-ng", "-v", voice, "-s", "150", "-w", spoken, text]))  # fmt: skip
    ffmpeg("-i", spoken, "-ar", RATE, "-ac", 1, resampled)
    samples = read_wav(resampled)
    samples *= 0.5 / np.abs(samples).max()
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[loud[0] : loud[-1] + 1]


def transcriber(model):
    """A function that transcribes samples of at most 30 s with transformers, greedily."""
    import torch
    from speech_reference import generate, load
    from tokenizers import Tokenizer

    extractor, whisper = load(model)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    first_special = whisper.generation_config.eos_token_id

    def transcribe(samples):
        features = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
        with torch.no_grad():
            tokens, _ = generate(whisper, features, None)
        return tokenizer.decode([token for token in tokens.tolist() if token < first_special]).strip()

    return transcribe


def tape_sound(number, noise, draw, scratch):
    """The sound of a tape, and where its sentences are: (samples, [(start, end, text)])."""
    parts, places, at = [], [], 0
    first = number * PER_TAPE
    for index in range(first, first + PER_TAPE):
        # What an edit list cuts off is silence.
        pause = int((PAUSES[0] if index == first else PAUSES[index % len(PAUSES)]) * RATE)
        spoken = speak(*VOICES[index % len(VOICES)], SENTENCES[index], scratch)
        parts += [np.zeros(pause, np.float32), spoken]
        places.append((at + pause, at + pause + len(spoken), SENTENCES[index]))
        at += pause + len(spoken)
    samples = np.concatenate([*parts, np.zeros(2 * RATE, np.float32)])
    # Brown noise, as of wind and rooms.
    brown = np.convolve(draw.standard_normal(len(samples)), 0.97 ** np.arange(200), "same").astype(np.float32)
    return samples + noise * brown / max(brown.std(), 1e-9), places


def write_tape(name, late, options, sound, out, scratch):
    """Makes a video of a sound. Returns by how many seconds the sound is later than in `sound`."""
    seconds = len(read_wav(sound)) / RATE + late
    pictures = f"testsrc=size=160x120:rate=10:duration={seconds:.1f}"
    inputs = ["-f", "lavfi", "-i", pictures, "-itsoffset", late, "-i", sound]
    codecs = ["-map", "0:v", "-map", "1:a", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "50", *options]
    if name != "edited.mov":
        ffmpeg(*inputs, *codecs, out / name)
        return late
    whole = scratch / "whole.mov"
    ffmpeg(*inputs, *codecs, whole)
    # Copied from the key frame before; an edit list hides what lies between.
    ffmpeg("-ss", CUT, "-i", whole, "-c", "copy", out / name)
    return late - CUT


def write_nothing(out, draw, scratch):
    """Ten minutes in which nobody speaks: silence, faint noise, hum, and chords that come and go."""
    t = np.arange(150 * RATE) / RATE
    silence = np.zeros_like(t)
    noise = 0.003 * draw.standard_normal(len(t))
    hum = sum(0.05 / n * np.sin(2 * np.pi * 50 * n * t) for n in (1, 2, 3, 5))
    chords = np.zeros_like(t)
    for bar, root in enumerate((220.0, 174.6, 261.6, 196.0) * 10):
        span = slice(int(bar * 3.75 * RATE), int((bar + 1) * 3.75 * RATE))
        local = t[span] - t[span][0]
        fade = np.exp(-local / 1.5) * np.minimum(1, local / 0.02)
        chords[span] = sum(0.1 * fade * np.sin(2 * np.pi * root * step * local) for step in (1, 1.25, 1.5, 2))
    sound = scratch / "nothing.wav"
    write_wav(sound, np.concatenate([silence, noise, hum, chords]).astype(np.float32))
    pictures = "testsrc=size=160x120:rate=1:duration=600"
    ffmpeg("-f", "lavfi", "-i", pictures, "-i", sound, "-c:v", "libx264", "-c:a", "flac", out / "nothing.mkv")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    assert len(SENTENCES) == PER_TAPE * len(TAPES) == len(set(SENTENCES))
    # Written last.
    if (args.out / "tapes.json").is_file():
        return
    args.out.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(SEED)
    transcribe = transcriber(args.model)
    tapes = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for number, (name, noise, late, options) in enumerate(TAPES):
            samples, places = tape_sound(number, noise, draw, scratch)
            sound = scratch / "sound.wav"
            write_wav(sound, samples)
            shift = write_tape(name, late, options, sound, args.out, scratch)
            sentences = []
            for start, end, text in places:
                heard = read_wav(sound)[max(0, start - int(MARGIN * RATE)) : end + int(MARGIN * RATE)]
                sentences.append({"start": start / RATE + shift, "end": end / RATE + shift, "text": text,
                                  "reference": transcribe(heard)})  # fmt: skip
            tapes.append({"file": name, "sentences": sentences})
        write_nothing(args.out, draw, scratch)
    (args.out / "tapes.json").write_text(json.dumps({"tapes": tapes}, indent=1) + "\n")
    print(f"{args.out}: {len(tapes)} tapes of {PER_TAPE} sentences")


if __name__ == "__main__":
    main()
