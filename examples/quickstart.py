"""A shop's assistant: it calls tools, survives a failing one, and is traced by a single line.

pip install "pandaprobe-otel[openai,local]"
python quickstart.py                      # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python quickstart.py

`pandaprobe-otel demo` runs this file, and checks that its traces match its actions.
"""

import inspect
import json
import os
import time
from collections.abc import Callable
from typing import Any

from openai import OpenAI

import pandaprobe_otel
from pandaprobe_otel import agent, tool
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import shop_script

MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
ORDERS = {"A-17": {"item": "espresso machine", "parcel": "P-4711"}}
PARCELS = {"P-4711": {"status": "on its way", "arrives": "on Tuesday before noon"}}

conversation: list[Any] = [{"role": "system", "content": "You answer customers of a shop in one sentence."}]


@tool
def look_up_order(number: str) -> dict[str, str]:
    """Find an order by its number."""
    if number not in ORDERS:
        raise LookupError(f"no order '{number}': numbers start with a letter, such as A-12")
    return ORDERS[number]


@tool
def track_parcel(parcel: str) -> dict[str, str]:
    """Ask the carrier where a parcel is."""
    return PARCELS[parcel]


TOOLS = {function.__name__: function for function in (look_up_order, track_parcel)}


def schema(function: Callable[..., Any]) -> Any:
    """Describe a tool to the model."""
    arguments = list(inspect.signature(function).parameters)
    parameters = {
        "type": "object",
        "properties": {argument: {"type": "string"} for argument in arguments},
        "required": arguments,
    }
    description = {"name": function.__name__, "description": function.__doc__, "parameters": parameters}
    return {"type": "function", "function": description}


def run_tool(name: str, arguments: str) -> str:
    """Call a tool for the model. A failure is returned as text, so that the model may try again."""
    try:
        return json.dumps(TOOLS[name](**json.loads(arguments)))
    except LookupError as error:
        return f"error: {error}"


@agent(name="shop_assistant")
def answer(question: str) -> str:
    """Let the model call tools until it knows the answer."""
    conversation.append({"role": "user", "content": question})
    tools = [schema(function) for function in TOOLS.values()]
    while True:
        completion = OpenAI().chat.completions.create(model=MODEL, messages=conversation, tools=tools)
        message = completion.choices[0].message
        conversation.append(message.to_dict())
        if not message.tool_calls:
            return message.content or ""
        for call in message.tool_calls:
            if call.type == "function":
                result = run_tool(call.function.name, call.function.arguments)
                conversation.append({"role": "tool", "tool_call_id": call.id, "content": result})


@agent(name="note_writer")
def write_note(wish: str) -> str:
    """Write a text from the conversation, shown while the model writes it."""
    conversation.append({"role": "user", "content": wish})
    text = ""
    for chunk in OpenAI().chat.completions.create(
        model=MODEL, messages=conversation, stream=True, stream_options={"include_usage": True}
    ):
        piece = (chunk.choices[0].delta.content or "") if chunk.choices else ""
        print(piece, end="", flush=True)
        text += piece
    print()
    conversation.append({"role": "assistant", "content": text})
    return text


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, tools and model calls are traced

    session = f"quickstart-{time.time_ns():x}"
    with pandaprobe_otel.session(session):  # two turns, two traces, one session
        question = "Where is my order 17?"
        print(f"Customer:  {question}\nAssistant: {answer(question)}")
        wish = "Write a note that asks my neighbour to take it in."
        print(f"Customer:  {wish}\nAssistant: ", end="")
        write_note(wish)
    print(f"Session:   {session}")


if __name__ == "__main__":
    with offline(shop_script):
        main()
