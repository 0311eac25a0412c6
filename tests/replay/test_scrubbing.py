"""Secrets of any form in any field: none gets into a file, a log line or an error message."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import yaml

import pandaprobe_otel
from cpu import cpu_seconds
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.divergence import Divergence
from provider_server import ProviderServer, Reply, sse

MASKED, SHOWN = "[masked]", "[scrubbed]"

PLANTED = "pl4nted-S3cret/Value+77"
KEY = "sk-proj-abcdefghijklmnopqrstuvwx1234567890"
COOKIE = "s3ssion-c00kie-value"


def forms(secret: str) -> list[bytes]:
    """Return a secret as a file could contain it: plain, and in base64 at each of three offsets."""
    encoded = secret.encode()
    return [encoded, *(base64.b64encode(b"x" * n + encoded)[4:-4] for n in range(3))]


def holds(text: bytes, secret: str) -> bool:
    """Return whether any form of a secret is in a text."""
    return any(form in text for form in forms(secret))


def files(folder: Path) -> bytes:
    """Return the contents of all files in a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def stream(text: str, size: int) -> list[bytes]:
    """Return the events of a stream with pieces of a text."""
    pieces = [text[begin : begin + size] for begin in range(0, len(text), size)]
    return [sse({"choices": [{"index": 0, "delta": {"content": piece}}]}) for piece in pieces]


def compressed(data: bytes) -> bytes:
    """Compress without a time stamp, so that the result is always the same."""
    return gzip.compress(data, mtime=0)


JSON = {"Content-Type": "application/json"}
SECRETS = f"The secret is {PLANTED}, and the key {KEY}."
DOCUMENT = json.dumps({"text": SECRETS}).encode()
ANSWERS = {
    "plain": Reply(chunks=(DOCUMENT,)),
    "text": Reply(chunks=(SECRETS.encode(),), content_type="text/plain"),
    "two chunks": Reply(chunks=(DOCUMENT[:28], DOCUMENT[28:])),
    "gzip": Reply(chunks=(compressed(DOCUMENT),), headers={"Content-Encoding": "gzip"}),
    "deflate": Reply(chunks=(zlib.compress(DOCUMENT),), headers={"Content-Encoding": "deflate"}),
    "base64": Reply(chunks=(json.dumps({"data": base64.b64encode(SECRETS.encode()).decode()}).encode(),)),
    "events": Reply(chunks=stream(SECRETS, 200), content_type="text/event-stream"),
    "events that split it": Reply(chunks=stream(SECRETS, 5), content_type="text/event-stream"),
    "gzipped events": Reply(
        chunks=(compressed(b"".join(stream(SECRETS, 5))),),
        content_type="text/event-stream",
        headers={"Content-Encoding": "gzip"},
    ),
    "an error": Reply(
        chunks=(json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode(),), status=401
    ),
    "a cookie": Reply(chunks=(b"{}",), headers={"Set-Cookie": f"session={COOKIE}; Path=/", "X-Internal": PLANTED}),
}


