"""Calls of the openai client, under one of its instrumentors: chat, streams, tools, an error, responses, embeddings."""

import sys

import openai

import pandaprobe_otel

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
MODEL = "gpt-4o-mini"


def instrument(name: str) -> None:
    if name == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument()
    elif name == "otel_genai":
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument()
    elif name == "otel_v2":
        from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

        OpenAIInstrumentor().instrument()
    elif name == "traceloop":
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument()
    elif name == "traceloop_events":
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor(use_legacy_attributes=False).instrument()
    elif name == "logfire":
        import logfire

        logfire.configure(
            send_to_logfire=False, console=False, additional_span_processors=[pandaprobe_otel.PandaProbeSpanProcessor()]
        )
        logfire.instrument_openai()
    else:
        raise ValueError(name)


def chat(client: openai.OpenAI) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather in Lisbon?"}]
    client.chat.completions.create(model=MODEL, messages=messages, temperature=0.2)


def stream(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Weather in Lisbon, word by word?"}]
    chunks = client.chat.completions.create(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    assert sum(1 for _ in chunks) > 3


def tools(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Ask the tool about Lisbon."}]
    offered = [{"type": "function", "function": WEATHER}]
    said = client.chat.completions.create(model=MODEL, messages=messages, tools=offered).choices[0].message
    messages += [
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": said.tool_calls[0].id,
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": said.tool_calls[0].function.arguments},
                }
            ],
        },
        {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "windy, 17 degrees"},
    ]
    client.chat.completions.create(model=MODEL, messages=messages, tools=offered)


def busy(client: openai.OpenAI) -> None:
    try:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "BUSY"}])
    except openai.RateLimitError:
        return
    raise AssertionError("no error")


def responses(client: openai.OpenAI) -> None:
    client.responses.create(model=MODEL, instructions="Be brief.", input="Weather in Lisbon, as a response?")


def tools_stream(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Ask the tool about Lisbon, in a stream."}],
        tools=[{"type": "function", "function": WEATHER}],
        stream=True,
        stream_options={"include_usage": True},
    )
    assert sum(1 for _ in chunks) > 2


def no_usage(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Weather in Lisbon, uncounted?"}]
    assert sum(1 for _ in client.chat.completions.create(model=MODEL, messages=messages, stream=True)) > 3


def image(client: openai.OpenAI) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    parts = [{"type": "text", "text": "Which city is this?"}, picture]
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}])


def responses_stream(client: openai.OpenAI) -> None:
    events = client.responses.create(model=MODEL, input="Weather in Lisbon, response by response?", stream=True)
    assert sum(1 for _ in events) > 3


def responses_tools(client: openai.OpenAI) -> None:
    asked = {"role": "user", "content": "Ask the tool about Lisbon, by responses."}
    said = client.responses.create(model=MODEL, input=[asked], tools=[{"type": "function", **WEATHER}]).output[0]
    call = {"type": "function_call", "call_id": said.call_id, "name": said.name, "arguments": said.arguments}
    result = {"type": "function_call_output", "call_id": said.call_id, "output": "windy, 17 degrees"}
    client.responses.create(model=MODEL, input=[asked, call, result])


def embeddings(client: openai.OpenAI) -> None:
    client.embeddings.create(model="text-embedding-3-small", input="alpha")


if __name__ == "__main__":
    _, instrumentor, *scenarios = sys.argv
    if instrumentor != "logfire":
        pandaprobe_otel.init(instrument=False)
    instrument(instrumentor)
    with openai.OpenAI(max_retries=0) as client:
        for scenario in scenarios:
            globals()[scenario](client)
    if instrumentor == "logfire":
        import logfire

        logfire.force_flush()
    pandaprobe_otel.flush(20)
