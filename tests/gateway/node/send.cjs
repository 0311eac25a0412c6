// node send.cjs PROTOCOL URL: send one trace of two spans, and print its id once the gateway has accepted it.
"use strict";

const { context, trace } = require("@opentelemetry/api");
const { providerFor, AGENT, CHAT } = require("./telemetry.cjs");

async function main(protocol, url) {
  const provider = providerFor("shop", protocol, url);
  const tracer = provider.getTracer("test");
  const root = tracer.startSpan("agent", { attributes: AGENT });
  tracer.startSpan("chat", { attributes: CHAT }, trace.setSpan(context.active(), root)).end();
  root.end();
  await provider.forceFlush();
  await provider.shutdown();
  console.log(root.spanContext().traceId);
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
