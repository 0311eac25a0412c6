// node vercel_ai.cjs PROTOCOL OTLP_URL MODEL_URL: run an agent of the Vercel AI SDK with one tool, without and with
// streaming. OpenTelemetry's exporter sends the SDK's own telemetry.
"use strict";

const { createOpenAICompatible } = require("@ai-sdk/openai-compatible");
const { context } = require("@opentelemetry/api");
const { AsyncLocalStorageContextManager } = require("@opentelemetry/context-async-hooks");
const { generateText, stepCountIs, streamText, tool } = require("ai");
const { z } = require("zod");
const { providerFor } = require("./telemetry.cjs");

async function main(protocol, otlpUrl, modelUrl) {
  const provider = providerFor("shop", protocol, otlpUrl);
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable()); // gives spans their parents
  const tracer = provider.getTracer("ai");
  const models = createOpenAICompatible({ name: "scripted", baseURL: `${modelUrl}/v1`, apiKey: "k", includeUsage: true });
  const tools = {
    track_parcel: tool({
      description: "Find a parcel.",
      inputSchema: z.object({ parcel: z.string() }),
      execute: async ({ parcel }) => ({ parcel, state: "on its way" }),
    }),
  };
  const asked = (functionId) => ({
    model: models("gpt-5"),
    system: "You help customers.",
    prompt: "Where is my parcel?",
    tools,
    stopWhen: stepCountIs(3),
    experimental_telemetry: { isEnabled: true, tracer, functionId, metadata: { userId: "mira", sessionId: "chat-1" } },
  });
  await generateText(asked("whole"));
  const streamed = streamText(asked("streamed"));
  for await (const _ of streamed.textStream);
  await provider.forceFlush();
  await provider.shutdown();
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
