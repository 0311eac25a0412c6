// A provider whose spans go to a gateway through one of OpenTelemetry's three OTLP exporters.
"use strict";

const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");

const PACKAGES = {
  "http/json": "@opentelemetry/exporter-trace-otlp-http",
  "http/protobuf": "@opentelemetry/exporter-trace-otlp-proto",
  grpc: "@opentelemetry/exporter-trace-otlp-grpc",
};

function providerFor(service, protocol, url) {
  const { OTLPTraceExporter } = require(PACKAGES[protocol]);
  const exporter = new OTLPTraceExporter({ url, compression: "gzip" });
  return new BasicTracerProvider({
    resource: resourceFromAttributes({ "service.name": service }),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  });
}

const AGENT = { "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk" };
const CHAT = {
  "gen_ai.operation.name": "chat",
  "gen_ai.request.model": "m",
  "gen_ai.usage.input_tokens": 12,
  "gen_ai.usage.output_tokens": 3,
  "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"where is it?"}]}]',
  "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"on its way"}]}]',
};

module.exports = { providerFor, AGENT, CHAT };
