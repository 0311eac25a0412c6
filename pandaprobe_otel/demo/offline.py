"""What lets an example run without any key: a scripted model, and a PandaProbe in this process."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint

FLUSH_WITHIN_S = 10.0


@contextmanager
def offline(script: Script, *, model_key: str = "OPENAI_API_KEY") -> Generator[None]:
    """Run the block, which calls `init()` and then the model, with what there is.

    Without `model_key` in the environment, clients of OpenAI, Anthropic and Google talk to a model that says what
    `script` says. Without PANDAPROBE_API_KEY and PANDAPROBE_ENDPOINT, traces go to a PandaProbe in this process (extra
    `local`), whose judge gives fixed answers, and are printed (extra `cli`). Everything is sent when the block ends.
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
            from pandaprobe_otel.local import LocalServer

            server = running.enter_context(LocalServer(scripted_judge=True))
            os.environ.update(PANDAPROBE_ENDPOINT=server.url, PANDAPROBE_API_KEY=server.api_key)
            if find_spec("rich") is not None:
                os.environ.setdefault("PANDAPROBE_CONSOLE", "true")
        try:
            yield
        finally:
            pandaprobe_otel.shutdown(FLUSH_WITHIN_S)
