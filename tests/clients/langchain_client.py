"""Asks a server with LangChain: langchain_client.py BASE_URL FILE QUESTION. Prints what it was told as JSON."""

import base64
import json
import sys
from typing import Literal

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

url, file, question = sys.argv[1:]
model = ChatOpenAI(model="demo", base_url=url, api_key="unused", temperature=0, max_retries=0, timeout=60)
with open(file, "rb") as clip:
    data = base64.b64encode(clip.read()).decode()
video = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{data}"}}
message = HumanMessage([video, {"type": "text", "text": question}])


class Sighting(BaseModel):
    """Reports an object."""

    shape: Literal["star", "square", "circle"]
    second: int = Field(ge=0, le=59)


called = model.bind_tools([Sighting], tool_choice="any").invoke([message])
streamed = None
for chunk in model.bind_tools([Sighting], tool_choice="any").stream([message]):
    streamed = chunk if streamed is None else streamed + chunk
result = {"role": "tool", "tool_call_id": called.tool_calls[0]["id"], "content": "noted"}


def by_responses():
    """Asks by the Responses API."""
    model = ChatOpenAI(
        model="demo", base_url=url, api_key="unused", temperature=0, max_retries=0, timeout=60, use_responses_api=True
    )
    file = {"type": "file", "file": {"file_data": f"data:video/mp4;base64,{data}", "filename": "clip.mp4"}}
    message = HumanMessage([file, {"type": "text", "text": question}])
    called = model.bind_tools([Sighting], tool_choice="any").invoke([message])
    result = {"role": "tool", "tool_call_id": called.tool_calls[0]["id"], "content": "noted"}
    return {
        "whole": model.invoke([message]).text,
        "streamed": "".join(chunk.text for chunk in model.stream([message])),
        "call": called.tool_calls[0]["name"],
        "arguments": Sighting(**called.tool_calls[0]["args"]).model_dump(),
        "after_the_call": bool(model.bind_tools([Sighting]).invoke([message, called, result]).text),
        "structured": model.with_structured_output(Sighting).invoke([message]).model_dump(),
    }


json.dump(
    {
        "whole": model.invoke([message]).content,
        "streamed": "".join(chunk.content for chunk in model.stream([message])),
        "call": called.tool_calls[0]["name"],
        "arguments": Sighting(**called.tool_calls[0]["args"]).model_dump(),
        "streamed_arguments": Sighting(**streamed.tool_calls[0]["args"]).model_dump(),
        "after_the_call": bool(model.bind_tools([Sighting]).invoke([message, called, result]).content),
        "structured": model.with_structured_output(Sighting, method="json_schema").invoke([message]).model_dump(),
        "responses": by_responses(),
    },
    sys.stdout,
)
