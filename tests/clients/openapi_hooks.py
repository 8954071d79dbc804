"""Hooks of Schemathesis: half of the requests about an object name one that exists, and answers are short.

`HOMEREEL_KNOWN` has the ids as JSON, by the first segments of a path: `keep` for most requests, `delete` for those that delete.
`HOMEREEL_CLIP` is the path of a clip, which half of the forms with a file get.
"""

import json
import os
import zlib

import schemathesis

KNOWN = json.loads(os.environ["HOMEREEL_KNOWN"])
with open(os.environ["HOMEREEL_CLIP"], "rb") as clip:
    CLIP = clip.read()

# Tokens of an answer.
TOKENS = 2

# Names of the limit of tokens, the one that takes precedence first.
LIMITS = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/responses": ("max_output_tokens",),
    "/api/videos/{id}/ask": ("max_tokens",),
}


def chosen(value) -> bool:
    """Whether to replace a value: the same for every run with the same seed."""
    return zlib.crc32(repr(value).encode()) % 2 == 0


def brief(body: dict, path: str) -> dict:
    """A body whose answer is short. Half of them lose most parameters: of all at once, some always exclude each other."""
    body = dict(body)
    if chosen(body):
        required = {"messages", "input", "question"}
        body = {name: value for name, value in body.items() if name in required or zlib.crc32(repr((name, value)).encode()) % 8 == 0}
        for name in ("messages", "input"):
            if name in body and chosen(body[name]):
                body[name] = [{"role": "user", "content": "Hello"}]
    for name in LIMITS[path]:
        limit = body.get(name)
        if limit is None or limit == -1 or isinstance(limit, (int, float)) and limit > TOKENS:
            body[name] = TOKENS
    return body


@schemathesis.hook
def before_call(context, case, kwargs):
    path, method = case.operation.path, case.operation.method.upper()
    kind = next((kind for kind in sorted(KNOWN, key=len, reverse=True) if path.startswith(kind + "/{")), None)
    if kind and "id" in case.path_parameters and chosen(case.path_parameters["id"]):
        ids = KNOWN[kind]
        case.path_parameters["id"] = ids.get("delete", ids["keep"]) if method == "DELETE" else ids["keep"]
        if path.endswith("/sprites/{name}"):
            case.path_parameters["name"] = "0.jpg"
    if case.media_type == "multipart/form-data" and isinstance(case.body, dict) and chosen(case.body.get("purpose")):
        case.body["file"] = CLIP
    if path in LIMITS and isinstance(case.body, dict):
        case.body = brief(case.body, path)


@schemathesis.serializer("application/offset+octet-stream")
def part_of_an_upload(context, value):
    return value if isinstance(value, bytes) else str(value).encode()
