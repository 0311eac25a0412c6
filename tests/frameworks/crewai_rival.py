"""An app that instruments CrewAI with our library and with other vendors' libraries, one vendor after the other.

    python crewai_rival.py ENDPOINT KEY MODEL_URL MODULE[:OPTION]...

All vendors share one process, since importing CrewAI takes seconds. For each of them, the script prints one line to
standard error: the state of our instrumentation.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import SimpleNamespace

import pandaprobe_otel


def main(endpoint: str, key: str, model_url: str, *vendors: str) -> None:
    """Run a crew beside each vendor's instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from weather_crews import model_of, station

    for vendor in vendors:
        module, *options = vendor.split(":")
        instrumentor = import_module(module).CrewAIInstrumentor()
        instrumentor.instrument(**dict.fromkeys(options, True))
        station(model_of(SimpleNamespace(base_url=model_url)), "Weather in Oslo?").kickoff()
        sys.stderr.write(pandaprobe_otel.status().instrumented["crewai"] + "\n")
        instrumentor.uninstrument()
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
