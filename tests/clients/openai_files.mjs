// Uploads a clip once with OpenAI's client for Node and asks about it by its id: openai_files.mjs BASE_URL FILE QUESTION.
// Prints what it was told as JSON.

import { readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";

const [url, file, question] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const content = readFileSync(file);
const made = await client.files.create({
  file: await toFile(content, "clip.mp4", { type: "video/mp4" }),
  purpose: "user_data",
  expires_after: { anchor: "created_at", seconds: 3600 },
});
const other = await client.files.create({ file: await toFile(content, "second.mp4"), purpose: "vision" });
// The client asks for the next page by itself.
const listed = [];
for await (const found of client.files.list({ limit: 1 })) listed.push(found.id);
const part = { type: "file", file: { file_id: made.id } };
const messages = [{ role: "user", content: [part, { type: "text", text: question }] }];
const answer = await client.chat.completions.create({ model: "demo", messages, temperature: 0 });
const downloaded = Buffer.from(await (await client.files.content(other.id)).arrayBuffer());
const deleted = await client.files.delete(made.id);
const gone = await client.files.retrieve(made.id).catch((error) => error.status);
const refused = await client.files
  .create({ file: await toFile(Buffer.from("some text"), "notes.txt"), purpose: "user_data" })
  .catch((error) => error.param);

console.log(JSON.stringify({
  file: made,
  same: (await client.files.retrieve(other.id)).filename === "second.mp4",
  listed: listed.length === 2 && listed[0] === other.id && listed[1] === made.id,
  content: downloaded.equals(content),
  answer: answer.choices[0].message.content,
  deleted: deleted.deleted,
  gone,
  refused,
}));
