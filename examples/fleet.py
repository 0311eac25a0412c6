"""A fleet: services with plain OpenTelemetry send OTLP to one gateway, which joins their spans to one trace.

pip install "pandaprobe-otel[gateway,local]" opentelemetry-exporter-otlp-proto-http
python fleet.py                           # gateway, two services and a local PandaProbe: no key, no cost
PANDAPROBE_API_KEY=... python fleet.py

The services here are Python, but any program that sends OTLP works. In production the gateway runs beside the services:
`pandaprobe-otel gateway --spool DIRECTORY`, on several machines with one PANDAPROBE_REDIS_URL.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Reply


def service(name: str) -> None:
    """Run one service with plain OpenTelemetry. `front` is an agent that asks `back`, which calls a model."""
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("shop")
    if name == "front":
        attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "shop", "session.id": "fleet-1"}
        with tracer.start_as_current_span("invoke_agent shop", attributes=attributes):
            headers: dict[str, str] = {}
            propagate.inject(headers)  # instrumentations do this for HTTP requests
            subprocess.run([sys.executable, __file__, "back", headers["traceparent"]], check=True)
    else:
        parent = propagate.extract({"traceparent": sys.argv[2]})
        chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini"}
        with tracer.start_as_current_span("chat gpt-5-mini", context=parent, attributes=chat):
            time.sleep(0.01)
    provider.shutdown()


def main() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "pandaprobe_otel.cli", "gateway", "--no-grpc", "--http-port", str(port)]
    gateway = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
    try:
        assert gateway.stdout is not None
        print(gateway.stdout.readline().strip())  # printed once it listens
        endpoint = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": url}
        subprocess.run([sys.executable, __file__, "front"], env=endpoint, check=True)
        with urllib.request.urlopen(f"{url}/health") as health:
            print(health.read().decode())
    finally:
        gateway.terminate()  # waiting spans are delivered first
        gateway.communicate(timeout=30)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        service(sys.argv[1])
    else:
        with offline(lambda _: Reply(text="")):
            main()
