"""Which calls have ended, and which of them a new one comes after."""

from __future__ import annotations

from pandaprobe_otel.replay.flows import Flow, flow_of


class CallsSoFar:
    """The order of calls: of those that had ended before one began, the ones that imply all others."""

    def __init__(self) -> None:
        self._flows: dict[int, Flow] = {}
        self._implied: dict[int, int] = {}

    def began(self, number: int) -> tuple[int, ...]:
        """Note the beginning of a call; return the calls that it comes after, without those that these imply."""
        flow = self._flows[number] = flow_of(self)
        rest = flow.before
        found: list[int] = []
        implied = 0
        while rest:
            newest = rest.bit_length() - 1
            found.append(newest)
            implied |= self._implied.get(newest, 0) | 1 << newest
            rest &= ~implied
        self._implied[number] = implied
        return tuple(reversed(found))

    def ended(self, number: int) -> None:
        """Note the end of a call."""
        flow = self._flows.pop(number, None)
        if flow is not None:
            flow.ended(number)
