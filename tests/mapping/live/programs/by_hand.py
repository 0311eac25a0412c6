"""Spans that an app makes with a vendor's SDK: Langfuse, MLflow, Logfire, plain OpenTelemetry."""

import sys

import pandaprobe_otel


def langfuse() -> None:
    from langfuse import Langfuse, get_client, observe, propagate_attributes

    Langfuse(public_key="pk-lf-1", secret_key="sk-lf-1", base_url="http://127.0.0.1:9")

    @observe(as_type="generation")
    def call(question: str) -> str:
        get_client().update_current_generation(
            model="gpt-4o-mini",
            input=[{"role": "user", "content": question}],
            output={"role": "assistant", "content": "It is windy in Lisbon, 17 degrees."},
            usage_details={"input": 83, "input_cached_tokens": 128, "output": 36, "output_reasoning_tokens": 7},
            cost_details={"input": 0.001, "output": 0.002},
        )
        return "It is windy in Lisbon, 17 degrees."

    @observe(as_type="tool")
    def get_weather(location: str) -> str:
        return "windy, 17 degrees"

    @observe(as_type="agent")
    def weather_agent(question: str) -> str:
        with propagate_attributes(session_id="session-7", user_id="user-7", tags=["live"]):
            get_weather(location="Lisbon")
            return call(question)

    weather_agent("Weather in Lisbon?")


def mlflow() -> None:
    import mlflow
    from mlflow.tracing.provider import provider

    provider.get_or_init_tracer("start")  # MLflow creates its own tracer provider with the first tracer
    provider.get().add_span_processor(pandaprobe_otel.PandaProbeSpanProcessor())

    @mlflow.trace(span_type="TOOL")
    def get_weather(location: str) -> str:
        return "windy, 17 degrees"

    @mlflow.trace(span_type="CHAT_MODEL")
    def call(messages: list) -> dict:
        span = mlflow.get_current_active_span()
        span.set_attribute("mlflow.llm.model", "gpt-4o-mini")
        counts = {"input_tokens": 211, "output_tokens": 43, "total_tokens": 254}
        span.set_attribute("mlflow.chat.tokenUsage", counts)
        return {"choices": [{"message": {"role": "assistant", "content": "It is windy in Lisbon, 17 degrees."}}]}

    @mlflow.trace(span_type="AGENT")
    def weather_agent(question: str) -> str:
        mlflow.update_current_trace(metadata={"mlflow.trace.session": "session-7", "mlflow.trace.user": "user-7"})
        get_weather(location="Lisbon")
        return call([{"role": "user", "content": question}])["choices"][0]["message"]["content"]

    weather_agent("Weather in Lisbon?")


def logfire() -> None:
    import logfire

    logfire.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[pandaprobe_otel.PandaProbeSpanProcessor(spans="all")],
    )
    with logfire.span("weather for {city}", city="Lisbon", _tags=["live"]):
        logfire.info("asked about {city}", city="Lisbon")
    logfire.force_flush()


def plain() -> None:
    import sqlite3
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    import requests
    from opentelemetry import trace
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    RequestsInstrumentor().instrument()
    SQLite3Instrumentor().instrument()
    with trace.get_tracer("my.app").start_as_current_span("work"):
        requests.get(f"http://user:secret@127.0.0.1:{server.server_address[1]}/path?token=secret", timeout=5)
        connection = sqlite3.connect(":memory:")
        connection.cursor().execute("SELECT 17")
        connection.close()
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    emitter = sys.argv[1]
    if emitter not in ("logfire", "mlflow"):  # these SDKs have tracer providers of their own
        pandaprobe_otel.init(instrument=False, spans="all" if emitter == "plain" else None)
    globals()[emitter]()
    pandaprobe_otel.flush(20)