@pytest.mark.parametrize("library", [httpx, requests])
@pytest.mark.parametrize("name", ANSWERS)
def test_planted_secrets_do_not_stay(
    name: str,
    library: Any,
    server: ProviderServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Headers, cookies, URLs, requests, answers, logs and error messages contain no planted secret."""
    monkeypatch.setenv("SHOP_DB_PASSWORD", PLANTED)
    caplog.set_level(logging.DEBUG, logger="pandaprobe_otel")
    server.replies(ANSWERS[name])
    path = tmp_path / "one.yaml"
    headers = {"Authorization": f"Bearer {KEY}", "Cookie": f"session={COOKIE}", "X-Other": PLANTED}

    def ask(more: str = "") -> Any:
        body = {"model": "m", "messages": [{"role": "user", "content": f"{SECRETS} {COOKIE}{more}"}]}
        url = f"{server.url}/v1?key={KEY}&page=2"
        return library.post(url, json=body, headers=headers)

    with pandaprobe_otel.recording(path):
        live = ask()
        ask()
    assert PLANTED in live.text or name not in ("plain", "events")
    kept = files(tmp_path)
    assert not any(holds(kept, secret) for secret in (PLANTED, KEY, COOKIE))
    assert b"page=2" in kept
    with pandaprobe_otel.recording(path):
        assert ask().status_code == live.status_code
        ask()
    failing = pandaprobe_otel.recording(path)
    with pytest.raises(Divergence) as caught, failing:
        ask(f"{PLANTED} and more")
    messages = f"{caught.value}{failing.calls}{failing.divergence}".encode() + caplog.text.encode()
    assert not any(holds(messages, secret) for secret in (PLANTED, KEY, COOKIE))


@pytest.fixture
def saved(server: ProviderServer, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that records a request and returns its body as it stands in the file."""

    def body_in_file(body: bytes, headers: dict[str, str] = JSON, **options: Any) -> Any:
        server.replies(Reply(chunks=(b"{}",)))
        with pandaprobe_otel.recording(tmp_path / "one.yaml", mode="all", **options):
            httpx.post(server.url, content=body, headers=headers)
        (call,) = yaml.safe_load((tmp_path / "one.yaml").read_text())["interactions"]
        return call["request"]["body"]

    return body_in_file


@pytest.mark.parametrize("together", [False, True], ids=["events", "one piece"])
@pytest.mark.parametrize("size", [6, 200])
def test_a_secret_across_events_leaves_the_rest(
    size: int, together: bool, server: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a secret spans several events, the first gets the text without it, and each chunk stays one event."""
    monkeypatch.setenv("A_TOKEN", PLANTED)
    sent = stream(f"before {PLANTED} after", size)
    server.replies(Reply(chunks=[b"".join(sent)] if together else sent, content_type="text/event-stream"))

    def read() -> list[bytes]:
        with httpx.stream("POST", server.url, json={}) as response:
            return list(response.iter_raw())

    with pandaprobe_otel.recording(tmp_path / "one.yaml"):
        assert b"".join(read()) == b"".join(sent)
    with pandaprobe_otel.recording(tmp_path / "one.yaml"):
        pieces = read()
    events = [json.loads(line.removeprefix(b"data: ")) for line in b"".join(pieces).splitlines() if line]
    texts = [event["choices"][0]["delta"]["content"] for event in events]
    assert "".join(texts) == f"before {SHOWN} after"
    assert together or all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in pieces)


def test_the_configured_mask_acts_on_cassettes(server: ProviderServer, tmp_path: Path) -> None:
    """The mask of `init` also applies to cassettes; if it fails, the text is left out."""
    server.script = lambda received: Reply(
        chunks=stream("call +49 170 1234567 now", 4), content_type="text/event-stream"
    )
    handle = pandaprobe_otel.init(enabled=False, instrument=False, mask=r"\+\d\d \d{3} \d{7}")
    try:
        for _ in ("recorded", "played"):
            with pandaprobe_otel.recording(tmp_path / "one.yaml"):
                httpx.post(f"{server.url}/v1", json={"model": "m", "text": "my number is +49 170 1234567"})
    finally:
        handle.shutdown()
    kept = files(tmp_path)
    assert b"1234567" not in kept
    assert b"my number is [masked]" in kept


def test_a_function_of_the_app_scrubs(server: ProviderServer, tmp_path: Path) -> None:
    """A function of the app may scrub: it gets JSON and returns the JSON to keep."""
    server.script = lambda received: Reply(chunks=(b'{"name": "Ada"}',))

    def scrub(value: Any) -> Any:
        return {**value, "name": "somebody"} if "name" in value else value

    for _ in ("recorded", "played"):
        with pandaprobe_otel.recording(tmp_path / "one.yaml", scrub=scrub):
            httpx.post(f"{server.url}/v1", json={"model": "m", "name": "Ada"})
    assert b"Ada" not in files(tmp_path)


@pytest.mark.parametrize("encoding", ["gzip", "secret-squeeze"])
def test_an_unreadable_answer_is_not_kept(encoding: str, server: ProviderServer, tmp_path: Path) -> None:
    """An answer that cannot be decompressed cannot be scrubbed, so the recording fails."""
    server.replies(Reply(chunks=(b"no gzip",), headers={"Content-Encoding": encoding}))

    def run() -> None:
        with pandaprobe_otel.recording(tmp_path / "one.yaml"), httpx.stream("GET", server.url) as response:
            list(response.iter_raw())

    with pytest.raises(RecordingError, match="The answer of call 1 cannot be saved"):
        run()
    assert files(tmp_path) == b""


def test_a_compressed_request(server: ProviderServer, tmp_path: Path) -> None:
    """A compressed request is saved uncompressed, and matches an uncompressed one."""
    server.replies(Reply(chunks=(b"{}",)))
    body = json.dumps({"model": "m", "text": KEY}).encode()
    packed: dict[str, Any] = {"content": compressed(body), "headers": {**JSON, "Content-Encoding": "gzip"}}
    with pandaprobe_otel.recording(tmp_path / "one.yaml"):
        httpx.post(server.url, **packed)
    assert b'{"model": "m", "text": "[scrubbed]"}' in files(tmp_path)
    with pandaprobe_otel.recording(tmp_path / "one.yaml"):
        httpx.post(server.url, json=json.loads(body))


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("OPENAI_API_KEY", KEY[3:], True),
        ("AWS_SECRET_ACCESS_KEY", PLANTED, True),
        ("DATABASE_DSN", "mysql~a:b@c/d", True),
        ("OPENAI_API_KEY", "not-needed", False),
        ("OPENAI_API_KEY", "short", False),
        ("PWD", "/home/somebody/project", False),
        ("GOOGLE_APPLICATION_CREDENTIALS", __file__, False),
        ("TOKENIZERS_PARALLELISM", "false-and-so-on-1", False),
        ("PRIMARY_KEY_COLUMN", "customer_number_1", False),
    ],
)
def test_variables_with_secret_names_are_secrets(
    name: str, value: str, is_secret: bool, saved: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of variables with a secret last word in their names are removed, if they can be secrets."""
    monkeypatch.setenv(name, value)
    text = json.loads(saved(json.dumps({"text": f"it is {value}!"}).encode()))["text"]
    assert text == f"it is {SHOWN if is_secret else value}!"


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"password": "hunter2"}, {"password": SHOWN}),
        ({"a": {"api-key": "x1"}}, {"a": {"api-key": SHOWN}}),
        ({"arguments": '{"access_token": "abc", "n": 1}'}, {"arguments": f'{{"access_token": "{SHOWN}", "n": 1}}'}),
        ({"properties": {"password": {"type": "string"}}}, {"properties": {"password": {"type": "string"}}}),
        ({"max_tokens": 5, "token": "the"}, {"max_tokens": 5, "token": "the"}),
        (
            {"logprobs": [{"token": "considerably", "logprob": -0.1}], "login": {"token": "considerably"}},
            {"logprobs": [{"token": "considerably", "logprob": -0.1}], "login": {"token": SHOWN}},
        ),
        ({"text": "see https://user:secret77@host/x"}, {"text": f"see https://{SHOWN}@host/x"}),
        ({"text": "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"}, {"text": SHOWN}),
        *(
            ({"text": text}, {"text": text})
            for text in (
                'client = OpenAI(api_key=os.environ["OPENAI_API_KEY"])',
                "token = config.auth.token1",
                "def login(password: str, token=None): ...",
                "f'password={password}'",
                "Enter your password: please",
                "a basic understanding of keys: they open doors",
                "the secret is: practice",
                "https://example.org/?code=DE&page_token=abc123def456",
            )
        ),
    ],
)
def test_fields_and_patterns(body: Any, kept: Any, saved: Callable[..., Any]) -> None:
    """Fields with secret names, and texts with the form of a secret, are scrubbed; code and prose about them stay."""
    assert json.loads(saved(json.dumps(body).encode())) == kept


