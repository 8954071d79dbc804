"""Model profiles (models/NAME.toml), read and validated for vllm-serve and the shell scripts."""

import json
import os
import re
import sys
import tomllib
from pathlib import Path

# An operator's profile takes precedence over the release's.
DIRECTORIES = ("/etc/homereel/models", "/opt/homereel/current/models")
HOME = Path("/var/lib/homereel-vllm")
KEYS = {
    "id": str, "revision": str, "served_name": str, "minimum_vllm": str, "port": int, "memory_fraction": float,
    "need_mib": int, "max_model_len": int, "max_num_seqs": int, "flags": list, "env": dict, "sampling": dict,
}
NEEDED = ("id", "served_name", "minimum_vllm", "port", "need_mib", "max_model_len", "max_num_seqs")


def load(name, directories=None):
    """Returns the profile `name`; exits with a message if it is missing or invalid."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        sys.exit(f"{name!r} is no profile; lower case letters, digits, '.' and '-' would fit")
    directories = directories or os.environ.get("HOMEREEL_PROFILES", ":".join(DIRECTORIES)).split(":")
    for directory in directories:
        path = Path(directory) / f"{name}.toml"
        if path.is_file():
            return check(path, tomllib.loads(path.read_text()))
    sys.exit(f"no profile {name} in {' or '.join(directories)}")


def check(path, profile):
    for key, value in profile.items():
        if key not in KEYS:
            sys.exit(f"{path}: unknown key {key}; known are {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]):
            sys.exit(f"{path}: {key} is {value!r}; {KEYS[key].__name__} would fit")
    missing = [key for key in NEEDED if key not in profile]
    if missing:
        sys.exit(f"{path}: {', '.join(missing)} missing")
    if not 0.05 <= profile.get("memory_fraction", 0.4) <= 0.85:
        sys.exit(f"{path}: memory_fraction is {profile['memory_fraction']}; 0.05 to 0.85 would fit (0.9 froze a GB10)")
    return profile


def revision(profile, home=HOME):
    """Returns the commit pinned by the first download, otherwise the profile's revision."""
    pinned = home / "revisions" / profile["id"].replace("/", "--")
    return pinned.read_text().strip() if pinned.is_file() else profile.get("revision")


def arguments(profile, home=HOME):
    """Returns the arguments of `vllm serve`."""
    command = ["serve", profile["id"], "--served-model-name", profile["served_name"]]
    if not profile["id"].startswith("/"):
        command += ["--revision", revision(profile, home) or "main"]
    command += [
        "--host", "127.0.0.1", "--port", str(profile["port"]),
        "--max-model-len", str(profile["max_model_len"]), "--max-num-seqs", str(profile["max_num_seqs"]),
        # Homereel sends frames with their true times, and vLLM downloads no media from other hosts.
        "--trust-request-mm-kwargs", "--allowed-media-domains", "localhost.invalid",
    ]
    if "memory_fraction" in profile:
        command += ["--gpu-memory-utilization", str(profile["memory_fraction"])]
    if profile.get("sampling"):
        command += ["--override-generation-config", json.dumps(profile["sampling"])]
    return command + [str(flag) for flag in profile.get("flags", [])]


def main():
    name, key = sys.argv[1], sys.argv[2]
    profile = load(name)
    value = revision(profile) if key == "revision" else profile.get(key)
    print("" if value is None else value)


if __name__ == "__main__":
    main()
