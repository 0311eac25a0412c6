"""Access by token, and over TLS, in both protocols."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from otlp_senders import agent_trace, body_of
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.local import LocalServer

BODY = body_of(agent_trace())
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
TOKEN = "three-blue-pandas"
WRONG = ["", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer", "Bearer \u00e9"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the paths of a certificate for this machine, its key, and its authority."""
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("certificates")
    issued = authority.issue_cert("127.0.0.1")
    names = {name: folder / f"{name}.pem" for name in ("certificate", "key", "authority")}
    issued.cert_chain_pems[0].write_to_path(names["certificate"])
    issued.private_key_pem.write_to_path(names["key"])
    authority.cert_pem.write_to_path(names["authority"])
    return names


@pytest.fixture(scope="module")
def guarded(shared_server: LocalServer, files: dict[str, Path]) -> Iterator[Gateway]:
    """Yield a gateway with a token and TLS."""
    with Gateway(
        endpoint=shared_server.url,
        api_key=shared_server.api_key,
        token=TOKEN,
        certfile=str(files["certificate"]),
        keyfile=str(files["key"]),
    ) as running:
        yield running


@pytest.fixture
def http(guarded: Gateway, files: dict[str, Path]) -> Iterator[httpx.Client]:
    """Yield an HTTP client that trusts the authority."""
    import ssl

    context = ssl.create_default_context(cafile=str(files["authority"]))
    with httpx.Client(base_url=guarded.url, verify=context, timeout=60) as client:
        yield client


@pytest.fixture
def export(guarded: Gateway, files: dict[str, Path]) -> Iterator[Any]:
    """Yield a gRPC client that trusts the authority."""
    credentials = grpc.ssl_channel_credentials(files["authority"].read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{guarded.grpc_port}", credentials) as channel:
        yield channel.unary_unary(EXPORT)


@pytest.mark.parametrize("given", WRONG)
def test_others_may_not(http: httpx.Client, given: str) -> None:
    """A request without a token, or with a part of the token, a longer token or another scheme, gets 401."""
    for body in (BODY, b"\xff", bytes(20_000_000)):
        headers = httpx.Headers({**PROTOBUF, "Authorization": given}, encoding="latin-1")
        answer = http.post("/v1/traces", content=body, headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        status = Status.FromString(answer.content)
        assert (status.code, TOKEN in status.message) == (16, False)


@pytest.mark.parametrize("given", [given for given in WRONG if given.isascii()])
def test_others_may_not_over_grpc(export: Any, given: str) -> None:
    """A gRPC call without the token gets UNAUTHENTICATED, even for invalid bytes."""
    for body in (BODY, b"\xff"):
        with pytest.raises(grpc.RpcError) as caught:
            export(body, timeout=60, metadata=[("authorization", given)] if given else None)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert TOKEN not in error.details()


def test_health_says_the_counts_to_those_who_may_send(http: httpx.Client) -> None:
    """`/health` without the token returns only the status, and with the token the counts as well."""
    assert http.get("/health").json() == {"status": "ok"}
    assert "spans_accepted" in http.get("/health", headers={"Authorization": f"Bearer {TOKEN}"}).json()


def test_exporters_with_token_and_tls(
    guarded: Gateway, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenTelemetry's exporters with token and TLS reach the gateway, with any case of the word Bearer."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)  # either would override the exporter's arguments
    headers, lower = ({"authorization": f"{scheme} {TOKEN}"} for scheme in ("Bearer", "bearer"))
    over_http = HttpExporter(f"{guarded.url}/v1/traces", certificate_file=str(files["authority"]), headers=lower)
    credentials = grpc.ssl_channel_credentials(files["authority"].read_bytes())
    over_grpc = GrpcExporter(f"https://127.0.0.1:{guarded.grpc_port}", credentials=credentials, headers=headers)
    for exporter in (over_http, over_grpc):
        assert exporter.export(agent_trace()) is SpanExportResult.SUCCESS
        exporter.shutdown()


@pytest.mark.parametrize("left_out", ["certfile", "keyfile"])
def test_tls_needs_both_files(shared_server: LocalServer, files: dict[str, Path], left_out: str) -> None:
    """`start` raises if one of the two files is not given, does not exist, or is not a certificate or key."""
    both = {"certfile": str(files["certificate"]), "keyfile": str(files["key"])}
    own = {"endpoint": shared_server.url, "api_key": shared_server.api_key}
    with pytest.raises(ConfigError, match="TLS needs both"):
        Gateway(**own, **{**both, left_out: None}).start()  # type: ignore[arg-type]
    with pytest.raises(OSError, match="No such file"):
        Gateway(**own, **{**both, left_out: "/nowhere.pem"}).start()  # type: ignore[arg-type]
    for ports in ({"http_port": None}, {"grpc_port": None}):
        with pytest.raises(OSError, match=r"."):
            Gateway(**own, **{**both, left_out: __file__}, **ports).start()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "token", "lines"), [("0.0.0.0", None, 1), ("0.0.0.0", "t", 0), ("127.0.0.1", None, 0)]
)
def test_an_open_door_is_logged_once(
    shared_server: LocalServer, caplog: pytest.LogCaptureFixture, host: str, token: str | None, lines: int
) -> None:
    """A gateway that is reachable from other machines without a token logs one warning."""
    with (
        caplog.at_level(logging.WARNING, "pandaprobe_otel"),
        Gateway(host, endpoint=shared_server.url, api_key=shared_server.api_key, token=token),
    ):
        pass
    assert sum("accepts traces from everybody" in record.getMessage() for record in caplog.records) == lines
