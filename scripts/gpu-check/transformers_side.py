"""The half of a GPU check that transformers computes: the reference in bf16 and its speed, on the same device and weights.

    transformers_side.py parity --dir PARITY --name NAME --ours FILE --device DEVICE --out FILE
    transformers_side.py speed --config FILE --device DEVICE --dtype DTYPE [--tiny] --out FILE

`parity` compares what `measure parity` recorded with transformers in bf16 and in f32. `speed` draws the weights that
`server/engine/src/qwen3vl/drawn.rs` draws, and builds the inputs of `server/engine/src/measure/network.rs`.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen3VLConfig

BANK = 1_048_573
# An error in bf16 passes if it is at most three times the median of transformers' errors in bf16, plus one rounding of bf16.
FACTOR, ROUNDING = 3.0, 2.0**-8
# In a mixture of experts, rounding can select another expert, which gives a large error in transformers as well. So many
# cases may have one, and such a share of decoded tokens.
SWITCHED_CASES, SWITCHED_TOKENS = 1, 0.1
SIZES = {
    False: dict(picture=(11, 24), prefill=2048, decode=64, clip_frames=80, clip_edge=448, rounds=3),
    True: dict(picture=(2, 3), prefill=96, decode=8, clip_frames=4, clip_edge=64, rounds=2),
}


# Parity ---------------------------------------------------------------------------------------------------------------


def parity(args):
    import reference

    directory = args.dir / "checkpoints" / args.name
    golden = json.loads((args.dir / "golden" / f"{args.name}.json").read_text())
    ours = {case["name"]: case for case in json.loads(args.ours.read_text())["cases"]}
    processor = AutoProcessor.from_pretrained(directory)
    load = lambda dtype: AutoModelForImageTextToText.from_pretrained(directory, dtype=dtype).eval().to(args.device)
    exact, rounded = load(torch.float32), load(torch.bfloat16)
    cases = [compare(case, ours[case["name"]], exact, rounded, processor, reference, args.device) for case in golden["cases"]]
    experts = hasattr(exact.config.text_config, "num_experts")
    for case in cases:
        exact_part = case["ids_equal"] and case["positions_equal"]
        case["greedy_passed"] = case.pop("tokens_off") <= (SWITCHED_TOKENS * case["greedy"] if experts else 0)
        within = case["error"] <= case.pop("bound")
        case["switched"] = experts and not within and case["error"] <= case["transformers_error"]
        case["passed"] = exact_part and case["greedy_passed"] and (within or case["switched"])
    switched = sum(case["switched"] for case in cases)
    return {"checkpoint": args.name, "passed": all(case["passed"] for case in cases) and switched <= SWITCHED_CASES, "cases": cases}


def compare(golden, ours, exact, rounded, processor, reference, device):
    messages = json.loads(json.dumps(golden["messages"]))
    _, _, inputs = reference.inputs_of(messages, processor)
    inputs = {key: value.to(device) for key, value in inputs.items()}
    tokens = inputs["input_ids"].shape[1]
    # A random model may generate a visual token, which transformers takes for a clip without features.
    pads = {exact.config.image_token_id, exact.config.video_token_id}
    greedy = ours["greedy"]
    answer = greedy[: next((n for n, token in enumerate(greedy) if token in pads), len(greedy))]
    with torch.no_grad():
        own = rounded.generate(**typed(inputs, torch.bfloat16), max_new_tokens=len(answer), do_sample=False, eos_token_id=None)
        own = own[0, tokens:].tolist()
        forced = extended(inputs, answer[:-1])
        want = exact(**forced).logits[0, tokens - 1 :].float()
        theirs = rounded(**typed(forced, torch.bfloat16)).logits[0, tokens - 1 :].float()
    error = relative(torch.tensor(ours["logits"], device=device), want[0])
    # The errors of transformers over the whole answer: rounding differs from step to step.
    their_errors = torch.tensor([relative(theirs[step], want[step]) for step in range(len(answer))], device=device)
    bound = FACTOR * float(their_errors.median()) + ROUNDING
    # Two logits may each be off, so that a token within twice the bound of the best one is right.
    chosen = want[torch.arange(len(answer)), torch.tensor(answer)]
    room = 2 * their_errors.clamp(min=bound) * want.abs().max(-1).values
    tokens_off = int((want.max(-1).values - chosen > room).sum())
    ids_equal = inputs["input_ids"][0].tolist() == golden["input_ids"]
    return {
        "name": golden["name"],
        "ids_equal": ids_equal,
        "positions_equal": ours["positions_equal"],
        "error": error,
        "transformers_error": float(their_errors.max()),
        "bound": bound,
        "greedy_equal": next((n for n, (a, b) in enumerate(zip(answer, own)) if a != b), len(answer)),
        "greedy": len(answer),
        "tokens_off": tokens_off,
    }


def typed(inputs, dtype):
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in inputs.items()}


def extended(inputs, tokens):
    """The inputs with `tokens` behind the prompt."""
    count = len(tokens)
    device = inputs["input_ids"].device
    more = {"input_ids": torch.tensor([tokens], device=device), "attention_mask": torch.ones(1, count, dtype=torch.long, device=device),
            "mm_token_type_ids": torch.zeros(1, count, dtype=torch.long, device=device)}  # fmt: skip
    return {key: torch.cat([value, more[key].to(value.dtype)], 1) if key in more else value for key, value in inputs.items()}


def relative(got, want):
    error = float((got - want).abs().max() / want.abs().max())
    return error if np.isfinite(error) else float("inf")


# Speed ----------------------------------------------------------------------------------------------------------------


def bank():
    """The numbers of `bank()` in drawn.rs: x = x * 1664525 + 1013904223 modulo 2^32."""
    values, state = np.empty(BANK, np.uint32), 1
    for index in range(BANK):
        state = (state * 1_664_525 + 1_013_904_223) & 0xFFFFFFFF
        values[index] = state >> 8
    return torch.from_numpy((values.astype(np.float32) / np.float32(8_388_608) - np.float32(1)) * np.sqrt(np.float32(3)))


def offset(name):
    value = 0x811C9DC5
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value % BANK


def draw(values, name, parameter):
    shape = parameter.shape
    if len(shape) == 1:
        scale, shift = 0.02, 0.0 if name.endswith("bias") else 1.0
    else:
        scale, shift = float(np.prod(shape[1:])) ** -0.5, 0.0
    scaled = (values * np.float32(scale) + np.float32(shift)).to(parameter.dtype).roll(-offset(name))
    flat = parameter.data.view(-1)
    for start in range(0, len(flat), BANK):
        flat[start : start + BANK] = scaled[: len(flat) - start]


def model_of(args, dtype):
    config = Qwen3VLConfig(**json.loads(args.config.read_text()))
    with torch.device(args.device):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
    values = bank().to(args.device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw(values, name, parameter)
    return model


def visual(config, grid, device):
    vision = config.vision_config
    patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    rows = int(np.prod(grid))
    values = (np.arange(rows * patch, dtype=np.int64) * 7919 % 2003).astype(np.float32) / np.float32(1001) - np.float32(1)
    return torch.from_numpy(values).view(rows, patch).to(device), torch.tensor([grid], device=device)


def text(start, count, config):
    few = min(config.text_config.vocab_size // 2, 1000)
    return [i * 31 % few for i in range(start, start + count)]


def clip_prompt(config, grid):
    merge = config.vision_config.spatial_merge_size
    tokens = grid[1] // merge * (grid[2] // merge)
    ids = []
    for group in range(grid[0]):
        ids += [*text(group, 6, config), config.vision_start_token_id, *[config.video_token_id] * tokens, config.vision_end_token_id]
    return ids + text(0, 32, config)


def median_ms(device, rounds, work):
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times = []
    for _ in range(rounds + 1):
        wait()
        began = time.perf_counter()
        work()
        wait()
        times.append(1e3 * (time.perf_counter() - began))
    return sorted(times[1:])[rounds // 2]


def speed(args):
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    sizes, device = SIZES[args.tiny], args.device
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model = model_of(args, dtype)
    config = model.config
    merge = config.vision_config.spatial_merge_size
    rounds, decode = sizes["rounds"], sizes["decode"]

    def generate(count, **inputs):
        return model.generate(**inputs, attention_mask=torch.ones_like(inputs["input_ids"]), max_new_tokens=count,
                              min_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)  # fmt: skip

    def encode(pixels, grid):
        return model.model.visual(pixels.to(dtype), grid_thw=grid, return_dict=True).pooler_output

    with torch.no_grad():
        rows, columns = sizes["picture"]
        picture = visual(config, (1, rows * merge, columns * merge), device)
        vision_ms = median_ms(device, rounds, lambda: encode(*picture)) * 265 / (rows * columns)
        features = encode(*picture).float()

        ids = torch.tensor([text(0, sizes["prefill"], config)], device=device)
        prefill_ms = median_ms(device, rounds, lambda: model(input_ids=ids, use_cache=True, logits_to_keep=1))
        logits = model(input_ids=ids, use_cache=True, logits_to_keep=1).logits[0, -1].float()

        def tokens_per_s(batch):
            inputs = {"input_ids": ids.repeat(batch, 1)}
            one, many = (median_ms(device, rounds, lambda count=count: generate(count, **inputs)) for count in (1, 1 + decode))
            # On a busy machine the difference of tiny runs can vanish.
            return 1e3 * batch * decode / (many - one) if many > one else None

        alone, eight = tokens_per_s(1), tokens_per_s(8)

        edge = sizes["clip_edge"] // config.vision_config.patch_size
        grid = (-(-sizes["clip_frames"] // config.vision_config.temporal_patch_size), edge, edge)
        clip = visual(config, grid, device)
        clip_vision_ms = median_ms(device, rounds, lambda: encode(*clip))
        prompt = torch.tensor([clip_prompt(config, grid)], device=device)
        inputs = {"input_ids": prompt, "mm_token_type_ids": (prompt == config.video_token_id).long() * 2,
                  "pixel_values_videos": clip[0].to(dtype), "video_grid_thw": clip[1]}  # fmt: skip
        clip_ttft_ms = median_ms(device, rounds, lambda: generate(1, **inputs))
    peak = torch.cuda.max_memory_reserved() if device == "cuda" else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "engine": "transformers", "shape": args.config.stem, "dtype": args.dtype, "sizes": sizes,
        "vision_ms": vision_ms, "prefill_ms": prefill_ms, "decode_tokens_per_s": alone, "decode_batch_8_tokens_per_s": eight,
        "clip_preprocess_ms": None, "clip_vision_ms": clip_vision_ms, "clip_ttft_ms": clip_ttft_ms,
        "clip_prompt_tokens": prompt.shape[1], "peak_memory_bytes": peak,
        "logits": logits.tolist(), "features": torch.cat([features[0], features[-1]]).tolist(),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("parity")
    one.add_argument("--dir", type=Path, required=True)
    one.add_argument("--name", required=True)
    one.add_argument("--ours", type=Path, required=True)
    two = commands.add_parser("speed")
    two.add_argument("--config", type=Path, required=True)
    two.add_argument("--dtype", choices=["f32", "bf16"], required=True)
    two.add_argument("--tiny", action="store_true")
    for command in (one, two):
        command.add_argument("--device", choices=["cpu", "cuda"], required=True)
        command.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.device == "cpu":
        # Small tensors: threads would only wait for each other.
        torch.set_num_threads(1)
    # No TF32: f32 is the reference.
    torch.backends.cuda.matmul.allow_tf32 = False
    result = parity(args) if args.command == "parity" else speed(args)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    if args.command == "parity" and not result["passed"]:
        raise SystemExit(f"{args.name}: {[case['name'] for case in result['cases'] if not case['passed']]} differ from transformers")


if __name__ == "__main__":
    main()
