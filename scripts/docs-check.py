#!/usr/bin/env python3
"""Checks that the documentation matches the source.

    python3 scripts/docs-check.py [--binary target/ci/homereel]...
    python3 scripts/docs-check.py --self-test

1. The workspace's crates depend on each other only as CRATES allows, and docs/design/architecture.md says the same.
2. The files with `unsafe` are those in that page's table.
3. Every flag that the documentation mentions exists: in the program's source, or in the help of the given binaries.
4. Every URL path that it mentions is in the route table.
5. Every relative link resolves, with its anchor.
6. scripts/test.sh runs every test program of the crate homereel-tests.

Prints FILE:LINE: MESSAGE for each problem; the exit status is 1 if there is any.
"""

import argparse
import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = "docs/design/architecture.md"

# Which crate may depend on which; normal, dev and build dependencies alike.
CRATES = {
    "homereel": {"homereel-library", "homereel-engine", "homereel-kernels", "homereel-video", "homereel-web"},
    "homereel-library": {"homereel-video"},
    "homereel-engine": {"homereel-kernels"},
    "homereel-kernels": set(),
    "homereel-video": {"homereel-clips"},
    "homereel-web": set(),
    "homereel-bench": {"homereel-clips", "homereel-engine", "homereel-video", "homereel-web"},
    "homereel-clips": set(),
    "homereel-tests": {"homereel-clips"},
}

# Directories whose clap flags each program has.
PROGRAMS = {
    "homereel": ("server/src", "server/library/src", "server/engine/src"),
    "homereel-bench": ("bench/src", "bench/clips/src", "server/engine/src"),
}

# Flags of other programs that the documentation mentions without naming the program.
OTHER_FLAGS = {"--trust-request-mm-kwargs", "--workspace", "--features", "--release"}

# Absolute paths in code spans that start like this are files, not URLs.
FILE_ROOTS = {"bin", "boot", "dev", "etc", "home", "lib", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr", "var"}


# Reading Markdown

def lines_of(text):
    """Yields (number, line, language) for each line; language is None outside of fenced code."""
    language = None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"\s*```(\w*)", line)
        if fence:
            language = None if language is not None else fence[1]
        else:
            yield number, line, language


def code_spans(line):
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`]+)`", line)]


def commands(text):
    """Yields (number, words) for each shell command in code spans and in blocks of shell code."""
    pending, start = "", 0
    for number, line, language in lines_of(text):
        if language is None:
            for span in code_spans(line):
                yield number, span.split()
            continue
        if language not in ("sh", "bash", "console"):
            continue
        if language == "console":
            if not pending and not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ")
        if not pending:
            start = number
        line = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        for part in re.split(r"\s(?:\||&&|;)\s", pending + line):
            yield start, part.split()
        pending = ""


def program_of(words):
    """The program's name without its directory; variables before it are skipped."""
    for word in words:
        if not re.match(r"[A-Za-z_]\w*=", word) and word not in ("sudo", "timeout", "time", "exec"):
            return word.rsplit("/", 1)[-1]
    return ""


def anchors(text):
    """GitHub's anchors of the headings."""
    found = set()
    for _, line, language in lines_of(text):
        heading = re.match(r"#+ +(.*)", line) if language is None else None
        if heading:
            plain = re.sub(r"[`*]", "", heading[1]).strip().lower()
            found.add(re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain)))
    return found


def table_after(text, heading):
    """Yields (number, cells) for each row of the first table after a heading, without its head."""
    inside, rows = False, 0
    for number, line, _ in lines_of(text):
        if line.startswith("#"):
            inside = line.lstrip("# ").strip() == heading
            continue
        if inside and line.startswith("|"):
            rows += 1
            if rows > 2:
                yield number, [cell.strip() for cell in line.strip().strip("|").split(" | ")]


# Reading the source

