"""The recorded input of a call: which arguments it contains, and in which form."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

import pandaprobe_otel as pp
from span_recorder import SpanRecorder

SENTINEL = object()
ABSENT = "absent"


def plain(query: str, limit: int = 5, *, token: str = "", client: Any = SENTINEL) -> None:
    """Take what a typical tool takes."""


def catch_all(query: str, *rest: Any, **extra: Any) -> None:
    """Take anything."""


def positional_only(a: int, b: int = 2, /) -> None:
    """Take no keywords."""


class Service:
    """A class with a method that only has a receiver, and a static method that seems to have one."""

    def alone(self) -> None:
        """Take only a receiver."""

    def method(self, query: str) -> None:
        """Take a receiver and an argument."""


def read(recorder: SpanRecorder, decorate: Callable[..., Any], function: Any, *arguments: Any, **named: Any) -> Any:
    """Return the recorded input of a call of the decorated function, `ABSENT` if there is none."""
    recorder.clear()
    decorate(function)(*arguments, **named)
    return recorder.input() if "pandaprobe.input" in recorder.attributes() else ABSENT


def test_one_given_argument_is_bare_and_several_are_an_object(recorder: SpanRecorder) -> None:
    """Several arguments are in the order of the signature, with defaults that are no sentinels."""
    seen = functools.partial(read, recorder, pp.chain)
    assert seen(plain, "tea") == seen(plain, query="tea") == seen(Service.method, Service(), "tea") == "tea"
    assert json.dumps(seen(plain, "tea", token="t")) == '{"query": "tea", "limit": 5, "token": "t"}'
    assert seen(plain, "tea", client="c") == {"query": "tea", "limit": 5, "token": "", "client": "c"}
    assert seen(lambda messages: None, [1]) == {"messages": [1]}
    assert seen(Service.alone, Service()) == ABSENT
    assert seen(catch_all, "tea", 1, 2, a="A") == {"query": "tea", "rest": [1, 2], "a": "A"}
    assert seen(positional_only, 1, 3) == {"a": 1, "b": 3}
    assert seen(max, 1, 2) == [1, 2]
    assert seen(max, 1, 2, key=abs) == {"args": [1, 2], "key": "<built-in function abs>"}


def test_tools_keep_the_object_even_of_one_or_no_argument(recorder: SpanRecorder) -> None:
    """The arguments of a tool call are an object, even for one argument or none."""
    assert read(recorder, pp.tool, plain, "tea") == {"query": "tea", "limit": 5, "token": ""}
    assert read(recorder, pp.tool, Service.alone, Service()) == {}


def test_capture_and_ignore_choose_arguments(recorder: SpanRecorder) -> None:
    """A name of `**extra` stands for all of its members; a single argument that is left is bare."""

    def only(*names: str) -> Any:
        return functools.partial(read, recorder, pp.chain(capture=names))

    def without(names: Any) -> Any:
        return functools.partial(read, recorder, pp.chain(ignore=names))

    assert only("query", "token")(plain, "tea", 3) == "tea"
    assert only("query", "token")(plain, "tea", 3, token="t") == {"query": "tea", "token": "t"}
    assert only()(plain, "tea") == ABSENT
    assert only("extra")(catch_all, "tea", a=1, b=2) == {"a": 1, "b": 2}
    assert without(("token",))(plain, "tea", 3, token="secret") == {"query": "tea", "limit": 3}
    assert without({"token"})(catch_all, "tea", token="secret", a=1) == {"query": "tea", "a": 1}
    assert without(["extra"])(catch_all, "tea", a=1, b=2) == "tea"


def test_first_argument_of_a_static_method_may_be_called_self(recorder: SpanRecorder) -> None:
    """In a static method, a first argument called `self` is recorded."""

    class Desk:
        @pp.chain
        @staticmethod
        def ask(self: str, query: str) -> None:
            """Take two arguments."""

    Desk.ask("me", "tea")
    assert recorder.input() == {"self": "me", "query": "tea"}


def test_annotations_may_name_undefined_classes(recorder: SpanRecorder) -> None:
    """An annotation may name an undefined class: one defined later, or one that only type checkers import."""
    lazily = "" if sys.version_info >= (3, 14) else "from __future__ import annotations\n"
    source = lazily + "def function(query: Nowhere, limit: int = 5) -> Nobody: ..."
    names: dict[str, Any] = {}
    exec(compile(source, "<function>", "exec", dont_inherit=True), names)

    pp.chain(names["function"])("tea", 3)
    assert recorder.input() == {"query": "tea", "limit": 3}


def test_signature_that_raises_is_survived(recorder: SpanRecorder, caplog: pytest.LogCaptureFixture) -> None:
    """A callable object whose `__signature__` raises is still traced."""

    class Odd:
        def __call__(self, x: int) -> int:
            return x

        @property
        def __signature__(self) -> object:
            raise RuntimeError("no signature")

    assert pp.chain(Odd())(1) == 1
    assert recorder.input() == [1]
    caplog.clear()
