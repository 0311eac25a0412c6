"""An app that instruments DSPy with both another vendor's library and ours.

python dspy_rival.py ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import sys

import pandaprobe_otel


def main(endpoint: str, key: str, model_url: str) -> None:
    """Run a program, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    import dspy
    from openinference.instrumentation.dspy import DSPyInstrumentor

    DSPyInstrumentor().instrument()
    dspy.configure(lm=dspy.LM("openai/gpt-5-mini", api_base=model_url, api_key="any", cache=False))
    dspy.Predict("question -> answer")(question="How are you?")
    sys.stdout.write(pandaprobe_otel.status().instrumented["dspy"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
