"""Objects that Instructor extracts from letters, traced by one line: the model's first answer does not fit the class.

pip install "pandaprobe-otel[instructor,local]" openai
python instructor_extraction.py                # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python instructor_extraction.py
"""

import os
from collections.abc import Sequence

import instructor
from openai import OpenAI
from pydantic import BaseModel, Field

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ToolCall


class Complaint(BaseModel):
    """A complaint about a parcel."""

    parcel: str
    days_late: int = Field(ge=0)


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, each call is a trace with all of its attempts
    client = instructor.from_openai(OpenAI())
    with pandaprobe_otel.session("letters-1"):
        for letter in ("My parcel P-4711 is two days late!", "Where is P-0815? It should be here since Monday."):
            found = client.create(
                model=os.environ.get("OPENAI_MODEL", "gpt-5-mini"),
                response_model=Complaint,
                messages=[{"role": "user", "content": letter}],
            )
            print(found)


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set: for the first letter, a number that is not in days comes first."""
    asked = str(messages)
    days = 3 if "P-0815" in asked else 2 if len(messages) > 1 else -2
    parcel = "P-0815" if "P-0815" in asked else "P-4711"
    return Reply(tool_calls=(ToolCall(name="Complaint", arguments={"parcel": parcel, "days_late": days}),))


if __name__ == "__main__":
    with offline(script):
        main()
