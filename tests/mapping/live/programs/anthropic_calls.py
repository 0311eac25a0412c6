"""Calls of the anthropic client, under one of its instrumentors: messages, streams, tools, an error."""

import sys

import anthropic

import pandaprobe_otel

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
MODEL = "claude-sonnet-4-5"


def instrument(name: str) -> None:
    if name == "openinference":
        from openinference.instrumentation.anthropic import AnthropicInstrumentor

        AnthropicInstrumentor().instrument()
    elif name == "otel_genai":
        from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor

        AnthropicInstrumentor().instrument()
    elif name == "traceloop":
        from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

        AnthropicInstrumentor().instrument()
    elif name == "logfire":
        import logfire

        logfire.configure(
            send_to_logfire=False, console=False, additional_span_processors=[pandaprobe_otel.PandaProbeSpanProcessor()]
        )
        logfire.instrument_anthropic()
    elif name != "native":  # the client's own telemetry needs only a tracer provider
        raise ValueError(name)


def ask(client: anthropic.Anthropic, text: str, **more: object) -> anthropic.types.Message:
    return client.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": text}], **more)


def messages(client: anthropic.Anthropic) -> None:
    ask(client, "Weather in Lisbon?", system="Be brief.")


def stream(client: anthropic.Anthropic) -> None:
    events = ask(client, "Weather in Lisbon, word by word?", stream=True)
    assert sum(1 for _ in events) > 3


def stream_helper(client: anthropic.Anthropic) -> None:
    given = [{"role": "user", "content": "Weather in Lisbon, by the helper?"}]
    with client.messages.stream(model=MODEL, max_tokens=100, messages=given) as helper:
        helper.until_done()


def tools(client: anthropic.Anthropic) -> None:
    asked = {"role": "user", "content": "Ask the tool about Lisbon."}
    said = client.messages.create(model=MODEL, max_tokens=100, messages=[asked], tools=[WEATHER])
    call = said.content[0]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "windy, 17 degrees"}
    given = [asked, {"role": "assistant", "content": said.content}, {"role": "user", "content": [result]}]
    client.messages.create(model=MODEL, max_tokens=100, messages=given, tools=[WEATHER])


def tools_stream(client: anthropic.Anthropic) -> None:
    events = ask(client, "Ask the tool about Lisbon, in a stream.", tools=[WEATHER], stream=True)
    assert sum(1 for _ in events) > 3


def cached(client: anthropic.Anthropic) -> None:
    block = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    parts = [{"type": "text", "text": "Weather in Lisbon, from the cache?"}]
    client.messages.create(model=MODEL, max_tokens=100, system=[block], messages=[{"role": "user", "content": parts}])


def busy(client: anthropic.Anthropic) -> None:
    try:
        ask(client, "BUSY")
    except anthropic.RateLimitError:
        return
    raise AssertionError("no error")


if __name__ == "__main__":
    _, instrumentor, *scenarios = sys.argv
    if instrumentor != "logfire":
        pandaprobe_otel.init(instrument=False)
    instrument(instrumentor)
    with anthropic.Anthropic(max_retries=0) as client:
        for scenario in scenarios:
            globals()[scenario](client)
    if instrumentor == "logfire":
        import logfire

        logfire.force_flush()
    pandaprobe_otel.flush(20)
