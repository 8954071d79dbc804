"""Asks a server by the Responses API with OpenAI's client: responses_client.py BASE_URL FILE QUESTION.

Every response and event is validated against the client's own types. Prints what it was told as JSON.
"""

import base64
import json
import sys
from typing import Literal

import openai
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from pydantic import BaseModel, Field, TypeAdapter

url, file, question = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key="unused", max_retries=0, timeout=60)
with open(file, "rb") as clip:
    data = base64.b64encode(clip.read()).decode()
video = {"type": "input_file", "filename": "clip.mp4", "file_data": f"data:video/mp4;base64,{data}"}
content = [video, {"type": "input_text", "text": question}]
asked = {"model": "demo", "temperature": 0, "input": [{"role": "user", "content": content}]}


class Sighting(BaseModel):
    """Reports an object."""

    shape: Literal["star", "square"]
    second: int = Field(ge=0, le=59)


parameters = {
    "type": "object",
    "properties": {"shape": {"enum": ["star", "square"]}, "second": {"type": "integer", "minimum": 0, "maximum": 59}},
    "required": ["shape", "second"],
    "additionalProperties": False,
}
tools = [{"type": "function", "name": "report", "description": "Reports an object.", "parameters": parameters, "strict": True}]


def create(**settings):
    """Returns a response, strictly validated."""
    text = client.responses.with_raw_response.create(**settings).text
    return Response.model_validate_json(text() if callable(text) else text)


def stream(**settings):
    """Returns the events of a response, strictly validated."""
    event_type = TypeAdapter(ResponseStreamEvent)
    events = [event_type.validate_python(event.model_dump(by_alias=True)) for event in client.responses.create(stream=True, **settings)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed", events[-1]
    return events


whole = create(**asked)
called = create(**asked, tools=tools, tool_choice="required")
call = called.output[0]
result = {"type": "function_call_output", "call_id": call.call_id, "output": "noted"}
calling = [event for event in stream(**asked, tools=tools, tool_choice="required") if event.type.endswith("arguments.delta")]
after = create(model="demo", previous_response_id=called.id, input=[result], tools=tools)
continued = create(model="demo", previous_response_id=whole.id, input="What color is the object?", temperature=0)
items = client.responses.input_items.list(continued.id, order="asc", limit=1)
pages = [item.type for item in items]
with client.responses.stream(**asked) as accumulated:
    final = accumulated.get_final_response()
try:
    create(**{**asked, "temperature": 9})
    error = None
except openai.BadRequestError as problem:
    error = [problem.status_code, problem.param]
kept = Response.model_validate_json(client.responses.with_raw_response.retrieve(whole.id).http_response.text)
client.responses.delete(whole.id)
try:
    client.responses.retrieve(whole.id)
    deleted = False
except openai.NotFoundError:
    deleted = True
json.dump(
    {
        "whole": whole.output_text,
        "streamed": "".join(event.delta for event in stream(**asked) if event.type == "response.output_text.delta"),
        "status": final.status,
        "call": call.name,
        "arguments": json.loads(call.arguments),
        "streamed_arguments": json.loads("".join(event.delta for event in calling if event.item_id == calling[0].item_id)),
        "structured": client.responses.parse(**asked, text_format=Sighting).output_parsed.model_dump(),
        "after_the_call": bool(after.output_text),
        "continued": bool(continued.output_text) and pages == ["message"] * 3 and final.output_text == whole.output_text,
        "kept": kept == whole,
        "deleted": deleted,
        "error": error,
    },
    sys.stdout,
)