def test_the_time_for_a_long_name_is_proportional_to_it(saved: Callable[..., Any]) -> None:
    """A name with eight times the words takes at most about eight times as long; pairs of them would take 64 times."""

    def seconds(words: int) -> float:
        body = json.dumps({f"{'token_' * words}count": "a value"}).encode()
        return cpu_seconds(lambda: saved(body), rounds=2)

    assert seconds(8000) < 24 * seconds(1000)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"text": f"keys:\n{KEY}"}),
        json.dumps({"text": f"keys:\t{KEY}\n"}),
        json.dumps({"text": f"\u203c{KEY}"}, ensure_ascii=False),
        json.dumps({"text": f"\u203c{KEY}"}),
        json.dumps({"arguments": json.dumps({"file": f"first\n{KEY}"})}),
        '{"text": "' + KEY.replace("-", "\\u002d") + '"}',
        '{"text": "https:\\/\\/user:' + KEY + '@host"}',
        '{"password" : "' + KEY[3:] + '"}',
        '{"pass\\u0077ord": "' + KEY[3:] + '"}',
    ],
)
def test_escapes_hide_nothing(body: str, saved: Callable[..., Any]) -> None:
    """Secrets are found in JSON with any escapes, also directly after an escaped line break."""
    kept = saved(body.encode())
    assert KEY[3:] not in kept.replace("\\u002d", "-")
    assert SHOWN in kept


