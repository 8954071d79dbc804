"""Asks a server with pydantic-ai and instructor, in their default modes: pydantic_client.py BASE_URL PICTURE QUESTION.

Prints what it was told as JSON.
"""

import json
import sys
from typing import Literal

import instructor
import openai
from pydantic import BaseModel, Field
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

url, picture, question = sys.argv[1:]


class Sighting(BaseModel):
    """Reports an object."""

    shape: Literal["star", "square", "circle"]
    second: int = Field(ge=0, le=59)


model = OpenAIChatModel("demo", provider=OpenAIProvider(base_url=url, api_key="unused"))
with open(picture, "rb") as file:
    image = BinaryContent(data=file.read(), media_type="image/png")
text = Agent(model).run_sync([question, image], model_settings={"temperature": 0}).output
agent = Agent(model, output_type=Sighting)
default = agent.run_sync(["What is there?", image], model_settings={"temperature": 0}).output

client = instructor.from_openai(openai.OpenAI(base_url=url, api_key="unused", max_retries=0))
instructed = client.chat.completions.create(
    model="demo", temperature=0, response_model=Sighting, messages=[{"role": "user", "content": "What is there?"}]
)
json.dump(
    {"text": text, "default": default.model_dump(), "instructor": instructed.model_dump()},
    sys.stdout,
)
