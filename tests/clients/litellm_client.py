"""Asks a server with LiteLLM: litellm_client.py BASE_URL FILE QUESTION. Prints what it was told as JSON."""

import base64
import json
import os
import sys

# The table of prices is in the package; it would be fetched otherwise.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

# It prints advice about errors to the standard output.
litellm.suppress_debug_info = True

url, file, question = sys.argv[1:]
with open(file, "rb") as clip:
    data = base64.b64encode(clip.read()).decode()
video = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{data}"}}
messages = [{"role": "user", "content": [video, {"type": "text", "text": question}]}]
settings = {"model": "openai/demo", "api_base": url, "api_key": "unused", "temperature": 0, "messages": messages}

whole = litellm.completion(**settings)
chunks = litellm.completion(**settings, stream=True)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
try:
    litellm.completion(**{**settings, "temperature": 9})
    error = None
except litellm.BadRequestError as problem:
    error = "temperature" in str(problem)
json.dump({"whole": whole.choices[0].message.content, "streamed": streamed, "error": error}, sys.stdout)
