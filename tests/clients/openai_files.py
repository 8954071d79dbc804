"""Uploads a clip once with OpenAI's client and asks about it by its id: openai_files.py BASE_URL FILE QUESTION.

Prints one JSON object; `tests/clients.rs` reads it.
"""

import json
import sys

import openai

url, file, question = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key="unused", max_retries=0, timeout=60)
with open(file, "rb") as clip:
    content = clip.read()
made = client.files.create(
    file=("clip.mp4", content, "video/mp4"),
    purpose="user_data",
    expires_after={"anchor": "created_at", "seconds": 3600},
)
other = client.files.create(file=("second.mp4", content), purpose="vision")
# The client asks for the next page by itself.
listed = [found.id for found in client.files.list(limit=1)]
part = {"type": "file", "file": {"file_id": made.id}}
messages = [{"role": "user", "content": [part, {"type": "text", "text": question}]}]
answer = client.chat.completions.create(model="demo", messages=messages, temperature=0)
deleted = client.files.delete(made.id)
try:
    client.files.retrieve(made.id)
    gone = None
except openai.NotFoundError as error:
    gone = error.status_code
try:
    client.files.create(file=("notes.txt", b"some text"), purpose="user_data")
    refused = None
except openai.BadRequestError as error:
    refused = error.param
json.dump(
    {
        "file": made.model_dump(),
        "same": client.files.retrieve(other.id) == other,
        "listed": listed == [other.id, made.id],
        "content": client.files.content(other.id).read() == content,
        "answer": answer.choices[0].message.content,
        "deleted": deleted.deleted,
        "gone": gone,
        "refused": refused,
    },
    sys.stdout,
)
