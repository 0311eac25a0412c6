"""docs/troubleshooting.md: the library really logs each message on the page."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from opentelemetry.trace import NoOpTracerProvider

from command_line import clean_environment, run_here
from doc_blocks import DOCS
from pandaprobe_otel import connections, registry
from pandaprobe_otel.cli import run_report
from pandaprobe_otel.cli.environment_notes import environment_notes
from pandaprobe_otel.cli.extras import missing_extra
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.errors import OutcomeUnknown
from pandaprobe_otel.evals.suite_connection import Connection
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer
from pandaprobe_otel.transport.verdict import judge
from subprocesses import environment, run_python

Said = Callable[[Path, pytest.LogCaptureFixture, pytest.MonkeyPatch], str]


def _settings(**environ: str) -> Said:
    """Return a function that gives the warnings of `init()` under these variables."""

    def message(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
        problems = Config.resolve(environ=environ, file=home / "none").problems
        return "\n".join(f"pandaprobe-otel: {problem.message}" for problem in problems)

    return message


def _cause(name: str, status: int, **body: str) -> Said:
    """Return a function that gives the log after this answer of PandaProbe."""

    def message(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
        no_answer = NoAnswer(reason="ConnectError: [Errno 111] Connection refused", may_have_arrived=False)
        outcome = Answer(status=status, body=json.dumps(body).encode()) if status else no_answer
        Notices(lambda: 0.0).report(name, words=judge(outcome).message)
        return log.text

    return message


def _recovery(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    notices = Notices(lambda: 0.0)
    notices.report("outage", words="")
    notices.over("outage")
    return log.text


def _new_project(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    Notices(lambda: 0.0).report("new_project", project="shpo")
    return log.text


def _command(*arguments: str, **environ: str) -> Said:
    """Return a function that gives the standard error of a command."""

    def message(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
        return run_here(*arguments, environment=clean_environment(home, **environ)).stderr

    return message


def _queue_full(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    Notices(lambda: 0.0).report("queue_full")
    return log.text


def _refused(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    errors = [{"field": "name", "message": "Field required"}]
    verdict = judge(Answer(status=422, body=json.dumps({"detail": "Validation error", "errors": errors}).encode()))
    parcel = OutgoingRequest(step=Step.CREATE, trace_id="1", spans=EncodedSpans.of((b"{}", b"{}")), name="answer")
    Notices(lambda: 0.0).report("refused", request=parcel, words=verdict.message, spans=2)
    return log.text


def _end_of_process(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    variables = environment("http://127.0.0.1:1", PANDAPROBE_SHUTDOWN_TIMEOUT="0")
    return run_python("one('agent')", variables).stderr


def _second_init(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    code = "pandaprobe_otel.init(project_name='another')"
    return run_python(code, environment("http://127.0.0.1:1")).stderr


def _second_provider(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    code = "from opentelemetry.sdk.trace import TracerProvider\ntrace.set_tracer_provider(TracerProvider())"
    return run_python(code, environment("http://127.0.0.1:1")).stderr


def _unknown_library(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    registry.instrument("mistral")
    return log.text


def _foreign_provider(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    config = Config.resolve({"endpoint": "http://127.0.0.1:1"}, environ={}, file=home / "none")
    patch.setattr("opentelemetry.trace.get_tracer_provider", NoOpTracerProvider)
    connections._lead_spans(None, config, None, has_processor=False)  # type: ignore[arg-type]
    return log.text


def _notes(**environ: str) -> Said:
    def message(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
        return "\n".join(environment_notes(environ))

    return message


def _nothing_to_judge(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    result: Any = SimpleNamespace(failed=[], missing_count=0, vacuous={"pair": "there were no tools"})
    return "\n".join(run_report._remarks(result, []))


def _no_click(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    return f"pandaprobe-otel: {missing_extra(ModuleNotFoundError(name='click'))}"


def _taken_port(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        return _command("local", "--port", str(taken.getsockname()[1]))(home, log, patch)


def _no_key_for_pytest(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    patch.setattr("pandaprobe_otel.config.resolve.os.environ", {"HOME": str(home)})
    with pytest.raises(pytest.UsageError) as raised:
        Connection("eval", {}).check()
    return f"ERROR: {raised.value}"


def _no_init(home: Path, log: pytest.LogCaptureFixture, patch: pytest.MonkeyPatch) -> str:
    code = "import pandaprobe_otel\nwith pandaprobe_otel.agent('support'): pass"
    return run_python(code, environment(), set_up=False).stderr


MESSAGES: Final[dict[str, tuple[Said, ...]]] = {
    "Nothing arrives, and there is no key": (_settings(),),
    "Nothing arrives, and nobody called init()": (_no_init,),
    "Nothing arrives, and the key is a placeholder": (_settings(PANDAPROBE_API_KEY="your-key"),),
    "The key is refused": (_cause("auth", 401, detail="Invalid or expired API key"),),
    "PandaProbe cannot be reached": (_cause("outage", 0), _recovery),
    "The traces are in another project": (_new_project,),
    "The rate is limited": (_cause("rate", 429, error="Rate limit exceeded: 100 per 1 minute"),),
    "The quota is used up": (_cause("quota", 429, detail="Usage quota exceeded for traces"),),
    "Traces are dropped": (_queue_full,),
    "The end of the process loses traces": (_end_of_process,),
    "A trace is refused": (_refused,),
    "A library is not recorded": (_unknown_library,),
    "Spans are there, but without inputs and outputs": (
        _notes(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="false"),
    ),
    "The app's provider accepts no processors": (_foreign_provider,),
    "The app's own exporter gets nothing": (_second_provider,),
    "A setting has no effect": (
        _settings(PANDAPROBE_API_KEE="x"),
        _settings(PANDAPROBE_API_KEY="k", PANDAPROBE_SAMPLE_RATE="10%"),
        _second_init,
    ),
    "The command line is missing": (_no_click,),
    "The local PandaProbe does not start": (_taken_port, _command("local", "--host", "0.0.0.0")),
    "An evaluation passes, or fails, on nothing": (_nothing_to_judge,),
    "pytest: cannot send": (_no_key_for_pytest,),
    "A request may or may not have happened": (lambda *_: str(OutcomeUnknown("no answer came.")),),
}
"""The functions that produce the messages under each heading, in the order of the page."""
PRINTED: Final = "Nothing arrives, and the log is empty"
"""A heading whose message is printed by the block above it, which test_blocks.py runs."""


def sections() -> dict[str, list[str]]:
    """Return the messages of the page, by heading."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    found = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return {heading: re.findall(r"^```text\n(.*?)^```", body, re.DOTALL | re.MULTILINE) for heading, body in found}


def flat(text: str) -> str:
    """Return the text in one line."""
    return " ".join(text.split())


@pytest.mark.parametrize("heading", MESSAGES)
def test_the_message_is_the_one_on_the_page(
    heading: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's message is the page's word for word, except for placeholders."""
    caplog.set_level(logging.INFO)
    for written, message in zip(sections()[heading], MESSAGES[heading], strict=True):
        pattern = ".+?".join(re.escape(part) for part in flat(written).split("…"))
        logged = flat(message(tmp_path, caplog, monkeypatch))
        assert re.search(pattern, logged), f"{flat(written)}\n{logged}"


def test_every_message_is_looked_for() -> None:
    """The headings with messages are the same on the page and in this file."""
    with_messages = {heading for heading, messages in sections().items() if messages}
    assert with_messages == {*MESSAGES, PRINTED}
