"""A model for the documentation: it answers with one sentence, in the protocol of any provider's client."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from like_openai import CLIENTS
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, Script, ScriptedEndpoint, ToolCall, text_of
from pandaprobe_otel.demo.scripts import parcel_script

ANSWER: Final = "It arrives on Tuesday."


def _answer_any(_: Any) -> Reply:
    return Reply(text=ANSWER)


@contextmanager
def models(script: Script = _answer_any) -> Generator[dict[str, str]]:
    """Yield environment variables with which the client of every provider finds the model.

    They lead to an endpoint that answers with the result of `script`.
    """
    with ScriptedEndpoint(script) as scripted:
        keys = ("OPENAI", "ANTHROPIC", "GEMINI", "MISTRAL", "CO")
        variables = ("ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "MISTRAL_SERVER_URL", "CO_API_URL", "OLLAMA_HOST")
        yield {
            **{f"{name.upper()}_BASE_URL": scripted.base_url for name in CLIENTS},
            **{f"{name.upper()}_API_KEY": "scripted" for name in (*CLIENTS, *keys)},
            **dict.fromkeys(("OPENAI_BASE_URL", "OPENAI_API_BASE"), scripted.base_url),
            **dict.fromkeys((*variables, "AWS_ENDPOINT_URL"), scripted.url),
            "AWS_ACCESS_KEY_ID": "scripted",
            "AWS_SECRET_ACCESS_KEY": "scripted",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "LITELLM_LOCAL_MODEL_COST_MAP": "true",  # otherwise the import of litellm sends a request
        }


# -- the programs on the pages of agent frameworks: a tool tracks the parcel, then the model answers -----------------

_PARCEL: Final = {"parcel": "P-4711"}
_FOUND: Final = "arrives on Tuesday"


def _without_notes(messages: Sequence[Message]) -> Reply:
    """Reply to Claude's program, which adds notes to the messages and the server's name to each tool."""
    said = [message for message in messages if message["role"] != "system"]
    return parcel_script("mcp__shop__track_parcel")(said)


def _by_fields(messages: Sequence[Message]) -> Reply:
    """Reply with the fields that DSPy requests instead of tool calls."""
    asked = text_of(messages[-1]["content"])
    known = _FOUND in asked
    said = {
        "next_thought": "I know enough." if known else "The carrier knows.",
        "next_tool_name": "finish" if known else "track_parcel",
        "next_tool_args": "{}" if known else '{"parcel": "P-4711"}',
        "reasoning": "The carrier said so.",
        "answer": f"Your parcel {_FOUND}.",
    }
    fields = re.findall(r"`\[\[ ## (\w+) ## ]]`", asked.rpartition("Respond with")[2])
    return Reply(text="\n\n".join(f"[[ ## {name} ## ]]\n{said[name]}" for name in fields if name in said))


def _by_a_last_tool(messages: Sequence[Message]) -> Reply:
    """Reply with a call of `final_answer`, as smolagents expects, which sends tool results as a user message."""
    if _FOUND in text_of(messages[-1]["content"]):
        return Reply(tool_calls=(ToolCall(name="final_answer", arguments={"answer": f"It {_FOUND}."}),))
    return Reply(tool_calls=(ToolCall(name="track_parcel", arguments=_PARCEL),))


def _as_an_object(_: Sequence[Message]) -> Reply:
    """Reply with the object that Instructor's program wants."""
    return Reply(tool_calls=(ToolCall(name="Order", arguments={**_PARCEL, "city": "Oslo"}),))


_OF_THEIR_OWN: Final[Mapping[str, Script]] = {
    "claude_agent_sdk": _without_notes,
    "dspy": _by_fields,
    "instructor": _as_an_object,
    "semantic_kernel": parcel_script("Carrier-track_parcel"),
    "smolagents": _by_a_last_tool,
}


def page_script(name: str) -> Script:
    """Return the script of the model for the program on the page of the integration `name`."""
    return _OF_THEIR_OWN.get(name, parcel_script())
