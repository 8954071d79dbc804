// Asks a server with Vercel's AI SDK, by its provider for compatible servers and by OpenAI's own:
// ai_sdk_client.mjs BASE_URL FILE QUESTION. Prints what it was told as JSON.

import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [url, file, question] = process.argv.slice(2);
const compatible = createOpenAICompatible({ name: "homereel", baseURL: url, supportsStructuredOutputs: true });
const model = compatible("demo");
const video = { type: "file", data: readFileSync(file), mediaType: "video/mp4" };
const messages = [{ role: "user", content: [video, { type: "text", text: question }] }];
const asked = { model, temperature: 0, maxRetries: 0 };
const sighting = z.object({ shape: z.enum(["star", "square"]), second: z.number().int().min(0).max(59) });

const whole = await generateText({ ...asked, messages });
const stream = streamText({ ...asked, messages });
let streamed = "";
for await (const text of stream.textStream) streamed += text;
const called = await generateText({
  ...asked,
  messages,
  tools: { report: tool({ description: "Reports an object.", inputSchema: sighting }) },
  toolChoice: "required",
});
const object = await generateObject({ ...asked, messages, schema: sighting });
const provider = createOpenAI({ baseURL: url, apiKey: "unused" });
const chat = provider.chat("demo");
const openai = await generateText({ model: chat, temperature: 0, maxRetries: 0, prompt: "What color is the object?" });

// The default of OpenAI's provider is the Responses API. It passes on files that OpenAI does not know.
async function byResponses() {
  const providerOptions = { openai: { passThroughUnsupportedFiles: true } };
  const asked = { model: provider("demo"), temperature: 0, maxRetries: 0, messages, providerOptions };
  const inputSchema = sighting;
  const report = tool({ description: "Reports an object.", inputSchema, execute: async () => "noted" });
  const whole = await generateText(asked);
  const stream = streamText(asked);
  let streamed = "";
  for await (const text of stream.textStream) streamed += text;
  // Two steps: the call, then the answer to its result.
  const called = await generateText({
    ...asked,
    tools: { report },
    stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
  });
  const object = await generateObject({ ...asked, schema: sighting });
  // The history refers to stored items by their ids.
  const next = { role: "user", content: "What color is the object?" };
  const history = [...messages, ...whole.response.messages, next];
  const continued = await generateText({ ...asked, messages: history });
  const previousResponseId = whole.providerMetadata.openai.responseId;
  const byId = { openai: { ...providerOptions.openai, previousResponseId } };
  const followed = await generateText({ ...asked, messages: [next], providerOptions: byId });
  return {
    whole: whole.text,
    streamed,
    finish: await stream.finishReason,
    steps: called.steps.length,
    call: called.steps[0].toolCalls[0].toolName,
    arguments: called.steps[0].toolCalls[0].input,
    object: object.object,
    continued: continued.text.length > 0 && followed.text.length > 0,
  };
}

console.log(JSON.stringify({
  whole: whole.text,
  tokens: whole.usage.outputTokens,
  streamed,
  finish: await stream.finishReason,
  call: called.toolCalls[0].toolName,
  arguments: called.toolCalls[0].input,
  object: object.object,
  openai: openai.text.length > 0,
  responses: await byResponses(),
}));
