"""Amazon Bedrock through boto3: the operations of the services that call models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from surface.census import Library, Method, Roll

_SERVICES: Final = ("bedrock-runtime", "bedrock-agent-runtime")


class _Refusal:
    """The body of an answer, as botocore reads it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield b'{"message":"no"}'

    def read(self, *_: Any) -> bytes:
        return b""


@contextmanager
def _open() -> Iterator[Roll]:
    roll = Roll(methods=())

    def answer(request: Any, **_: Any) -> AWSResponse:
        roll.requests.append(f"{request.method} {request.url}")
        return AWSResponse(request.url, 400, {"content-type": "application/json"}, _Refusal())

    session = boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1")
    found: list[Method] = []
    for service in _SERVICES:
        client = session.client(service, config=Config(parameter_validation=False, retries={"max_attempts": 0}))
        client.meta.events.register(f"before-send.{service}", answer)
        names = client.meta.method_to_api_mapping
        found += [Method(f"{service} {name}", _asking(client, name)) for name in sorted(names)]
    roll.methods = found
    yield roll


def _asking(client: Any, name: str) -> Callable[[], Any]:
    shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[name]).input_shape
    given = dict.fromkeys(shape.required_members if shape is not None else (), "x")
    return lambda: getattr(client, name)(**given)


LIBRARY: Final = Library(
    integration="bedrock",
    distribution="boto3",
    open=_open,
    left_out={
        "Tokens are counted, guardrails applied: no model answers.": (
            "bedrock-runtime apply_guardrail",
            "bedrock-runtime count_tokens",
            "bedrock-runtime invoke_guardrail_checks",
        ),
        "Only clients that are not botocore's can speak in both directions at once.": (
            "bedrock-runtime invoke_model_with_bidirectional_stream",
        ),
        "Agents, flows and knowledge bases run at AWS: which models they ask, and what it costs, is not said.": (
            "bedrock-agent-runtime *",
        ),
    },
)
