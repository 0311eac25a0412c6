"""An app that instruments Haystack with both another vendor's library and ours.

python haystack_rival.py ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import sys

import pandaprobe_otel


def main(endpoint: str, key: str, model_url: str) -> None:
    """Run a pipeline, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from haystack import Pipeline
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage
    from haystack.utils import Secret
    from openinference.instrumentation.haystack import HaystackInstrumentor

    HaystackInstrumentor().instrument()
    pipeline = Pipeline()
    secret = Secret.from_token("any")
    pipeline.add_component("llm", OpenAIChatGenerator(model="gpt-5-mini", api_base_url=model_url, api_key=secret))
    pipeline.run({"llm": {"messages": [ChatMessage.from_user("Hi")]}})
    sys.stdout.write(pandaprobe_otel.status().instrumented["haystack"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
