"""A project to improve: a shop's agent whose model writes amounts with a comma unless its prompt says otherwise.

The model is scripted: it obeys directives that it finds in the system prompt, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from provider_server import Received, Reply, json_reply

FILES: Final[Mapping[str, str]] = {
    "prompts/refund.md": "You refund orders.\n",
    "tools.py": '''\
def refund_order(order: str, amount: str) -> str:
    """Refund an order."""
    return f"{order}: {float(amount):.2f}"
''',
}
APP: Final = """\
import json
from pathlib import Path

from openai import OpenAI
from pandaprobe_otel import agent, tool

import tools

refund_order = tool(tools.refund_order)


@agent
def support(question: str) -> str:
    prompt = (Path(__file__).parent / "prompts" / "refund.md").read_text(encoding="utf-8")
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": question}]
    said = OpenAI().chat.completions.create(model="m", messages=messages).choices[0].message
    if not said.tool_calls:
        raise RuntimeError(f"the model asked for no refund: {said.content}")
    return refund_order(**json.loads(said.tool_calls[0].function.arguments))
"""
"""The program, with OpenAI's client."""
PYDANTIC_AI_APP: Final = """\
from pathlib import Path

from pandaprobe_otel import agent
from pydantic_ai import Agent, Tool
from pydantic_ai.messages import ToolReturnPart

import tools


@agent
def support(question: str) -> str:
    prompt = (Path(__file__).parent / "prompts" / "refund.md").read_text(encoding="utf-8")
    clerk = Agent("openai-chat:m", instructions=prompt, tools=[Tool(tools.refund_order)])
    done = clerk.run_sync(question)
    if not any(isinstance(part, ToolReturnPart) for message in done.all_messages() for part in message.parts):
        raise RuntimeError(f"the model asked for no refund: {done.output}")
    return done.output
"""
"""The program, with an agent of Pydantic AI."""
PRODUCTS: Final = (
    "blender",
    "kettle",
    "toaster",
    "lamp",
    "chair",
    "desk",
    "phone",
    "clock",
    "mixer",
    "radio",
    "fan",
    "oven",
)
WHOLE: Final = ("books", "gift", "mug", "pen")
"""Products whose prices have no cents, so that the model makes no mistake."""


def question(product: str) -> str:
    """Return a customer's question about a product."""
    return f"Please pay back my {product}."


def answer(asked: Received) -> Reply:
    """Answer with a call of the tool, following the directives in the prompt."""
    text_of_error = {message["role"]: _text(message["content"]) for message in asked.json["messages"]}
    if "tool" in text_of_error:
        return _reply({"role": "assistant", "content": f"Paid back. {text_of_error['tool']}"})
    prompt, said = text_of_error["system"], text_of_error["user"]
    product = said.removeprefix("Please pay back my ").removesuffix(".")
    if "never refund gifts" in prompt and product == "gift":
        return _reply({"role": "assistant", "content": "Gifts are not paid back."})
    obeys = "decimal point" in prompt or "like 129.00" in prompt or product in prompt
    amount = "20" if product in WHOLE else "129.00" if obeys else "129,00"
    call = {"name": "refund_order", "arguments": json.dumps({"order": product, "amount": amount})}
    return _reply(
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": call}]}
    )


def _text(content: Any) -> str:
    """Return the text of a message, which some clients send in parts."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content or ())


def _reply(message: Mapping[str, Any]) -> Reply:
    finish = "tool_calls" if "tool_calls" in message else "stop"
    return json_reply(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": finish, "message": message}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
        }
    )


def written(root: Path, *, app: str = APP) -> Path:
    """Write the project and return its folder."""
    for name, text in {**FILES, "app.py": app}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root
