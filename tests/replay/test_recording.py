"""`recording()`: modes, whose requests are recorded, how answers end, and the file after a failed run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import httpx
import httpx2
import openai
import pytest
import requests
import websockets.asyncio.client
import websockets.sync.client
import yaml
from opentelemetry.instrumentation.utils import suppress_instrumentation

import pandaprobe_otel
from pandaprobe_otel.api import Client
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.judge.http_judge import HttpJudge
from pandaprobe_otel.judge.judge import Question
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.replay.divergence import Divergence, EndOfRecording
from provider_server import ProviderServer, Received, Reply, json_reply
from span_recorder import recording as spans_recorded

EVENTS = tuple(f'data: {{"n": {number}}}\n\n'.encode() for number in range(12))
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}],
}


def echo(received: Received) -> Reply:
    """Answer a request with its body."""
    return json_reply({"echo": received.json})


@pytest.fixture
def model(server: ProviderServer) -> ProviderServer:
    """Yield the model provider, which echoes each request."""
    server.received.clear()
    server.script = echo
    return server


def ask(server: ProviderServer, question: str = "one") -> Any:
    """Send a question, and return the answer."""
    return httpx.post(f"{server.url}/ask", json={"q": question}).json()


def record(server: ProviderServer, folder: Path, *questions: str) -> Path:
    """Record questions, and return the cassette."""
    path = folder / "one.yaml"
    with pandaprobe_otel.recording(path):
        for question in questions:
            ask(server, question)
    return path


def calls_in(path: Path) -> list[dict[str, Any]]:
    """Return the model calls in a cassette: `call`, `at` and `end`, and the body of the request."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [{**one["pandaprobe"], "body": one["request"].get("body")} for one in document["interactions"]]


def test_once_records_and_then_plays(model: ProviderServer, tmp_path: Path) -> None:
    """In mode `once`, the first run records and the second sends nothing; both have the same time and calls."""
    path = tmp_path / "cassettes" / "one.yaml"
    with pandaprobe_otel.recording(path) as live:
        first = ask(model)
    with pandaprobe_otel.recording(path) as played:
        second = ask(model)

    assert second == first
    assert len(model.received) == 1
    assert [(call.number, call.status, call.played) for call in live.calls] == [(1, 200, False)]
    assert [(call.number, call.status, call.played) for call in played.calls] == [(1, 200, True)]
    assert abs((played.started_at - live.started_at).total_seconds()) < 1


