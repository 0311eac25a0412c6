"""A way to run examples without any key: with a scripted model, and a PandaProbe in this process."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp

from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint

FLUSH_WITHIN_S = 10.0


@contextmanager
def offline(script: Script, *, model_key: str = "OPENAI_API_KEY") -> Generator[None]:
    """Run the block, which calls `init()` and then the model, with or without keys.

    Without `model_key` in the environment, clients of OpenAI, Anthropic and Google talk to a model that replies by
    `script`. Without PANDAPROBE_API_KEY and PANDAPROBE_ENDPOINT, traces go to a PandaProbe in this process (extra
    `local`), whose judge gives fixed answers, and are printed. At the end of the block, everything is sent. The last
    printed lines count the received traces and name the command that shows them.
    """
    import pandaprobe_otel

    with ExitStack() as running:
        if not os.environ.get(model_key):
            model = running.enter_context(ScriptedEndpoint(script))
            os.environ.update(
                OPENAI_API_KEY="scripted",
                OPENAI_BASE_URL=model.base_url,
                ANTHROPIC_API_KEY="scripted",
                ANTHROPIC_BASE_URL=model.url,
                GOOGLE_API_KEY="scripted",
                GOOGLE_GEMINI_BASE_URL=model.url,
            )
        if not os.environ.get("PANDAPROBE_API_KEY") and not os.environ.get("PANDAPROBE_ENDPOINT"):
            running.enter_context(_pandaprobe())
        try:
            yield
        finally:
            pandaprobe_otel.shutdown(FLUSH_WITHIN_S)


@contextmanager
def _pandaprobe() -> Generator[None]:
    """Run a PandaProbe for the block. Its traces stay on disk; if the block succeeds, their path is printed."""
    from pandaprobe_otel.local import LocalServer

    file = Path(mkdtemp(prefix="pandaprobe-")) / "traces.sqlite"
    with LocalServer(file, scripted_judge=True) as server:
        os.environ.update(PANDAPROBE_ENDPOINT=server.url, PANDAPROBE_API_KEY=server.api_key)
        os.environ.setdefault("PANDAPROBE_CONSOLE", "true")
        yield
        seen = _seen()
    sys.stdout.write(f"\nTraces: {seen}\nLook at them: pandaprobe-otel local --db {file}\n")


def _seen() -> str:
    """Return the number of traces of each session as text, oldest session first."""
    from pandaprobe_otel import Client

    with Client() as client:
        traces = sorted(client.traces.iter(), key=lambda trace: trace.started_at)
    counts = Counter(trace.session_id for trace in traces)
    said = [f"{count} in session {name}" if name else f"{count} without a session" for name, count in counts.items()]
    return ", ".join(said) or "none"