def flags_of_source(rust):
    """Long flags that clap derives from Rust source."""
    found = set()
    for match in re.finditer(r"(?:#\[|,\s*)arg\(", rust):
        # Brackets and commas within strings and nested calls separate nothing.
        rest = re.sub(r"\"(?:[^\"\\]|\\.)*\"", lambda text: re.sub(r"[(),]", " ", text[0]), rust[match.end():match.end() + 2000])
        depth, end = 1, 0
        while depth and end < len(rest):
            depth += {"(": 1, ")": -1}.get(rest[end], 0)
            end += 1
        settings = [setting.strip() for setting in rest[:end - 1].split(",")]
        for setting in settings:
            named = re.match(r"(?:long|alias|visible_alias)\s*=\s*\"([^\"]+)\"", setting)
            if named:
                found.add("--" + named[1])
        if "long" in settings:
            after = rust[match.end() + end:]
            field = re.search(r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:r#)?(\w+)\s*:(?!:)", after, re.MULTILINE)
            if field:
                found.add("--" + field[1].replace("_", "-"))
    return found


def flags_of_binary(binary, path=()):
    """Long flags in the help of a program and of its subcommands."""
    text = subprocess.run([binary, *path, "--help"], check=True, capture_output=True, text=True).stdout
    found = set(re.findall(r"^\s+(?:-\w, )?(--[a-z][\w-]*)", text, re.MULTILINE))
    listed = re.search(r"^Commands:\n((?:  .*\n|\n)*)", text, re.MULTILINE)
    for name in re.findall(r"^  ([a-z][\w-]*)", listed[1], re.MULTILINE) if listed else []:
        if name != "help":
            found |= flags_of_binary(binary, (*path, name))
    return found


def routes_of_source(rust):
    """Paths of the routes that Rust source adds to a router."""
    return set(re.findall(r"\.route\(\s*\"(/[^\"]*)\"", rust))


def matches_route(path, routes):
    """Whether a path of the documentation is a route; `{id}` stands for any segment, `…` for any rest."""
    path = re.split(r"[?#]", path)[0]
    if path in ("/api", "/v1"):
        return True
    if path.endswith("…"):
        return any(route.startswith(path[:-1].rstrip("/")) for route in routes)
    pattern = lambda route: re.sub(r"\\{\\\*[^/]*\\}", ".+", re.escape(route))
    return any(re.fullmatch(re.sub(r"\\{[^/]*?\\}", "[^/]+", pattern(route)), path) for route in routes)


def urls_of(line, is_code):
    """URL paths of this server that a line mentions."""
    own = r"https?://(?:127\.0\.0\.1|localhost|HOST):(?:80\d\d|PORT)(/[^\s`)\"'<>|]*)"
    found = [path.rstrip(".,:;") for path in re.findall(own, line)]
    rest = re.sub(r"https?://[^\s`)\"'<>|]*", "", line)
    for text in [rest] if is_code else code_spans(rest):
        found += re.findall(r"(?<![\w/.:-])/(?:api|v1)\b[^\s`)\"'<>|,;]*", text)
        page = re.fullmatch(r"(?:[A-Z]+ )?(/(?!/)[^\s]*)", text)
        if page and not is_code and not re.match(r"/(?:api|v1)\b", page[1]) and page[1].split("/")[1] not in FILE_ROOTS:
            found.append(page[1])
    return found


# The checks: each yields (file, line, message).

def check_crates(metadata, pages):
    for package in metadata["packages"]:
        name, manifest = package["name"], Path(package["manifest_path"])
        file = manifest.relative_to(ROOT).as_posix() if manifest.is_relative_to(ROOT) else str(manifest)
        if name not in CRATES:
            yield file, 1, f"crate {name} is not in CRATES of scripts/docs-check.py; add it with what it may depend on"
            continue
        text = manifest.read_text().splitlines() if manifest.is_file() else []
        for dependency in package["dependencies"]:
            other = dependency["name"]
            if other == name or other not in CRATES or other in CRATES[name]:
                continue
            line = next((at for at, line in enumerate(text, 1) if re.match(rf"{other}\b", line)), 1)
            allowed = ", ".join(sorted(CRATES[name])) or "no crate of the workspace"
            yield file, line, f"{name} depends on {other}; it may depend on {allowed}"
    for name in CRATES.keys() - {package["name"] for package in metadata["packages"]}:
        yield "Cargo.toml", 1, f"the workspace has no crate {name}, which CRATES of scripts/docs-check.py lists"
    documented = {}
    for number, cells in table_after(pages[ARCHITECTURE], "Crates"):
        name, *_, allowed = (re.findall(r"`([^`]+)`", cell) for cell in cells)
        documented[name[0]] = set(allowed)
        if documented[name[0]] != CRATES.get(name[0]):
            yield ARCHITECTURE, number, f"the row of {name[0]} differs from CRATES of scripts/docs-check.py"
    for name in CRATES.keys() - documented.keys():
        yield ARCHITECTURE, 1, f"the table under 'Crates' has no row for {name}"


def check_unsafe(sources, pages):
    listed = {}
    for number, cells in table_after(pages[ARCHITECTURE], "Files with `unsafe`"):
        for file in re.findall(r"`([^`]+)`", cells[0]):
            listed[file] = number
    for file, text in sources.items():
        for number, line in enumerate(text.splitlines(), 1):
            code = line.split("//")[0]
            attribute = re.search(r"\b(?:expect|allow)\(\s*unsafe_code", code)
            if file not in listed and (attribute or re.search(r"\bunsafe\s*(?:\{|fn\b|impl\b|trait\b|extern\b|\()", code)):
                yield file, number, f"`unsafe` in a file that is not listed under 'Files with `unsafe`' of {ARCHITECTURE}"
                break
    for file, number in listed.items():
        if file not in sources:
            yield ARCHITECTURE, number, f"{file} does not exist"
        elif not re.search(r"\bunsafe\b", re.sub(r"//.*", "", sources[file])):
            yield ARCHITECTURE, number, f"{file} has no `unsafe`"


def check_flags(pages, flags, script_flags):
    every = set.union(*flags.values()) | script_flags | OTHER_FLAGS | {"--help", "--version"}
    for file, text in pages.items():
        for number, words in commands(text):
            program = program_of(words)
            if program.startswith("--"):
                known, owner = every, "any program of the project"
            elif program in flags:
                known, owner = flags[program] | {"--help", "--version"}, program
            else:
                continue
            for word in words:
                flag = re.match(r"--[a-z][\w-]*", word)
                if flag and flag[0] not in known:
                    yield file, number, f"{flag[0]} is no flag of {owner}"


def check_urls(pages, routes):
    for file, text in pages.items():
        for number, line, language in lines_of(text):
            for path in urls_of(line, language is not None):
                if not matches_route(path.rstrip(".,:;'\""), routes):
                    yield file, number, f"{path} is not in the route table"


def check_links(pages):
    for file, text in pages.items():
        for number, line, language in lines_of(text):
            if language is not None:
                continue
            for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                there = (ROOT / file).parent / path if path else ROOT / file
                if not there.exists():
                    yield file, number, f"the link {target} leads nowhere"
                elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text()):
                    yield file, number, f"{path or file} has no heading #{anchor}"