def test_a_relative_cassette_stays_where_it_was(
    model: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that changes its directory inside the block finds its cassette in the earlier one."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(tmp_path)
    with pandaprobe_otel.recording("c.yaml"):
        ask(model)
        monkeypatch.chdir(inside)

    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["c.yaml"]
    assert list(inside.iterdir()) == []


def test_ci_does_not_record(model: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cassette, a run in CI is refused before anything is sent."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(RecordingError, match=r"one.yaml: the cassette does not exist, and CI is set"):
        pandaprobe_otel.recording(tmp_path / "one.yaml").open()
    assert model.received == []
    assert ask(model) == {"echo": {"q": "one"}}


@pytest.mark.parametrize("options", [{"mode": "sometimes"}, {"diverge": "no"}, {"tools": "look_up"}])
def test_invalid_options_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    """Invalid options are refused when the recording is created."""
    with pytest.raises(RecordingError, match=next(iter(options))):
        pandaprobe_otel.recording(tmp_path / "one.yaml", **options)


def test_a_run_that_fails_leaves_the_old_file(model: ProviderServer, tmp_path: Path) -> None:
    """If a run fails, or the file cannot be written, the old file stays; a failure to write is reported."""
    path = record(model, tmp_path, "one")
    before = path.read_bytes()

    @pandaprobe_otel.recording(path, mode="all")
    def fails() -> None:
        ask(model, "two")
        raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert path.read_bytes() == before
    (tmp_path / "file").write_text("")
    unwritable = pandaprobe_otel.recording(tmp_path / "file" / "x.yaml", mode="all")
    with pytest.raises(RecordingError, match="cannot be written"), unwritable:
        ask(model)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "one.yaml"]


def test_an_unknown_request_fails(model: ProviderServer, tmp_path: Path) -> None:
    """An unknown request fails at once, at the next request, and at the end even if the app caught it."""
    path = record(model, tmp_path, "one")
    model.received.clear()
    recording = pandaprobe_otel.recording(path)

    def run() -> None:
        with recording:
            for question in ("two", "one"):
                with pytest.raises(Divergence):
                    ask(model, question)

    with pytest.raises(Divergence) as caught:
        run()
    assert model.received == []
    assert recording.divergence is not None
    assert str(caught.value) == str(recording.divergence)
    assert str(path) in str(caught.value)


def test_an_error_that_comes_of_a_divergence_shows_it(model: ProviderServer, tmp_path: Path) -> None:
    """If the app turns a divergence into another error, the block raises the divergence, with this error as cause."""
    path = record(model, tmp_path, "one")

    @pandaprobe_otel.recording(path)
    def run() -> None:
        try:
            ask(model, "two")
        except AssertionError:
            raise LookupError("no model") from None

    with pytest.raises(Divergence) as caught:
        run()
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize(
    ("options", "asked", "played", "kept"),
    [
        ({"mode": "new"}, ["three", "one", "two"], [False, True, True], ["one", "two", "three"]),
        ({"diverge": "accept"}, ["changed", "two"], [True, True], ["changed", "two"]),
        ({"diverge": "rerecord"}, ["changed", "two"], [False, True], ["changed", "two"]),
        ({"diverge": "live"}, ["one", "changed", "two"], [True, False, False], ["one", "two"]),
    ],
    ids=["new", "accept", "rerecord", "live"],
)
def test_an_unknown_request_may_be_allowed(
    options: dict[str, Any],
    asked: list[str],
    played: list[bool],
    kept: list[str],
    model: ProviderServer,
    tmp_path: Path,
) -> None:
    """It is added, gets the nearest answer from then on, replaces the nearest call, or is sent and not kept."""
    path = record(model, tmp_path, "one", "two")
    with pandaprobe_otel.recording(path, **options) as recording:
        answers = [ask(model, question)["echo"]["q"] for question in asked]
    assert [call.played for call in recording.calls] == played
    assert answers == (["one", "two"] if "accept" in options.values() else asked)
    model.received.clear()
    with pandaprobe_otel.recording(path, mode="none"):
        for question in kept:
            ask(model, question)
    assert model.received == []


def test_the_end_of_a_recording(model: ProviderServer, tmp_path: Path) -> None:
    """After `ends_at`, an unknown request ends the block without an error."""
    path = record(model, tmp_path, "one", "two")
    reached: list[str] = []
    with pandaprobe_otel.recording(path, ends_at=1):
        ask(model)
        ask(model, "changed")
        reached.append("no")
    with pandaprobe_otel.recording(path, ends_at=1) as recording:
        with recording.to_the_end():
            ask(model)
            ask(model, "changed")
            reached.append("no")
        reached.append("yes")
    assert reached == ["yes"]
    with pytest.raises(EndOfRecording), pandaprobe_otel.recording(path).to_the_end():
        raise EndOfRecording


def test_a_decorated_function(model: ProviderServer, tmp_path: Path) -> None:
    """Each call of a decorated function is a block; a coroutine function stays one, and a generator is refused."""

    @pandaprobe_otel.recording(tmp_path / "one.yaml")
    def program() -> Any:
        return ask(model)

    @pandaprobe_otel.recording(tmp_path / "two.yaml")
    async def coroutine() -> Any:
        async with httpx.AsyncClient() as client:
            return (await client.post(f"{model.url}/ask", json={"q": "two"})).json()

    assert program() == program()
    assert asyncio.run(coroutine()) == asyncio.run(coroutine())
    assert asyncio.iscoroutinefunction(coroutine)
    assert len(model.received) == 2
    with pytest.raises(RecordingError, match="generator"):

        @pandaprobe_otel.recording(tmp_path / "three.yaml")
        def generator() -> Iterator[int]:
            yield 1


def test_a_recording_is_opened_once(tmp_path: Path) -> None:
    """A recording cannot be opened twice, because the second time would lose the data of the first."""
    recording = pandaprobe_otel.recording(tmp_path / "one.yaml")
    with recording:
        pass
    with pytest.raises(RecordingError, match="was already used"):
        recording.open()


def test_threads_have_recordings_of_their_own(model: ProviderServer, tmp_path: Path) -> None:
    """Eight threads at once have a recording each, and each call is in its thread's recording."""
    together = threading.Barrier(8)

    def run(number: int) -> list[int]:
        with pandaprobe_otel.recording(tmp_path / f"{number}.yaml") as recording:
            together.wait()
            for turn in range(5):
                ask(model, f"{number} {turn}")
        return [call.number for call in recording.calls]

    for _ in ("recorded", "played"):
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(run, range(8))) == [[1, 2, 3, 4, 5]] * 8
    assert len(model.received) == 40
    for number in range(8):
        assert all(f'"{number} ' in call["body"] for call in calls_in(tmp_path / f"{number}.yaml"))


