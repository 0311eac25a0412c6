"""Turns of live and realtime sessions over WebSockets."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import openai
import pytest

from gemini_sockets import live_client
from library_members import skip_without
from openai_sockets import socket_server
from provider_server import ProviderServer

from .plants import Plants, planted


@planted("google_genai", "live turn")
def _live(server: ProviderServer, plant: Plants) -> None:
    asyncio.run(_turns(plant))


def _said(plant: Plants) -> Sequence[Any]:
    found = {"webSearchQueries": [plant.text("search")], "groundingChunks": [{"web": {"uri": plant.text("source")}}]}
    code = {"executableCode": {"language": "PYTHON", "code": plant.text("code")}}
    parts = [{"text": plant.text("answer")}, {"text": plant.text("thought"), "thought": True}, code]
    usage = {"promptTokenCount": 120, "responseTokenCount": 34, "toolUsePromptTokenCount": plant.number("tool tokens")}
    return (
        {"serverContent": {"inputTranscription": {"text": plant.text("heard")}}},
        {"serverContent": {"modelTurn": {"role": "model", "parts": parts}}},
        {"serverContent": {"outputTranscription": {"text": plant.text("spoken")}}},
        {"serverContent": {"groundingMetadata": found}},
        {"serverContent": {"generationComplete": True}},
        {"serverContent": {"turnComplete": True}, "usageMetadata": {**usage, "totalTokenCount": 154}},
    )


async def _turns(plant: Plants) -> None:
    declared = {"name": "look_up", "description": plant.text("function")}
    config: Any = {
        "system_instruction": plant.text("instruction"),
        "response_modalities": ["TEXT"],
        "speech_config": {"language_code": plant.text("language")},
        "tools": [{"function_declarations": [declared]}],
    }
    call = {"id": "c1", "name": "look_up", "args": {"place": plant.text("argument")}}
    script = [[{"toolCall": {"functionCalls": [call]}}], _said(plant)]
    asked: Any = {"role": "user", "parts": [{"text": plant.text("question")}]}
    answer: Any = {"id": "c1", "name": "look_up", "response": {"result": plant.text("result")}}
    async with (
        live_client(script) as client,
        client.aio.live.connect(model="gemini-live", config=config) as session,
    ):
        await session.send_client_content(turns=asked, turn_complete=True)
        await anext(session.receive())
        await session.send_tool_response(function_responses=answer)
        assert [message async for message in session.receive()]


@planted("google_genai", "live turn with sound and pictures")
def _live_media(server: ProviderServer, plant: Plants) -> None:
    asyncio.run(_media(plant))


async def _media(plant: Plants) -> None:
    said = [{"serverContent": {"modelTurn": {"parts": [{"text": plant.text("answer")}]}}}]
    script = [[], [], [*said, {"serverContent": {"turnComplete": True}}]]
    sound, picture = (base64.b64decode(plant.picture(each)) for each in ("sound", "picture"))
    async with live_client(script) as client, client.aio.live.connect(model="gemini-live") as session:
        await session.send_realtime_input(audio={"data": sound, "mime_type": "audio/pcm"})
        await session.send_realtime_input(video={"data": picture, "mime_type": "image/png"})
        await session.send_realtime_input(text=plant.text("question"))
        assert [message async for message in session.receive()]


@planted("openai", "realtime turn")
def _realtime(server: ProviderServer, plant: Plants) -> None:
    pytest.importorskip("websockets.exceptions")
    function = {"type": "function", "name": "look_up", "description": plant.text("function"), "parameters": {}}
    session = {
        "type": "realtime",
        "model": "gpt-realtime",
        "instructions": plant.text("instructions"),
        "tools": [function],
        "audio": {"output": {"voice": plant.text("voice")}},
        "prompt": {"id": plant.text("prompt"), "variables": {"city": plant.text("variable")}},
    }
    content = [{"type": "output_text", "text": plant.text("answer")}]
    answered = [
        {"id": "item_9", "type": "message", "role": "assistant", "status": "completed", "content": content},
        {"id": "item_8", "type": "function_call", "name": "look_up", "call_id": "c1", "arguments": plant.text("call")},
    ]
    usage = {"total_tokens": 154, "input_tokens": 120, "output_tokens": 34, "seconds": plant.number("seconds")}
    done = {
        "id": plant.text("response"),
        "object": "realtime.response",
        "status": "completed",
        "conversation_id": plant.text("conversation"),
        "output": answered,
        "usage": usage,
    }
    turn = ({"type": "response.created", "response": {"id": done["id"]}}, {"type": "response.done", "response": done})
    greeting = ({"type": "session.created", "session": session},)
    asked: list[Any] = [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": plant.text("question")},
                {"type": "input_image", "image_url": plant.data_url("picture")},
            ],
        },
        {"type": "function_call", "name": "look_up", "call_id": "c0", "arguments": plant.text("earlier call")},
        {"type": "function_call_output", "call_id": "c0", "output": plant.text("result")},
    ]
    with socket_server(lambda event: turn if event["type"] == "response.create" else (), greeting=greeting) as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        skip_without(client, "realtime")
        with client, client.realtime.connect(model="gpt-realtime") as connection:
            connection.recv()
            for item in asked:
                connection.conversation.item.create(item=item)
            connection.response.create(response={"metadata": {"deal": plant.text("metadata")}})
            while connection.recv().type != "response.done":
                pass
