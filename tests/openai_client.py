"""Asks a server about a clip with OpenAI's own client: openai_client.py BASE_URL FILE QUESTION.

Prints one JSON object: the answer whole and streamed, the usage, the models, and the class of the error
that a bad request raises. `tests/openai.rs` reads it.
"""

import base64
import json
import sys

import openai

url, file, question = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key="unused", max_retries=0, timeout=60)
models = [model.id for model in client.models.list()]
with open(file, "rb") as clip:
    data = base64.b64encode(clip.read()).decode()
video = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{data}"}}
messages = [{"role": "user", "content": [video, {"type": "text", "text": question}]}]

whole = client.chat.completions.create(model=models[0], messages=messages, temperature=0)
stream = client.chat.completions.create(model=models[0], messages=messages, temperature=0, stream=True)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
try:
    client.chat.completions.create(model=models[0], messages=messages, temperature=-1)
    error = None
except openai.APIStatusError as problem:
    error = type(problem).__name__

usage = whole.usage.model_dump(exclude_none=True)
json.dump(
    {
        "whole": whole.choices[0].message.content,
        "streamed": streamed,
        "usage": usage,
        "models": models,
        "error": error,
        "base64": data,
    },
    sys.stdout,
)
