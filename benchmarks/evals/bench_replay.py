"""Cost of recordings: CPU time of a replayed call compared with the client's own, and of a recorded call compared with
tracing.

    python benchmarks/evals/bench_replay.py [--calls 200] [--repeats 7]

The client is openai's on a mock transport, so that no network is measured. Calls are conversations of 4 and 84 kB with
different ends. The ways to make a call alternate, and the figure is the smallest of all repeats. It includes reading
and writing the cassette.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import openai

import pandaprobe_otel
from pandaprobe_otel.registry import instrument, uninstrument

_LIBRARY: Any = import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
_ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes " * 100}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
}
_BODY = json.dumps(_ANSWER).encode()
_SIZES = (4, 84)
Way = Callable[[], Any]


def conversation(number: int, kilobytes: int) -> list[Any]:
    """Return the messages of a call of this size, with a unique end."""
    roles = ("user", "assistant")
    messages = [{"role": roles[turn % 2], "content": f"turn {turn} " + "word " * 92} for turn in range(kilobytes * 2)]
    return [*messages, {"role": "user", "content": f"question {number}"}]


def _client() -> openai.OpenAI:
    def answer(_: Any) -> Any:
        return _LIBRARY.Response(200, content=_BODY, headers={"content-type": "application/json"})

    http_client = _LIBRARY.Client(transport=_LIBRARY.MockTransport(answer))
    return openai.OpenAI(api_key="none", base_url="http://127.0.0.1:9/v1", http_client=http_client)


def spent(way: Way, calls: int, kilobytes: int) -> float:
    """Return the CPU time of a call in milliseconds, on average over `calls` calls."""
    client = _client()
    asked = [conversation(number, kilobytes) for number in range(calls)]
    begun = time.process_time()
    with way():
        for messages in asked:
            client.chat.completions.create(model="gpt-5", messages=messages)
    return 1000 * (time.process_time() - begun) / calls


@contextmanager
def _traced(inner: Way = nullcontext) -> Iterator[None]:
    instrument("openai")
    try:
        with inner():
            yield
    finally:
        uninstrument("openai")


def measure(calls: int, kilobytes: int, repeats: int, folder: Path) -> dict[str, float]:
    """Return the smallest CPU time of a call over all repeats, for each way to make it."""
    path = folder / f"{kilobytes}.yaml"
    kept = folder / f"kept-{kilobytes}.yaml"

    def record() -> Any:
        return pandaprobe_otel.recording(kept, mode="all")

    ways: dict[str, Way] = {
        "the client": nullcontext,
        "replayed": lambda: pandaprobe_otel.recording(path, mode="none"),
        "traced": _traced,
        "traced and recorded": lambda: _traced(record),
    }
    with pandaprobe_otel.recording(path, mode="all"):
        client = _client()
        for number in range(calls):
            client.chat.completions.create(model="gpt-5", messages=conversation(number, kilobytes))
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for name, way in ways.items():
            best[name] = min(best[name], spent(way, calls, kilobytes))
    return best


def main() -> None:
    """Print the figures of both sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pandaprobe_otel.init(endpoint="http://127.0.0.1:9", api_key="none", project_name="bench", instrument=False)
        for kilobytes in _SIZES:
            found = measure(options.calls, kilobytes, options.repeats, Path(folder))
            print(f"{kilobytes} kB: " + ", ".join(f"{name} {value:.2f} ms" for name, value in found.items()))
            print(
                f"  a replayed call costs {found['replayed'] - found['the client']:.2f} ms more than the client's own, "
                f"a recorded one {found['traced and recorded'] - found['traced']:.2f} ms more than a traced one"
            )


if __name__ == "__main__":
    main()
