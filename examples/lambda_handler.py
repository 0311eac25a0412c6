"""An AWS Lambda handler: traces are delivered before it returns, since the process may be frozen right after.

pip install "pandaprobe-otel[openai,local]"
python lambda_handler.py                  # two invocations, a scripted model, a local PandaProbe: no key, no cost

In AWS: handler `lambda_handler.handler`, with OPENAI_API_KEY and PANDAPROBE_API_KEY in the environment.
"""

import os
from collections.abc import Sequence
from typing import Any

from openai import OpenAI

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply


@pandaprobe_otel.agent(name="shop_assistant", ignore=("context",))
def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one invocation, which is one trace."""
    pandaprobe_otel.set_session(event.get("session"))
    completion = OpenAI().chat.completions.create(
        model=os.environ.get("OPENAI_MODEL", "gpt-5-mini"), messages=[{"role": "user", "content": event["question"]}]
    )
    return {"statusCode": 200, "body": completion.choices[0].message.content}


# Outermost, so that the flush follows the end of the trace. It takes at most two seconds, and never exceeds the time
# that `context` has left. A failed delivery does not fail the function.
handler = pandaprobe_otel.flush_on_return(answer)

if os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
    pandaprobe_otel.init()  # once for each instance, outside of the handler


class Context:
    """The part of Lambda's context that matters here."""

    def get_remaining_time_in_millis(self) -> int:
        return 3_000


def main() -> None:
    pandaprobe_otel.init()
    for question in ("Where is my order?", "Thank you!"):
        print(handler({"question": question, "session": "conversation-1"}, Context()))
        print("waiting:", pandaprobe_otel.status().spans_pending)


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    return Reply(text="On its way." if "order" in str(messages[-1]["content"]) else "You are welcome.")


if __name__ == "__main__":
    with offline(script):
        main()