def test_a_thread_without_context(model: ProviderServer, tmp_path: Path) -> None:
    """A thread without a context uses the only open recording; with two open, it gets an error."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            ask(model)
        except RecordingError as error:
            errors.append(error)

    def in_thread(target: Callable[[], Any]) -> None:
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

    with pandaprobe_otel.recording(tmp_path / "one.yaml") as one:
        in_thread(run)
        assert len(one.calls) == 1
        with pandaprobe_otel.recording(tmp_path / "two.yaml") as two:
            in_thread(run)
            assert [str(error)[:24] for error in errors] == ["2 recordings are open (/"]
            in_thread(partial(copy_context().run, run))
    assert (len(one.calls), len(two.calls)) == (1, 1)


def test_nothing_stays_hooked(model: ProviderServer, tmp_path: Path) -> None:
    """The HTTP libraries are unchanged once the last recording is closed."""
    places = [
        (httpx.Client, "_transport_for_url"),
        (httpx.AsyncClient, "_transport_for_url"),
        (httpx2.Client, "_transport_for_url"),
        (aiohttp.ClientSession, "_request"),
        (requests.Session, "get_adapter"),
    ]
    before = [vars(owner)[name] for owner, name in places]
    with pandaprobe_otel.recording(tmp_path / "one.yaml"):
        with pandaprobe_otel.recording(tmp_path / "two.yaml"):
            pass
        assert all(vars(owner)[name] is not old for (owner, name), old in zip(places, before, strict=True))
    assert [vars(owner)[name] for owner, name in places] == before


def test_an_app_under_test_is_not_recorded_itself(model: ProviderServer, tmp_path: Path) -> None:
    """A test's request to an app in its process is not recorded; the app's own requests are."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answer = await asyncio.to_thread(ask, model)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(answer).encode()})

    async def test() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://app") as client:
            return (await client.get("/")).text

    for _ in ("recorded", "played"):
        with pandaprobe_otel.recording(tmp_path / "one.yaml") as recording:
            assert asyncio.run(test()) == "{'echo': {'q': 'one'}}"
        assert [call.uri for call in recording.calls] == [f"{model.url}/ask"]


def _httpx(url: str, library: Any = httpx) -> Iterator[bytes]:
    with library.stream("POST", url, json={"q": 1}) as response:
        yield from response.iter_raw()


def _requests(url: str) -> Iterator[bytes]:
    with requests.post(url, json={"q": 1}, stream=True, timeout=20) as response:
        yield from response.iter_content(None)


def _aiohttp(url: str) -> Iterator[bytes]:
    """Read an answer with aiohttp in a separate event loop, so that tests read all libraries alike."""
    loop = asyncio.new_event_loop()

    async def pieces() -> Any:
        async with aiohttp.ClientSession() as session, session.post(url, json={"q": 1}) as response:
            async for piece in response.content.iter_any():
                yield piece

    generator = pieces()
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(generator))
            except StopAsyncIteration:
                return
    finally:
        loop.run_until_complete(generator.aclose())
        loop.close()


