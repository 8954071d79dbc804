"""Serves transformers behind OpenAI's chat endpoint, so that `homereel-bench serve` can measure it like other servers.
Streams, counts tokens, accepts `video_url` and `image_url` as data: URLs; one request at a time. For benchmarks on loopback
only: it does not validate requests.

usage: python scripts/peers/transformers_server.py CHECKPOINT --port PORT [--dtype float32] [--name NAME]
       (with torch and transformers, as vLLM's environment has them)
"""

import argparse
import base64
import json
import os
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.generation.streamers import BaseStreamer


class Chunks(BaseStreamer):
    """Sends each token's text as soon as it is generated; an incomplete character waits for the rest."""

    def __init__(self, tokenizer, send):
        self.tokenizer, self.send = tokenizer, send
        self.ids, self.sent, self.prompt = [], "", True

    def put(self, value):
        if self.prompt:  # transformers puts the prompt first
            self.prompt = False
            return
        self.ids += value.flatten().tolist()
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True)
        if not text.endswith("\ufffd") and len(text) > len(self.sent):
            self.send(text[len(self.sent) :])
            self.sent = text

    def end(self):
        pass


class Model:
    def __init__(self, checkpoint, dtype, name):
        self.name = name
        self.processor = AutoProcessor.from_pretrained(checkpoint)
        self.model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=getattr(torch, dtype)).eval()
        self.lock = threading.Lock()

    def messages(self, body, folder):
        """Converts the request's messages to transformers' format; media are written to `folder`."""
        made = []
        for message in body["messages"]:
            content = message["content"]
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            parts = []
            for n, part in enumerate(content):
                kind = part["type"]
                if kind == "text":
                    parts.append(part)
                    continue
                head, data = part[kind]["url"].split(",", 1)
                path = os.path.join(folder, f"{n}.{head.split('/')[1].split(';')[0].split('-')[-1]}")
                with open(path, "wb") as file:
                    file.write(base64.b64decode(data))
                parts.append({"type": kind.removesuffix("_url"), "url": path})
            made.append({"role": message["role"], "content": parts})
        return made

    def answer(self, body, send):
        """Generates; returns (prompt tokens, answer tokens)."""
        with self.lock, tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            inputs = self.processor.apply_chat_template(
                self.messages(body, folder), tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
            inputs = inputs.to(self.model.dtype)
            limit = body.get("max_completion_tokens") or body.get("max_tokens") or 128
            warm = body.get("temperature") or 0
            flags = {"do_sample": True, "temperature": warm} if warm > 0 else {"do_sample": False}
            if body.get("ignore_eos"):
                flags["min_new_tokens"] = limit
            chunks = Chunks(self.processor.tokenizer, send)
            self.model.generate(**inputs, max_new_tokens=limit, streamer=chunks, **flags)
            return inputs["input_ids"].shape[1], len(chunks.ids)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise the second of two small writes waits until the first is acknowledged.
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def reply(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/health":
            return self.reply(200, {})
        if self.path == "/v1/models":
            return self.reply(200, {"object": "list", "data": [{"id": self.server.model.name, "object": "model"}]})
        self.reply(404, {"error": {"message": "there is /v1/models and /v1/chat/completions"}})

    def event(self, value):
        data = b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            return self.reply(404, {"error": {"message": "there is /v1/models and /v1/chat/completions"}})
        common = {"id": "chatcmpl-0", "created": int(time.time()), "model": self.server.model.name}
        chunk = {**common, "object": "chat.completion.chunk"}
        usage = lambda prompt, answer: {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
        if not body.get("stream"):
            texts = []
            counted = self.server.model.answer(body, texts.append)
            message = {"role": "assistant", "content": "".join(texts)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return self.reply(200, {**common, "object": "chat.completion", "choices": [choice], "usage": usage(*counted)})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        choice = lambda delta, reason=None: {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        try:
            counted = self.server.model.answer(body, lambda text: self.event(choice({"content": text})))
            self.event(choice({}, "stop"))
            self.event({**chunk, "choices": [], "usage": usage(*counted)})
        except OSError:
            raise
        except Exception as error:  # sent to the client, as other servers do
            self.event({"error": {"message": f"{type(error).__name__}: {error}"}})
        self.event(b"[DONE]")
        self.wfile.write(b"0\r\n\r\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--name", help="the model's name [default: the directory's]")
    flags = parser.parse_args()
    name = flags.name or os.path.basename(os.path.realpath(flags.checkpoint))
    server = ThreadingHTTPServer(("127.0.0.1", flags.port), Handler)
    server.model = Model(flags.checkpoint, flags.dtype, name)
    print(f"ready: {name} on {flags.port}", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