NAMES = (
    "api_key", "apiKey", "X-API-Key", "password", "client_secret", "access_token", "secret", "private_key",
    "api_token", "token", "github_token", "auth_key", "openai_api_key", "openaiApiKey", "db_password",
    "user_password", "newPassword", "webhook_secret", "api_secret", "secret_token", "bot_token", "x-company-token",
    "signing_secret", "pwd", "passcode", "pin", "connection_string", "service_account_key", "subscription-key",
    "hf_token", "DBPassword", "clientsecret", "refreshToken", "id_token", "jwt", "otp", "smtp_pass", "api_key_2",
    "Authorization", "sessionCookie", "aws_secret_access_key",
)  # fmt: skip
HARMLESS = (
    "max_tokens", "token_count", "prompt_tokens", "next_page_token", "nextPageToken", "continuation_token",
    "eos_token", "cache_key", "primary_key", "prompt_cache_key", "public_key", "sort_key", "idempotency_key",
    "token_type", "secret_name", "keyboard", "monkey", "passage", "compass", "pinned", "author", "code_review",
    "hashtag",
)  # fmt: skip
PLACES: dict[str, Callable[[str, dict[str, str]], httpx.Response]] = {
    "URL": lambda url, fields: httpx.post(url, params=fields, json={"model": "m"}),
    "JSON": lambda url, fields: httpx.post(url, json={"model": "m", "extra": [fields]}),
    "JSON in a text": lambda url, fields: httpx.post(url, json={"text": f"the settings: {json.dumps(fields)}"}),
    "Python in a text": lambda url, fields: httpx.post(url, json={"text": f"the settings: {fields}"}),
    "URL in a text": lambda url, fields: httpx.post(
        url, json={"text": f"see http://x/?{httpx.QueryParams(fields)} now"}
    ),
    "lines of a text": lambda url, fields: httpx.post(
        url, json={"text": "\n".join(f"{name}={value}" for name, value in fields.items())}
    ),
    "arguments": lambda url, fields: httpx.post(url, json={"arguments": json.dumps(fields)}),
    "form": lambda url, fields: httpx.post(url, data=fields),
    "form with a file": lambda url, fields: httpx.post(url, data=fields, files={"file": ("a.txt", b"a text")}),
}


@pytest.mark.parametrize("place", [*PLACES, "answer", "events", "tool"])
def test_values_of_secret_names_are_removed(place: str, server: ProviderServer, tmp_path: Path) -> None:
    """Values of secret names are removed wherever they stand, and those of names that only sound alike stay."""
    secrets = {name: f"Qz{number:02}leak81k" for number, name in enumerate(NAMES)}
    others = {name: f"Qz{number:02}kept81k" for number, name in enumerate(HARMLESS)}
    fields = {**secrets, **others}
    text = json.dumps(fields)
    answers = {
        "answer": Reply(chunks=(json.dumps({"choices": [fields]}).encode(),)),
        "events": Reply(chunks=stream(text, 5), content_type="text/event-stream"),
    }
    server.replies(answers.get(place, Reply(chunks=(b"{}",))))

    @pandaprobe_otel.tool
    def connect(**settings: str) -> dict[str, str]:
        return {**settings}

    def run() -> None:
        if place == "tool":
            connect(**fields)
        PLACES.get(place, PLACES["JSON"])(server.url, {} if place in answers else fields)

    for _ in ("recorded", "played"):
        with pandaprobe_otel.recording(tmp_path / "one.yaml", tools=True):
            run()
    kept = files(tmp_path).decode().replace('"}}]}', "").replace("\n", "")
    if place == "events":
        kept = "".join(re.findall(r'"content":\s?"(.*?)"\}', files(tmp_path).decode()))
    assert [name for name, value in secrets.items() if value in kept] == []
    assert [name for name, value in others.items() if value not in kept] == []


