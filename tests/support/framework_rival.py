"""An app that both another vendor's library and ours instrument: an agent of a framework's tests.

python framework_rival.py FRAMEWORK MODULE:CLASS ENDPOINT KEY MODEL_URL     # of the vendor
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel
from weather_model import weather


def main(framework: str, rival: str, endpoint: str, key: str, model_url: str) -> None:
    """Run the agent, then print the state of our instrumentation."""
    module, _, name = rival.partition(":")
    is_processor = name.endswith("Processor")
    if is_processor:
        provider = TracerProvider()
        provider.add_span_processor(getattr(import_module(module), name)())
        trace.set_tracer_provider(provider)
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    app = import_module(f"test_{framework}").APP
    if not is_processor:
        getattr(import_module(module), name)().instrument()
    model: Any = SimpleNamespace(url=model_url, base_url=f"{model_url}/v1", api_key=key)
    asyncio.run(app.run(model, "Weather in Oslo?", weather))
    sys.stdout.write(pandaprobe_otel.status().instrumented[framework])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
