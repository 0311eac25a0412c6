"""Thirteen small programs that fail, each with a fix, with another bug, and with a scripted model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ToolCall

_HEAD: Final = '''"""A shop's assistant."""

import asyncio
import json

import openai

import pandaprobe_otel
from pandaprobe_otel import agent, retriever, tool

client = openai.OpenAI()


def spec(name: str, *parameters: str) -> dict:
    properties = {one: {"type": "string"} for one in parameters}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


def ask(messages: list, tools: list | None = None):
    more = {"tools": tools} if tools else {}
    return client.chat.completions.create(model="gpt-5-mini", messages=messages, **more).choices[0]


def said(message) -> dict:
    return message.model_dump(exclude_none=True)


def note(what: str) -> None:
    with open("effects.txt", "a") as file:
        file.write(what + "\\n")

'''
_FOOT: Final = """

if __name__ == "__main__":
    pandaprobe_otel.init()
    try:
        {call}
    except BaseException as error:
        print(type(error).__name__)
    pandaprobe_otel.flush()
"""
_TOOLS: Final = """
@tool
def look_up_order(number: str) -> dict:
    note("look_up_order")
    return {"number": number, "status": "on its way"}


@tool
def refund(number: str) -> dict:
    note("refund")
    return {"refunded": number}

"""
_LOOP: Final = """
@agent
def answer(question: str) -> str:
    messages = [{"role": "system", "content": "You help."}, {"role": "user", "content": question}]
    for _ in range(4):
        message = ask(messages, [spec("look_up_order", "number"), spec("refund", "number")]).message
        messages.append(said(message))
        if not message.tool_calls:
            return message.content
        for call in message.tool_calls:
            arguments = json.loads(call.function.arguments)
            result = RUN(call.function.name, arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
    return "I could not find out."
"""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that fails.

    Attributes:
        mended: The text to replace and its replacement, which fix the bug.
        broken: The text to replace in the fixed program, and its replacement, which add another bug.
        fails: Text in the failure of the program's test.
        breaks: Text in the failure of the same test with the other bug.
    """

    source: str
    script: Callable[[Sequence[Message]], Reply]
    mended: tuple[str, str]
    broken: tuple[str, str]
    fails: str
    breaks: str = "Divergence"
    call: str = 'answer("Where is my order A-17?")'

    @property
    def text(self) -> str:
        """The program's module."""
        return _HEAD + self.source + _FOOT.replace("{call}", self.call)

    @property
    def mended_text(self) -> str:
        """The module without its bug."""
        return _replaced(self.text, self.mended)

    @property
    def broken_text(self) -> str:
        """The module with the other bug instead."""
        return _replaced(self.mended_text, self.broken)


def _replaced(text: str, change: tuple[str, str]) -> str:
    assert text.count(change[0]) == 1, change
    return text.replace(*change)


def _calls(name: str, **arguments: object) -> Reply:
    return Reply(tool_calls=(ToolCall(name=name, arguments=arguments),))


def _once(*calls: Reply, then: str = "It is on its way.") -> Callable[[Sequence[Message]], Reply]:
    """Return the script of a model that makes these calls one after the other, and then answers."""

    def script(messages: Sequence[Message]) -> Reply:
        results = sum(message["role"] == "tool" for message in messages)
        return calls[results] if results < len(calls) else Reply(text=then)

    return script


def _late(_: Sequence[Message]) -> Reply:
    time.sleep(1.5)
    return Reply(text="Too late.")


PROMPT: Final = ('"You help."', '"You hinder."')

LOOP: Final = Program(
    source=_TOOLS
    + """
TOOLS = {"look_up_order": look_up_order, "refund": refund}
"""
    + _LOOP.replace("RUN(call.function.name, arguments)", "TOOLS[call.function.name](**arguments)").replace(
        "            messages.append({", "            _ = ({"
    ),
    script=_once(_calls("look_up_order", number="A-17")),
    mended=("            _ = ({", "            messages.append({"),
    broken=('"You help."', '"You help little."'),
    fails="that fits",
)
PROGRAMS: Final = {
    "wrong_tool": Program(
        source=_TOOLS
        + """
TOOLS = {"look_up_order": refund, "refund": refund}
"""
        + _LOOP.replace("RUN(call.function.name, arguments)", "TOOLS[call.function.name](**arguments)"),
        script=_once(_calls("look_up_order", number="A-17")),
        mended=('"look_up_order": refund', '"look_up_order": look_up_order'),
        broken=PROMPT,
        fails="expected tool 'look_up_order' with number=",
    ),
    "bad_arguments": Program(
        source=_TOOLS
        + """
TOOLS = {"look_up_order": look_up_order, "refund": refund}
"""
        + _LOOP.replace(
            "RUN(call.function.name, arguments)",
            'TOOLS[call.function.name](number=arguments["number"].strip("A-"))',
        ),
        script=_once(_calls("look_up_order", number="A-17")),
        mended=('.strip("A-")', ""),
        broken=('number=arguments["number"]', 'number=arguments["number"].lower()'),
        fails="expected tool 'look_up_order' with number='A-17'",
        breaks="expected tool 'look_up_order' with number='A-17'",
    ),
    "refused_tool": Program(
        source=_TOOLS
        + """
TOOLS = {"look_up_order": look_up_order, "refund": refund}
ALLOWED = {"look_up_order"}


def run(name: str, arguments: dict):
    return TOOLS[name](**arguments) if name in ALLOWED else "You may not."

"""
        + _LOOP.replace("RUN(", "run("),
        script=_once(_calls("look_up_order", number="A-17"), _calls("refund", number="A-17"), then="Done."),
        mended=('ALLOWED = {"look_up_order"}', 'ALLOWED = {"look_up_order", "refund"}'),
        broken=PROMPT,
        fails="expected tool 'refund' with number=",
    ),
    "loop": LOOP,
    "unheard": replace(LOOP, broken=('"content": json.dumps(result)', '"content": "done"'), breaks="that fits"),
    "timeout": Program(
        source="""
impatient = openai.OpenAI(timeout=0.5, max_retries=1)


@agent
def answer(question: str) -> str:
    messages = [{"role": "system", "content": "You help."}, {"role": "user", "content": question}]
    try:
        return impatient.chat.completions.create(model="gpt-5-mini", messages=messages).choices[0].message.content
    except openai.RateLimitError:
        return "Please ask again later."
""",
        script=_late,
        mended=("openai.RateLimitError", "openai.APITimeoutError"),
        broken=("openai.APITimeoutError", "openai.APIStatusError"),
        fails="APITimeoutError",
        breaks="APITimeoutError",
    ),
    "refusal": Program(
        source="""
@agent
def answer(question: str) -> str:
    messages = [{"role": "system", "content": "You discuss orders."}, {"role": "user", "content": question}]
    ask([{"role": "user", "content": f"Which order? {question}"}])
    return ask(messages).message.content
""",
        script=lambda messages: Reply(
            text="I'm sorry, but I can't help with that." if messages[0]["role"] == "system" else "A-17"
        ),
        mended=("You discuss orders.", "You discuss orders and returns."),
        broken=("Which order?", "What order?"),
        fails="expected span 'answer' that fits never, found 1",
    ),
    "ignored_document": Program(
        source="""
@retriever
def search(query: str) -> list:
    return [{"id": "d1", "content": "Parcels to islands take nine days."}]


@agent
def answer(question: str) -> str:
    documents = search(question)
    known = "\\n".join(one["content"] for one in documents[1:])
    messages = [{"role": "system", "content": f"You help. You know: {known}"}, {"role": "user", "content": question}]
    return ask(messages).message.content
""",
        script=lambda messages: Reply(text="I do not know."),
        mended=("documents[1:]", "documents"),
        broken=('one["content"] for', 'one["id"] for'),
        fails="that fits",
        breaks="that fits",
    ),
    "truncated": Program(
        source="""
@agent
def answer(question: str) -> str:
    messages = [{"role": "system", "content": "You help."}, {"role": "user", "content": question}]
    choice = ask(messages)
    if choice.finish_reason == "never":
        messages += [said(choice.message), {"role": "user", "content": "Go on."}]
        return choice.message.content + ask(messages).message.content
    return choice.message.content
""",
        script=lambda messages: Reply(text="Your order A-17 is on its way and will be", is_cut=True),
        mended=('"never"', '"length"'),
        broken=PROMPT,
        fails="expected span 'answer' that fits never, found 1",
    ),
    "exception_in_a_tool": Program(
        source="""
@tool
def look_up_order(number: str) -> dict:
    note("look_up_order")
    raise LookupError(f"no order {number}")


@tool
def refund(number: str) -> dict:
    return {"refunded": number}


def run(name: str, arguments: dict):
    try:
        return {"look_up_order": look_up_order, "refund": refund}[name](**arguments)
    except TimeoutError as error:
        return {"error": str(error)}

"""
        + _LOOP.replace("RUN(", "run("),
        script=_once(_calls("look_up_order", number="A-17")),
        mended=("except TimeoutError", "except LookupError"),
        broken=PROMPT,
        fails="LookupError: no order A-17",
    ),
    "wrong_hand_off": Program(
        source="""
def specialist(name: str):
    @agent(name=name)
    def run(question: str) -> str:
        messages = [{"role": "system", "content": f"You are {name}."}, {"role": "user", "content": question}]
        return ask(messages).message.content

    return run


billing, shipping = specialist("billing"), specialist("shipping")
DESKS = {"billing": shipping, "shipping": shipping}


@agent
def answer(question: str) -> str:
    messages = [{"role": "system", "content": "You help."}, {"role": "user", "content": question}]
    message = ask(messages, [spec("transfer_to_billing"), spec("transfer_to_shipping")]).message
    if not message.tool_calls:
        return message.content
    return DESKS[message.tool_calls[0].function.name.removeprefix("transfer_to_")](question)
""",
        script=lambda messages: (
            _calls("transfer_to_billing")
            if messages[0]["content"] == "You help."
            else Reply(text=f"{messages[0]['content']} Hello.")
        ),
        mended=('"billing": shipping', '"billing": billing'),
        broken=PROMPT,
        fails="expected agent 'billing' at least once",
        call='answer("Why was I charged twice?")',
    ),
    "broken_json": Program(
        source="""
def parsed(text: str) -> dict:
    fence = "~~~"
    return json.loads(text.strip().removeprefix(f"{fence}json").removesuffix(fence))


@agent
def answer(question: str) -> dict:
    messages = [{"role": "system", "content": "Answer in JSON."}, {"role": "user", "content": question}]
    return parsed(ask(messages).message.content)
""",
        script=lambda messages: Reply(text='```json\n{"status": "on its way"}\n```'),
        mended=('fence = "~~~"', 'fence = "```"'),
        broken=('"Answer in JSON."', '"Answer in YAML."'),
        fails="JSONDecodeError",
    ),
    "cancelled": Program(
        source="""
asynchronous = openai.AsyncOpenAI()
LIMIT = 0


@tool
async def look_up_order(number: str) -> dict:
    note("look_up_order")
    return {"status": "on its way"}


@agent
async def answer(question: str) -> str:
    messages = [{"role": "system", "content": "You help."}, {"role": "user", "content": question}]
    for turn in range(4):
        given = [spec("look_up_order", "number")]
        done = await asynchronous.chat.completions.create(model="gpt-5-mini", messages=messages, tools=given)
        message = done.choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(said(message))
        for call in message.tool_calls:
            result = await look_up_order(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
        if turn >= LIMIT:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
    return "I could not find out."
""",
        script=_once(_calls("look_up_order", number="A-17")),
        mended=("LIMIT = 0", "LIMIT = 3"),
        broken=PROMPT,
        fails="CancelledError",
        call='asyncio.run(answer("Where is my order A-17?"))',
    ),
}
