"""Well-known credentials in errors, URLs and names, by the setting `scrub`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from subprocesses import environment, run_python

KEY = "sk-proj-abcdefghijklmnop1234567890abcdefghij"
GOOGLE = "AIzaSyA1234567890abcdefghijklmnopqrstu0"


@pytest.mark.parametrize(
    ("scrub", "in_errors", "in_content"), [("true", False, True), ("all", False, False), ("false", True, True)]
)
def test_credentials_are_replaced(tmp_path: Path, scrub: str, in_errors: bool, in_content: bool) -> None:
    """By default errors, stack traces and URLs are scrubbed and content is the user's; `all` and false change that."""
    file = tmp_path / "t.jsonl"
    code = f"""
    from pandaprobe_otel import agent, span, tool
    @tool
    def fetch(question):
        raise RuntimeError("GET https://x/v1?key={GOOGLE} failed; Authorization: Bearer {KEY}")
    @agent
    def run(question):
        with span("GET https://x/v1?key={GOOGLE}", metadata={{"page": "https://me:pa55-w0rd-x1@x/v1?api_key={KEY}"}}):
            pass
        try:
            fetch("none")
        except RuntimeError:
            return "my key is {KEY}"
    run("my key is {KEY}")
    handle.shutdown()
    """
    result = run_python(code, environment(PANDAPROBE_LOCAL=str(file), PANDAPROBE_SCRUB=scrub))
    assert result.returncode == 0, result.stderr[-2000:]
    (trace,) = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    spans = trace.get("spans") or trace["body"]["spans"]
    run, *others = sorted(spans, key=lambda one: one["name"] != "run")

    assert len(others) == 2
    assert ((KEY in json.dumps(others)), (GOOGLE in json.dumps(others))) == (in_errors, in_errors)
    assert ("[scrubbed]" in json.dumps(others)) is not in_errors
    assert (KEY in json.dumps(run)) == in_content


@pytest.mark.parametrize(("scrub", "is_kept"), [("true", False), ("all", False), ("false", True)])
def test_the_journal_of_open_traces_has_no_credentials(tmp_path: Path, scrub: str, is_kept: bool) -> None:
    """On disk, and in what the next process sends of a killed one, credentials are replaced as in complete traces."""
    died = f"""
    import os, pathlib, time
    from pandaprobe_otel import agent, span, tool
    @tool
    def fetch():
        raise RuntimeError("Authorization: Bearer {KEY}")
    @agent
    def run():
        with span("GET https://x/v1?key={GOOGLE}", metadata={{"page": "https://x/v1?api_key={KEY}"}}):
            pass
        try:
            fetch()
        except RuntimeError:
            pass
        with span("last"):
            pass
        def on_disk():
            return b"".join(one.read_bytes() for one in pathlib.Path({str(tmp_path)!r}).rglob("*") if one.is_file())
        until = time.monotonic() + 20
        while b"last" not in on_disk() and time.monotonic() < until:
            time.sleep(0.02)
        found = on_disk()
        print(b"last" in found, b"{KEY}" in found, b"{GOOGLE}" in found)
        os._exit(0)
    run()
    """
    settings = {"PANDAPROBE_SPOOL_DIR": str(tmp_path), "PANDAPROBE_SCRUB": scrub}
    result = run_python(died, environment("http://127.0.0.1:9", **settings))
    assert result.stdout.split() == ["True", str(is_kept), str(is_kept)], result.stderr[-2000:]
