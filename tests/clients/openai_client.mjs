// Asks a server with OpenAI's client for Node: openai_client.mjs BASE_URL FILE QUESTION. Prints what it was told as JSON.

import { readFileSync } from "node:fs";
import OpenAI from "openai";

const [url, file, question] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const data = readFileSync(file).toString("base64");
const video = { type: "video_url", video_url: { url: `data:video/mp4;base64,${data}` } };
const messages = [{ role: "user", content: [video, { type: "text", text: question }] }];
const asked = { model: "demo", temperature: 0, messages };
const parameters = {
  type: "object",
  properties: { shape: { enum: ["star", "square"] }, second: { type: "integer", minimum: 0, maximum: 59 } },
  required: ["shape", "second"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "report", description: "Reports an object.", parameters } }];

const whole = await client.chat.completions.create(asked);
const stream = client.chat.completions.stream(asked);
let streamed = "";
for await (const chunk of stream) streamed += chunk.choices[0]?.delta.content ?? "";
const called = await client.chat.completions.create({ ...asked, tools, tool_choice: "required" });
const calling = client.chat.completions.stream({ ...asked, tools, tool_choice: "required" });
const call = (await calling.finalChatCompletion()).choices[0].message.tool_calls[0];
const structured = await client.chat.completions.create({
  ...asked,
  response_format: { type: "json_schema", json_schema: { name: "sighting", strict: true, schema: parameters } },
});
const several = await client.chat.completions.create({ ...asked, n: 2 });

// Leaving in the middle of an answer ends it without an error.
const left = client.chat.completions.stream({ ...asked, max_tokens: 500, ignore_eos: true });
let aborted = false;
try {
  for await (const chunk of left) left.controller.abort();
} catch (error) {
  aborted = error instanceof OpenAI.APIUserAbortError;
}
const error = await client.chat.completions.create({ ...asked, temperature: 9 }).catch((error) => error);

console.log(JSON.stringify({
  whole: whole.choices[0].message.content,
  streamed,
  call: called.choices[0].message.tool_calls[0].function.name,
  finish: called.choices[0].finish_reason,
  index: "index" in called.choices[0].message.tool_calls[0],
  arguments: JSON.parse(called.choices[0].message.tool_calls[0].function.arguments),
  streamed_arguments: JSON.parse(call.function.arguments),
  structured: JSON.parse(structured.choices[0].message.content),
  several: several.choices.map((choice) => choice.message.content),
  aborted: aborted || left.aborted,
  error: [error.status, error.param],
}));
