// node service.cjs OTLP_URL NEXT_URL: a service between two others. It continues its caller's trace, calls the next
// service in this trace, and answers once the gateway has its own spans. It prints the port on which it listens.
"use strict";

const http = require("node:http");
const { ROOT_CONTEXT, SpanKind, defaultTextMapGetter, defaultTextMapSetter, trace } = require("@opentelemetry/api");
const { W3CTraceContextPropagator } = require("@opentelemetry/core");
const { providerFor, CHAT } = require("./telemetry.cjs");

const [otlpUrl, nextUrl] = process.argv.slice(2);
const provider = providerFor("middle", "http/protobuf", otlpUrl);
const tracer = provider.getTracer("test");
const propagator = new W3CTraceContextPropagator();

const server = http.createServer(async (request, response) => {
  const caller = propagator.extract(ROOT_CONTEXT, request.headers, defaultTextMapGetter);
  const span = tracer.startSpan("search", { kind: SpanKind.SERVER, attributes: CHAT }, caller);
  const headers = {};
  propagator.inject(trace.setSpan(caller, span), headers, defaultTextMapSetter);
  const answer = await fetch(nextUrl, { headers });
  span.end();
  await provider.forceFlush();
  response.end(await answer.text());
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