def check_dashboard(dashboard, metrics):
    """Metrics that the Grafana dashboard asks for and the reference does not have."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            for name in re.findall(r"(?:vllm:|homereel_)\w+", target["expr"]):
                if f"`{re.sub(r'_(bucket|sum|count)$', '', name)}`" not in metrics:
                    yield "docs/grafana.json", 1, f"{panel['title']}: {name} is no metric"


def check_tests(metadata, script):
    """Every test program is named in the script that runs them."""
    targets = [target for package in metadata["packages"] if package["name"] == "homereel-tests" for target in package["targets"]]
    for target in targets:
        if "test" in target["kind"] and f"--test {target['name']} " not in script:
            yield "scripts/test.sh", 1, f"no step runs --test {target['name']}"


def read(paths):
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(paths) if path.is_file()}


def rust_below(*directories):
    return [path for directory in directories for path in (ROOT / directory).rglob("*.rs") if "target" not in path.parts]


def problems(binaries):
    book = read([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
    linked = book | read([ROOT / "CHANGELOG.md", *(ROOT / "systemd").rglob("*.md"), *(ROOT / "server").glob("*/*.md")])
    flags = {
        name: set().union(*(flags_of_source(path.read_text()) for path in rust_below(*directories)))
        for name, directories in PROGRAMS.items()
    }
    for binary in binaries:
        flags[Path(binary).name] = flags_of_binary(binary)
    scripts = read(path for path in (ROOT / "scripts").rglob("*") if path.suffix in (".sh", ".py"))
    script_flags = set(re.findall(r"--[a-z][\w-]*", "\n".join(scripts.values())))
    routes = set().union(*(routes_of_source(path.read_text()) for path in rust_below("server/src/http")))
    metadata = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, check=True, capture_output=True, text=True)
    yield from check_crates(json.loads(metadata.stdout), book)
    # Names may end a line.
    yield from check_tests(json.loads(metadata.stdout), re.sub(r"[\n;]", " ", scripts["scripts/test.sh"]))
    yield from check_unsafe(read(rust_below("server", "web", "bench", "tests")), book)
    yield from check_flags(book, flags, script_flags)
    yield from check_urls(book, routes)
    yield from check_links(linked)
    yield from check_dashboard(json.loads((ROOT / "docs/grafana.json").read_text()), (ROOT / "docs/reference/metrics.md").read_text())


class SelfTest(unittest.TestCase):
    def test_flags_come_from_clap_attributes(self):
        rust = '''
            #[arg(long, env = "X, Y", value_parser = one_of(1, 2), help = "not (closed")]
            #[serde(default)]
            pub vllm_url: Vec<String>,
            #[cfg_attr(feature = "clap", arg(long = "host", visible_alias = "name"))]
            pub(super) hosts: Vec<String>,
            #[arg(short)]
            quiet: bool,
        '''
        self.assertEqual(flags_of_source(rust), {"--vllm-url", "--host", "--name"})

    def test_commands_are_found_in_blocks_and_spans(self):
        page = "Run `homereel ask --json`.\n```sh\nA=1 homereel serve \\\n  --data X | jq   # --no\n```\n```console\n$ bench --a\noutput --b\n```\n"
        self.assertEqual(
            list(commands(page)),
            [(1, ["homereel", "ask", "--json"]), (3, ["A=1", "homereel", "serve", "--data", "X"]), (3, ["jq"]), (7, ["bench", "--a"])])
        self.assertEqual(program_of(["A=1", "target/release/homereel", "serve"]), "homereel")

    def test_an_unknown_flag_is_reported_and_one_of_another_program_is_not(self):
        page = {"a.md": "`homereel serve --nope`, `vllm serve --other`, `--gone`, `--known`"}
        found = [message for _, _, message in check_flags(page, {"homereel": {"--known"}}, set())]
        self.assertEqual(found, ["--nope is no flag of homereel", "--gone is no flag of any program of the project"])

    def test_urls_match_routes_with_parameters(self):
        routes = routes_of_source('.route("/api/videos/{id}/file", get(x)).route("/v1/models/{*id}", y).route("/videos/{id}", z)')
        for path in ("/api/videos/{id}/file", "/api/videos/7/file?x=1", "/v1/models/a/b", "/videos/…", "/api/videos/{id}/file#x", "/v1"):
            self.assertTrue(matches_route(path, routes), path)
        for path in ("/api/videos/7", "/api/video/7/file", "/videos", "/other…"):
            self.assertFalse(matches_route(path, routes), path)

    def test_urls_are_told_from_files(self):
        line = "`GET /api/jobs` and `/search`, `/etc/homereel`, http://127.0.0.1:8080/jobs, https://example.org/v1/x, server/src/api/x"
        self.assertEqual(urls_of(line, False), ["/jobs", "/api/jobs", "/search"])

    def test_unsafe_is_compared_in_both_directions(self):
        page = {ARCHITECTURE: "## Files with `unsafe`\n| file | why |\n| --- | --- |\n| `a.rs` | x |\n| `b.rs` | x |\n"}
        sources = {"a.rs": "// unsafe\n", "c.rs": "fn f() { unsafe { g() } }", "d.rs": "#![deny(unsafe_code)] // unsafe {"}
        found = [file for file, _, _ in check_unsafe(sources, page)]
        self.assertEqual(found, ["c.rs", ARCHITECTURE, ARCHITECTURE])

    def test_a_forbidden_dependency_is_named(self):
        dependency = lambda name: {"name": name}
        packages = [
            {"name": "homereel-engine", "manifest_path": "/x/Cargo.toml", "dependencies": [dependency("homereel-video"), dependency("serde")]},
            {"name": "homereel-new", "manifest_path": "/y/Cargo.toml", "dependencies": []},
        ]
        rows = "\n".join(f"| `{name}` | `x` | {', '.join(f'`{other}`' for other in allowed)} |" for name, allowed in CRATES.items())
        page = {ARCHITECTURE: f"## Crates\n| a | b | c |\n| --- | --- | --- |\n{rows}\n"}
        found = [(file, message.split(";")[0]) for file, _, message in check_crates({"packages": packages}, page)]
        self.assertEqual(found[0], ("/x/Cargo.toml", "homereel-engine depends on homereel-video"))
        missing = ["Cargo.toml"] * (len(CRATES) - 1)
        self.assertEqual([file for file, _ in found], ["/x/Cargo.toml", "/y/Cargo.toml", *missing])

    def test_a_test_program_that_no_step_runs_is_named(self):
        targets = [{"name": name, "kind": ["test"]} for name in ("api", "dates")] + [{"name": "lib", "kind": ["lib"]}]
        metadata = {"packages": [{"name": "homereel-tests", "targets": targets}]}
        found = [message for _, _, message in check_tests(metadata, "cargo_test --test api --test dates_of ")]
        self.assertEqual(found, ["no step runs --test dates"])

    def test_a_panel_of_an_unknown_metric_is_named(self):
        panels = [{"title": "A", "targets": [{"expr": "rate(homereel_a_bucket[1m]) / vllm:b_total + homereel_c"}]}]
        found = [message for _, _, message in check_dashboard({"panels": panels}, "`homereel_a` `vllm:b_total`")]
        self.assertEqual(found, ["A: homereel_c is no metric"])

    def test_anchors_are_githubs(self):
        self.assertEqual(anchors("# Files with `unsafe`\n## A, b (c)\n```\n# not one\n```\n"), {"files-with-unsafe", "a-b-c"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", action="append", default=[], metavar="PATH", help="take the flags from this program's help")
    parser.add_argument("--self-test", action="store_true", help="test this script")
    arguments = parser.parse_args()
    if arguments.self_test:
        unittest.main(argv=[sys.argv[0]])
    found = sorted(set(problems(arguments.binary)))
    for file, line, message in found:
        print(f"{file}:{line}: {message}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
