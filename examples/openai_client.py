"""Calls of the `openai` client, traced by one line: chat completions, the Responses API as a stream, and a failure.

pip install "pandaprobe-otel[openai,local]"
python openai_client.py                   # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python openai_client.py
"""

import os
from collections.abc import Sequence

from openai import BadRequestError, OpenAI

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Refusal, Reply

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")


@pandaprobe_otel.agent(name="travel_assistant")
def plan(city: str) -> str:
    """Ask three times: each call is a span below this one, with its messages, tokens and time to first token."""
    client = OpenAI(max_retries=0)
    question = {"role": "user", "content": f"Name one sight of {city}."}
    sight = client.chat.completions.create(model=MODEL, messages=[question])  # type: ignore[list-item]
    answer = ""
    for event in client.responses.create(model=MODEL, input=f"How do I get there by train? {city}", stream=True):
        if event.type == "response.output_text.delta":
            answer += event.delta
    try:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": ""}], temperature=9)
    except BadRequestError as error:  # the span is an ERROR with this text; the exception is unchanged
        print("refused:", error.status_code)
    return f"{sight.choices[0].message.content} {answer}"


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, every call of the client is traced
    with pandaprobe_otel.session("trip-1"), pandaprobe_otel.user("user-7"):
        print(plan("Vienna"))


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    asked = str(messages[-1]["content"])
    if not asked:
        raise Refusal(400, "Invalid value for temperature: 9")
    return Reply(text="The night train is the best way." if "train" in asked else "The Prater, with its great wheel.")


if __name__ == "__main__":
    with offline(script):
        main()