RANDOM = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY" * 2
KEYS = {
    "OpenAI": f"sk-proj-{RANDOM}", "Together": f"tgp_v1_{RANDOM}", "Perplexity": f"pplx-{RANDOM}",
    "Tavily": f"tvly-dev-{RANDOM}", "NVIDIA": f"nvapi-{RANDOM}", "LangSmith": f"lsv2_pt_{RANDOM[:32]}_{RANDOM[:10]}",
    "Google OAuth": f"GOCSPX-{RANDOM[:28]}", "PandaProbe": "sk_pp_" + "0a1b2c3d" * 8, "Pinecone": f"pcsk_{RANDOM}",
    "GitHub": f"ghu_{RANDOM}", "SendGrid": f"SG.{RANDOM[:22]}.{RANDOM[:43]}", "Replicate": f"r8_{RANDOM[:37]}",
    "Telegram": f"1234567890:AA{RANDOM[:33]}", "Slack": f"https://hooks.slack.com/services/T0/B0/{RANDOM[:24]}",
    "basic": "Authorization: Basic " + base64.b64encode(b"ada:lovelace-1815").decode(),
}  # fmt: skip


@pytest.mark.parametrize("service", KEYS)
def test_keys_of_services_are_recognised(service: str, saved: Callable[..., Any]) -> None:
    """The key of a service is removed from a text, also after a line break, and the words around it stay."""
    key = KEYS[service]
    body = {"text": f"It failed with {key}, sorry.", "other": f"keys:\n{key}"}
    kept = json.loads(saved(json.dumps(body).encode()))
    assert key[-16:] not in str(kept)
    assert kept["text"].startswith("It failed with ")
    assert kept["text"].endswith(f"{SHOWN}, sorry.")


def test_a_form_with_a_file_is_scrubbed(saved: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Text fields of a form with a file are scrubbed, also by a function of the app; the file's bytes are unchanged."""
    monkeypatch.setenv("A_TOKEN", PLANTED)
    field = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n%s\r\n'
    sound = b"\xff\xfe\x00 word \x80\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    kept = saved(field % SECRETS.encode() + sound, headers)
    assert kept == field % f"The secret is {SHOWN}, and the key {SHOWN}.".encode() + sound
    handle = pandaprobe_otel.init(enabled=False, instrument=False, mask="word")
    try:
        assert saved(field % b"a word" + sound, headers) == field % f"a {MASKED}".encode() + sound
    finally:
        handle.shutdown()


def test_bodies_without_a_secret_are_unchanged(
    server: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers without a secret are replayed byte for byte, and the provider gets the app's request unscrubbed."""
    monkeypatch.setenv("A_KEY", PLANTED)
    body = b'{ "model" : "m", "tools": [{"name": "get_access_token"}],  "text": "\\u00e4 a password key" }'
    server.received.clear()
    server.replies(Reply(chunks=(body,)))
    sent: dict[str, Any] = {"json": {"text": KEY}, "headers": {"Authorization": f"Bearer {KEY}"}}
    for _ in ("recorded", "played"):
        with pandaprobe_otel.recording(tmp_path / "one.yaml"):
            assert httpx.post(f"{server.url}/y?b=1&a=2", **sent).content == body
    (received,) = server.received
    assert (received.headers["authorization"], received.json) == (f"Bearer {KEY}", {"text": KEY})
    assert b"/y?b=1&a=2" in files(tmp_path)
