"""The scripted model of the framework tests: an assistant that looks the weather up."""

from __future__ import annotations

from collections.abc import Sequence

from pandaprobe_otel.demo.scripted_endpoint import Message, Refusal, Reply, ToolCall, text_of

WEATHER = {"Łódź": "sunny", "Oslo": "snowy"}


def weather(city: str) -> str:
    """Tell the weather in a city."""
    if city not in WEATHER:
        raise LookupError(f"no station in {city}")
    return WEATHER[city]


def weather_model(messages: Sequence[Message]) -> Reply:
    """Call the tool for the city in the last question, then report its result.

    "Weather in Łódź?" works, "Weather in Atlantis?" makes the tool fail, and "Weather in Nowhere?" is refused with 400.
    The model answers any other message of a user at once.
    """
    last = messages[-1]
    said = text_of(last["content"])
    if last["role"] == "tool":
        return Reply(text=f"The station says: {said}")
    if "Weather in " not in said:
        return Reply(text=f"You said: {said}")
    city = said.rpartition("Weather in ")[2].partition("?")[0]
    if city == "Nowhere":
        raise Refusal(400, "There is no Nowhere.")
    return Reply(tool_calls=(ToolCall(name="weather", arguments={"city": city}),))
