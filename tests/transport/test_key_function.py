"""Keys that a function of the app returns."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.outcome import Answer, KeyedTransport, NoAnswer, Request
from pandaprobe_otel.transport.socket_transport import KeyFunctionTransport, SocketTransport
from spools import inherit
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_quietly

LOOK = Request(method="GET", path="/traces/x")


def wrong_key(method: str, path: str) -> Reply:
    """Return the server's refusal of a key."""
    return Reply(status=401, body={"detail": "Invalid or revoked API key."})


@pytest.mark.parametrize("kind", [SocketTransport, HttpTransport])
def test_another_key_is_sent_after_a_refusal_and_only_then(
    kind: Callable[[str, dict[str, str]], KeyedTransport],
) -> None:
    """The function is called again only after a refusal, and the new key is sent over the same connection."""
    keys = iter(["sk_pp_1", "sk_pp_2"])
    with StrictPandaProbe() as server:
        transport = KeyFunctionTransport(kind(server.url, {}), ask=lambda: next(keys), project_name="shop")
        transport.send(LOOK)
        server.answer = wrong_key
        transport.send(LOOK)
        transport.send(LOOK)
        transport.close()

        sent = [(each.headers["x-api-key"], each.headers["x-project-name"]) for each in server.log]
    assert sent == [("sk_pp_1", "shop"), ("sk_pp_1", "shop"), ("sk_pp_2", "shop")]


@pytest.mark.parametrize("answer", ["", "two words", None, 7, "a\r\nb"])
def test_a_value_that_is_no_key_is_not_sent(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    """A value that is not a key is not sent: the request fails, and the fault is logged at most once."""
    with StrictPandaProbe() as server:
        inner = SocketTransport(server.url, {})
        transport = KeyFunctionTransport(inner, ask=lambda: answer, project_name="shop")  # type: ignore[arg-type,return-value]
        outcomes = [transport.send(LOOK), transport.send(LOOK)]

        assert all(isinstance(each, NoAnswer) and not each.may_have_arrived for each in outcomes)
        assert server.log == []
    assert sum(record.levelno >= logging.WARNING for record in caplog.records) <= 1


def test_a_function_that_fails_leaves_the_key_that_is_known() -> None:
    """If the function raises, the last key is sent again, since a blocked account may become valid again."""
    answers: list[Callable[[], str]] = [lambda: "sk_pp_1", lambda: str(1 // 0), lambda: "sk_pp_1"]
    with StrictPandaProbe() as server:
        transport = KeyFunctionTransport(
            SocketTransport(server.url, {}), ask=lambda: answers.pop(0)(), project_name="shop"
        )
        server.answer = wrong_key
        refusals = [transport.send(LOOK), transport.send(LOOK)]
        transport.close()

        assert [each.status for each in refusals if isinstance(each, Answer)] == [401, 401]
        assert [each.headers["x-api-key"] for each in server.log] == ["sk_pp_1", "sk_pp_1"]
    assert len(answers) == 1


def test_the_app_gives_a_function_instead_of_a_key(tmp_path: Path) -> None:
    """A sender thread calls the function, not `init`, and traces are sent with its key."""
    code = """
    import threading, pandaprobe_otel
    from opentelemetry import trace
    threads = []
    def key():
        threads.append(threading.current_thread().name)
        return "sk_pp_asked"
    handle = pandaprobe_otel.init(api_key=key, instrument=False)
    assert threads == []
    with trace.get_tracer("test").start_as_current_span("a", attributes={"gen_ai.operation.name": "chat"}):
        pass
    assert handle.flush(60)
    assert len(threads) == 1 and threads[0].startswith("pandaprobe-sender"), threads
    assert handle.status().settings["api_key"][0] == "***"
    """
    with StrictPandaProbe() as server:
        env = {**environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path)), "PANDAPROBE_API_KEY": ""}
        run_quietly(code, env, set_up=False)
        assert [post.headers["x-api-key"] for post in server.posts()] == ["sk_pp_asked"]
        assert inherit(server, tmp_path) == 0


def test_a_function_names_the_spool_whatever_key_it_gives() -> None:
    """The function's name, not its key, identifies the spool, so a later key finds the earlier requests."""

    def resolved(key: object) -> Config:
        return Config.resolve({"api_key": key}, environ={}, file=Path("none"))

    first, second = (resolved(key).key_identity for key in (wrong_key, functools.partial(wrong_key, "GET")))
    assert first == second == f"function {__name__}.wrong_key"
    assert resolved("sk_pp_1").key_identity == resolved("sk_pp_1").fixed_key == "sk_pp_1"
    assert resolved(wrong_key).fixed_key is None
    assert resolved(wrong_key).usable
