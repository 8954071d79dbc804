// Asks a server by the Responses API with OpenAI's client for Node: responses_client.mjs BASE_URL FILE QUESTION. Prints what it
// was told as JSON.

import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const [url, file, question] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const data = readFileSync(file).toString("base64");
const video = { type: "input_file", filename: "clip.mp4", file_data: `data:video/mp4;base64,${data}` };
const content = [video, { type: "input_text", text: question }];
const asked = { model: "demo", temperature: 0, input: [{ role: "user", content }] };
const sighting = z.object({ shape: z.enum(["star", "square"]), second: z.number().int().min(0).max(59) });
const parameters = {
  type: "object",
  properties: { shape: { enum: ["star", "square"] }, second: { type: "integer", minimum: 0, maximum: 59 } },
  required: ["shape", "second"],
  additionalProperties: false,
};
const tools = [{ type: "function", name: "report", description: "Reports an object.", parameters, strict: true }];
const required = { ...asked, tools, tool_choice: "required" };

const whole = await client.responses.create(asked);
let streamed = "";
for await (const event of await client.responses.create({ ...asked, stream: true })) {
  if (event.type === "response.output_text.delta") streamed += event.delta;
}
const accumulated = await client.responses.stream(asked).finalResponse();
const called = await client.responses.create(required);
const call = called.output[0];
const calling = await client.responses.stream(required).finalResponse();
const result = { type: "function_call_output", call_id: call.call_id, output: "noted" };
const after = await client.responses.create({ model: "demo", previous_response_id: called.id, input: [result], tools });
const structured = await client.responses.parse({ ...asked, text: { format: zodTextFormat(sighting, "sighting") } });
const next = "What color is the object?";
const continued = await client.responses.create({ model: "demo", previous_response_id: whole.id, input: next });
const items = [];
for await (const item of client.responses.inputItems.list(continued.id, { order: "asc", limit: 2 })) items.push(item.type);
const error = await client.responses.create({ ...asked, temperature: 9 }).catch((error) => error);
const kept = await client.responses.retrieve(whole.id);
await client.responses.delete(whole.id);
const gone = await client.responses.retrieve(whole.id).catch((error) => error);

console.log(JSON.stringify({
  whole: whole.output_text,
  streamed,
  status: accumulated.status,
  call: call.name,
  arguments: JSON.parse(call.arguments),
  streamed_arguments: JSON.parse(calling.output[0].arguments),
  structured: structured.output_parsed,
  after_the_call: after.output_text.length > 0,
  continued: continued.output_text.length > 0 && items.length === 3,
  kept: kept.output_text === whole.output_text,
  deleted: gone.status === 404,
  error: [error.status, error.param],
}));