LIBRARIES: dict[str, Callable[[str], Iterator[bytes]]] = {
    "httpx": _httpx,
    "httpx2": partial(_httpx, library=httpx2),
    "requests": _requests,
    "aiohttp": _aiohttp,
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_stream_is_not_held_up(library: str, server: ProviderServer, tmp_path: Path) -> None:
    """The app gets the first chunk before the provider sends the second; a replay has a piece for each event."""
    may_go_on = threading.Event()
    read = LIBRARIES[library]

    class Pieces(tuple[bytes, ...]):
        def __iter__(self) -> Iterator[bytes]:
            yield EVENTS[0]
            assert may_go_on.wait(20)
            yield from EVENTS[1:]

    server.script = lambda _: Reply(chunks=Pieces(), content_type="text/event-stream")
    with pandaprobe_otel.recording(tmp_path / "one.yaml"):
        stream = read(server.url)
        first = next(stream)
        may_go_on.set()
        live = [first, *stream]
    assert first == EVENTS[0]
    assert b"".join(live) == b"".join(EVENTS)
    with pandaprobe_otel.recording(tmp_path / "one.yaml"):
        played = [*read(server.url)]
    assert tuple(played) == EVENTS
    (call,) = calls_in(tmp_path / "one.yaml")
    assert call["end"] == "read"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_stream_that_broke(library: str, server: ProviderServer, tmp_path: Path) -> None:
    """A broken stream breaks again at the same place, with an exception of the same class."""
    server.script = lambda _: Reply(chunks=EVENTS[:3], content_type="text/event-stream", breaks_off=True)
    read = LIBRARIES[library]

    def run() -> tuple[bytes, type[BaseException]]:
        seen = b""
        with pandaprobe_otel.recording(tmp_path / "one.yaml"):
            try:
                for piece in read(server.url):
                    seen += piece
            except Exception as error:  # noqa: BLE001 - whatever the library raises
                return seen, type(error)
        raise AssertionError("the stream did not break")

    assert run() == run()
    (call,) = calls_in(tmp_path / "one.yaml")
    assert call["end"] == "broken"


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_app_that_leaves_early(library: str, server: ProviderServer, tmp_path: Path) -> None:
    """An app may leave a stream early, in recording and replay; reading further in the replay is an error."""
    gone = threading.Event()
    read = LIBRARIES[library]

    class Endless(tuple[bytes, ...]):
        def __iter__(self) -> Iterator[bytes]:
            for number in range(100_000):
                if gone.is_set():
                    return
                yield b'data: {"n": %d}\n\n' % number
                time.sleep(0.002)

    server.script = lambda _: Reply(chunks=Endless(), content_type="text/event-stream")
    for _ in ("recorded", "played"):
        with pandaprobe_otel.recording(tmp_path / "one.yaml"):
            stream = read(server.url)
            first = next(stream)
            stream.close()  # type: ignore[attr-defined]
        gone.set()
        assert first.startswith(b'data: {"n": 0}\n\n')
    (call,) = calls_in(tmp_path / "one.yaml")
    assert call["end"] == "left"
    played = pandaprobe_otel.recording(tmp_path / "one.yaml")
    with pytest.raises(RecordingError, match="stopped reading"), played:
        for _ in read(server.url):
            pass


def test_a_connection_that_failed(tmp_path: Path) -> None:
    """A failed connection is recorded, and fails again without a connection."""
    with ProviderServer() as gone:
        url = gone.url
    for library in (httpx, httpx2):
        for _ in ("recorded", "played"):
            with pandaprobe_otel.recording(tmp_path / f"{library.__name__}.yaml"), pytest.raises(library.ConnectError):
                library.post(url, json={"q": 1})
    for _ in ("recorded", "played"):
        with pandaprobe_otel.recording(tmp_path / "requests.yaml"), pytest.raises(requests.ConnectionError):
            requests.post(url, json={"q": 1}, timeout=20)


def test_ignored_and_suppressed_requests_are_not_recorded(model: ProviderServer, tmp_path: Path) -> None:
    """Requests to a URL in `ignore`, and with instrumentation suppressed, as of exporters, are sent, not recorded."""
    with pandaprobe_otel.recording(tmp_path / "one.yaml", ignore=[model.url]) as ignoring:
        ask(model)
    with pandaprobe_otel.recording(tmp_path / "two.yaml") as recording, suppress_instrumentation():
        ask(model)
    assert (ignoring.calls, recording.calls, len(model.received)) == ([], [], 2)


def test_our_own_traffic_is_not_recorded(tmp_path: Path) -> None:
    """Requests of our API client and of judges are sent and not recorded."""
    with LocalServer(limit=None, scripted_judge=True) as server, ProviderServer() as model:
        model.script = lambda _: json_reply({"choices": [{"message": {"content": '{"score": 1}'}}]})
        judge = HttpJudge(f"{model.url}/v1", key="none", model="m", embedding_model=None)
        recording = pandaprobe_otel.recording(tmp_path / "one.yaml")
        with recording, Client(server.api_key, "recorded", server.url) as client:
            assert client.traces.list().items == []
            judge.ask(Question(metric="m", prompt="p", schema={}, trace={}), None)
        judge.close()
    assert recording.calls == []
    assert len(model.received) == 1


def test_a_replayed_retry_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a replay, a client does not wait before a retry, even if the recorded refusal asked for 30 s."""
    answers = iter((json_reply({"error": {"message": "slow down"}}, status=429), json_reply(COMPLETION)))
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)

    def run(url: str) -> Any:
        with openai.OpenAI(base_url=url, api_key="none", max_retries=1) as client:
            return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])

    with ProviderServer() as server:
        server.script = lambda _: replace(next(answers), headers={"Retry-After": "30"})
        with pandaprobe_otel.recording(tmp_path / "one.yaml") as live:
            first = run(server.url)
    assert (max(waited), [call.status for call in live.calls]) == (30.0, [429, 200])
    waited.clear()
    with pandaprobe_otel.recording(tmp_path / "one.yaml"):
        assert run(server.url) == first
    assert waited == [0.001]


def test_a_divergence_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that retries after any exception gets the divergence without a wait, and the block raises it."""

    def run(url: str, text: str) -> None:
        with openai.OpenAI(base_url=url, api_key="none") as client:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])

    with ProviderServer() as server:
        server.script = lambda _: json_reply(COMPLETION)
        with pandaprobe_otel.recording(tmp_path / "one.yaml"):
            run(server.url, "Hi")
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("the client waits"))
    with (
        pytest.raises(Divergence),
        pandaprobe_otel.recording(tmp_path / "one.yaml"),
        pytest.raises(openai.BadRequestError, match="Divergence at call 1"),
    ):
        run(server.url, "Ho")


