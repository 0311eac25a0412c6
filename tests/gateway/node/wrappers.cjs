// node wrappers.cjs MODEL_URL OTHER_URL: call a model twice through each client that PandaProbe's own SDK wraps, with
// and without streaming. The SDK reads PANDAPROBE_* and sends its traces when the program ends.
"use strict";

const { pathToFileURL } = require("node:url");
const { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } = require("@aws-sdk/client-bedrock-runtime");
const { NodeHttpHandler } = require("@smithy/node-http-handler");
const Anthropic = require("@anthropic-ai/sdk");
const { GoogleGenAI } = require("@google/genai");
const OpenAI = require("openai");
const { wrapAnthropic } = require("pandaprobe/wrappers/anthropic");
const { wrapBedrock } = require("pandaprobe/wrappers/bedrock");
const { wrapGemini } = require("pandaprobe/wrappers/gemini");
const { wrapMistral } = require("pandaprobe/wrappers/mistral");
const { wrapOpenAI } = require("pandaprobe/wrappers/openai");

const [modelUrl, otherUrl] = process.argv.slice(2); // otherUrl: Mistral and Bedrock
const question = "Where is my parcel?";
const messages = [{ role: "user", content: question }];
const parameters = { type: "object", properties: { parcel: { type: "string" } }, required: ["parcel"] };
const track = { name: "track_parcel", description: "Find a parcel." };
const polite = [{ role: "user", content: "Thank you!" }];

async function drained(stream) {
  for await (const _ of stream);
}

async function openai() {
  const client = wrapOpenAI(new OpenAI({ apiKey: "k", baseURL: `${modelUrl}/v1` }));
  const tools = [{ type: "function", function: { ...track, parameters } }];
  await client.chat.completions.create({ model: "gpt-5", messages, tools, temperature: 0.5 });
  const streamed = { model: "gpt-5-mini", messages: polite, stream: true, stream_options: { include_usage: true } };
  await drained(await client.chat.completions.create(streamed));
}

async function anthropic() {
  const client = wrapAnthropic(new Anthropic({ apiKey: "k", baseURL: modelUrl }));
  const tools = [{ ...track, input_schema: parameters }];
  await client.messages.create({ model: "claude-opus", max_tokens: 99, messages, tools });
  await drained(await client.messages.create({ model: "claude-haiku", max_tokens: 99, messages: polite, stream: true }));
}

async function gemini() {
  const client = wrapGemini(new GoogleGenAI({ apiKey: "k", httpOptions: { baseUrl: modelUrl } }));
  const config = { tools: [{ functionDeclarations: [{ ...track, parametersJsonSchema: parameters }] }] };
  await client.models.generateContent({ model: "gemini-pro", contents: question, config });
  await drained(await client.models.generateContentStream({ model: "gemini-flash", contents: polite[0].content }));
}

async function mistral() {
  const { Mistral } = await import(pathToFileURL(require.resolve("@mistralai/mistralai")));
  const client = wrapMistral(new Mistral({ apiKey: "k", serverURL: otherUrl }));
  const tools = [{ type: "function", function: { ...track, parameters } }];
  await client.chat.complete({ model: "mistral-large", messages, tools });
  await drained(await client.chat.stream({ model: "mistral-small", messages: polite }));
}

async function bedrock() {
  const client = wrapBedrock(
    new BedrockRuntimeClient({
      region: "eu-west-1",
      endpoint: otherUrl,
      credentials: { accessKeyId: "k", secretAccessKey: "k" },
      requestHandler: new NodeHttpHandler(), // the client's default handler uses HTTP/2 only
    }),
  );
  const asked = { modelId: "amazon.nova-micro-v1:0", messages: [{ role: "user", content: [{ text: question }] }] };
  await client.send(new ConverseCommand(asked));
  await drained((await client.send(new ConverseStreamCommand(asked))).stream);
}

async function main() {
  for (const ask of [openai, anthropic, gemini, mistral, bedrock]) await ask();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
