"""Bedrock's Converse API."""

from __future__ import annotations

import json
from typing import Any

import boto3

from aws_events import event, stream_reply
from bedrock_traffic import OLD
from provider_server import ProviderServer, json_reply

from .plants import Plants, planted

Json = dict[str, Any]


_clients: dict[str, Any] = {}


def client(server: ProviderServer) -> Any:
    """Return the client of this server, which all calls share, since making one takes a while."""
    if server.url not in _clients:
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
        _clients[server.url] = session.client("bedrock-runtime", endpoint_url=server.url)
    return _clients[server.url]


def close_clients() -> None:
    """Close all clients."""
    while _clients:
        _clients.popitem()[1].close()


def conversation(plant: Plants) -> Json:
    """Return a request of the Converse API, with blocks of every kind."""
    schema = {"type": "object", "description": plant.text("schema of tool")}
    tool = {
        "toolSpec": {"name": plant.text("tool"), "description": plant.text("about"), "inputSchema": {"json": schema}}
    }
    result = {"toolUseId": "t1", "status": "error", "content": [{"json": {"r": plant.text("tool result")}}]}
    plant.picture("given picture")
    return {
        "modelId": plant.text("asked model"),
        "system": [{"text": plant.text("system")}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": plant.text("question")},
                    {"image": {"format": "png", "source": {"bytes": b"picture of given picture"}}},
                    {"document": {"format": "txt", "name": plant.text("document name"), "source": {"bytes": b"text"}}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": plant.text("argument")}}},
                ],
            },
            {"role": "user", "content": [{"toolResult": result}]},
        ],
        "inferenceConfig": {"temperature": 0.5},
        "toolConfig": {"tools": [tool], "toolChoice": {"tool": {"name": plant.text("tool choice")}}},
        "additionalModelRequestFields": {"thinking": {"budget_tokens": plant.number("thinking")}},
        "guardrailConfig": {
            "guardrailIdentifier": "g",
            "guardrailVersion": plant.text("guardrail version"),
            "trace": "enabled",
        },
        "additionalModelResponseFieldPaths": [plant.text("wanted fields")],
        **(
            {}
            if OLD
            else {"requestMetadata": {"deal": plant.text("metadata")}, "performanceConfig": {"latency": "optimized"}}
        ),
    }


def said(plant: Plants) -> list[Json]:
    """Return the model's answer."""
    cited = {
        "content": [{"text": plant.text("cited answer")}],
        "citations": [{"title": plant.text("citation"), "sourceContent": [{"text": plant.text("source")}]}],
    }
    return [
        {"reasoningContent": {"reasoningText": {"text": plant.text("thought"), "signature": "sealed"}}},
        {"text": plant.text("answer")},
        *([] if OLD else [{"citationsContent": cited}]),
        {"toolUse": {"toolUseId": "t2", "name": plant.text("called"), "input": {"a": plant.text("new argument")}}},
    ]


def about(plant: Plants) -> Json:
    """Return the members that accompany the answer."""
    return {
        "usage": {"inputTokens": plant.number("in"), "outputTokens": plant.number("out"), "totalTokens": 1},
        "metrics": {"latencyMs": plant.number("latency")},
        "trace": {
            "guardrail": {
                "inputAssessment": {
                    "g": {
                        "topicPolicy": {
                            "topics": [
                                {"name": plant.text("topic"), "type": "DENY", "action": "BLOCKED"},
                            ]
                        }
                    }
                }
            }
        },
    }


@planted("bedrock", "conversation")
def _converse(server: ProviderServer, plant: Plants) -> object:
    more = {"additionalModelResponseFields": {"stop_sequence": plant.text("fields")}}
    message = {"role": "assistant", "content": said(plant)}
    server.replies(json_reply({"output": {"message": message}, "stopReason": "end_turn", **about(plant), **more}))
    return client(server).converse(**conversation(plant))


@planted("bedrock", "conversation stream")
def _converse_stream(server: ProviderServer, plant: Plants) -> object:
    events = [event("messageStart", {"role": "assistant"})]
    for index, block in enumerate(said(plant)):
        at = {"contentBlockIndex": index}
        if "toolUse" in block:
            use = {name: value for name, value in block["toolUse"].items() if name != "input"}
            events.append(event("contentBlockStart", {**at, "start": {"toolUse": use}}))
        events += [event("contentBlockDelta", {**at, "delta": delta}) for delta in _deltas(block)]
        events.append(event("contentBlockStop", at))
    more = {"additionalModelResponseFields": {"stop_sequence": plant.text("fields")}}
    events += [event("messageStop", {"stopReason": "end_turn", **more}), event("metadata", about(plant))]
    server.replies(stream_reply(events))
    return list(client(server).converse_stream(**conversation(plant))["stream"])


def _deltas(block: Json) -> list[Json]:
    if "reasoningContent" in block:
        return [{"reasoningContent": {"text": block["reasoningContent"]["reasoningText"]["text"]}}]
    if "toolUse" in block:
        return [{"toolUse": {"input": json.dumps(block["toolUse"]["input"])}}]
    if "citationsContent" in block:
        cited = block["citationsContent"]
        return [{"text": cited["content"][0]["text"]}, *({"citation": one} for one in cited["citations"])]
    return [{"text": block["text"]}]