def test_places_are_the_spans_around_a_call(model: ProviderServer, tmp_path: Path) -> None:
    """A call's place is the names of its spans since the recording began, with ordinals for repeated names."""
    recording = pandaprobe_otel.recording(tmp_path / "one.yaml")
    with spans_recorded(), pandaprobe_otel.span("outside"), recording:
        ask(model, "nowhere")
        for _ in range(2):
            with pandaprobe_otel.agent("shop"):
                ask(model)
                with pandaprobe_otel.chain("step"):
                    ask(model)
    places = ["", "shop", "shop > step", "shop (2nd)", "shop (2nd) > step"]
    assert [call.at for call in recording.calls] == places
    assert [call.get("at", "") for call in calls_in(tmp_path / "one.yaml")] == places


@pytest.mark.parametrize(
    "connect",
    [
        lambda: websockets.sync.client.connect("wss://api.openai.com/v1/realtime?model=x"),
        lambda: websockets.asyncio.client.connect("ws://127.0.0.1:9/v1beta/BidiGenerateContent"),
        lambda: grpc.secure_channel("aiplatform.googleapis.com:443", grpc.ssl_channel_credentials()),
        lambda: asyncio.run(_websocket_of_aiohttp()),
    ],
    ids=["websockets", "websockets of asyncio", "gRPC", "aiohttp"],
)
def test_connections_without_a_single_answer_are_refused(connect: Callable[[], Any], tmp_path: Path) -> None:
    """A WebSocket or gRPC connection is refused before it opens, because it cannot be recorded."""
    with pandaprobe_otel.recording(tmp_path / "one.yaml"), pytest.raises(RecordingError, match="cannot be recorded"):
        connect()


async def _websocket_of_aiohttp() -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect("http://127.0.0.1:9/realtime"):
        pass


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("agents.tracing.processors", "export"),
        ("langsmith._internal._background_thread", "work"),
        ("langsmith.client", "multipart_ingest"),
        ("sentry_sdk.transport", "send"),
    ],
)
@pytest.mark.parametrize("library", [httpx, requests])
def test_exporters_of_other_libraries_are_not_recorded(
    module: str, name: str, library: Any, server: ProviderServer, tmp_path: Path
) -> None:
    """Another library's export is sent and not recorded, and the app's request through a wrapper of it is recorded."""
    server.replies(Reply(chunks=(b"{}",)))
    before = len(server.received)
    code: dict[str, Any] = {"__name__": module}
    exec(f"def {name}(send): send()\ndef wrapper(function): function()", code)

    def run() -> None:
        send = partial(library.post, f"{server.url}/v1/traces/ingest", json={"data": []})
        thread = threading.Thread(target=code[name], args=(send,))
        thread.start()
        thread.join()
        ask = partial(library.post, f"{server.url}/v1", json={"model": "m"})
        code["wrapper"](ask) if module == "langsmith.client" else ask()

    for _ in ("recorded", "played"):
        with pandaprobe_otel.recording(tmp_path / "one.yaml") as recording:
            run()
        assert [call.uri for call in recording.calls] == [f"{server.url}/v1"]
    assert [one.path for one in server.received[before:]] == ["/v1/traces/ingest", "/v1", "/v1/traces/ingest"]
