"""The recorded input of a call: which arguments it contains, and in which form."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from pandaprobe_otel.capture.arguments import NOTHING, ArgumentReader

SENTINEL = object()


def plain(query: str, limit: int = 5, *, token: str = "", client: Any = SENTINEL) -> None:
    """Take what a typical tool takes."""


def catch_all(query: str, *rest: Any, **extra: Any) -> None:
    """Take anything."""


def positional_only(a: int, b: int = 2, /) -> None:
    """Take no keywords."""


class Service:
    def method(self, query: str) -> None:
        """Take a receiver and an argument."""

    def alone(self) -> None:
        """Take only a receiver."""


def read(function: Callable[..., Any], /, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> object:
    """Return the input of `function(*args, **kwargs)`."""
    return ArgumentReader(function, **(options or {}))(args, kwargs)


def test_one_given_argument_is_its_bare_value() -> None:
    """A single given argument is recorded bare, by position or by name, despite other parameters with defaults."""
    assert read(plain, "tea") == "tea"
    assert read(plain, query="tea") == "tea"


def test_several_arguments_are_an_object_in_the_order_of_the_signature() -> None:
    """Several arguments form an object with defaults filled in, without those that are sentinels."""
    found = read(plain, "tea", token="t")
    assert found == {"query": "tea", "limit": 5, "token": "t"}
    assert isinstance(found, dict)
    assert list(found) == ["query", "limit", "token"]


def test_given_value_replaces_a_hidden_default() -> None:
    """A parameter whose default is a sentinel is recorded when it is given."""
    assert read(plain, "tea", client="c") == {"query": "tea", "limit": 5, "token": "", "client": "c"}


def test_tools_keep_the_object_even_of_one_or_no_argument() -> None:
    """The arguments of a tool call are an object, even for one argument or none."""
    assert read(plain, "tea", options={"keep_object": True}) == {"query": "tea", "limit": 5, "token": ""}
    assert read(Service.alone, Service(), options={"keep_object": True}) == {}


def test_messages_keep_their_name() -> None:
    """A single parameter called `messages` keeps its name, since PandaProbe reads inputs of that form."""

    def chat(messages: list[Any]) -> None:
        """Take messages."""

    assert read(chat, [1]) == {"messages": [1]}


def test_receiver_is_left_out() -> None:
    """`self` is not recorded; without other arguments there is no input."""
    assert read(Service.method, Service(), "tea") == "tea"
    assert read(Service.alone, Service()) is NOTHING


def test_first_argument_of_a_static_method_may_be_called_self() -> None:
    """In a static method, a first argument called `self` is recorded."""
    assert read(Service.method, "me", "tea", options={"has_receiver": False}) == {"self": "me", "query": "tea"}


def test_extra_arguments() -> None:
    """`*rest` is recorded as a list under its name, and each `**extra` argument under its own name."""
    assert read(catch_all, "tea", 1, 2, a="A") == {"query": "tea", "rest": (1, 2), "a": "A"}


def test_capture_names_some() -> None:
    """`capture` records only the named arguments, and a single one is recorded bare."""
    assert read(plain, "tea", 3, options={"only": ("query", "token")}) == "tea"
    assert read(plain, "tea", 3, token="t", options={"only": ("query", "token")}) == {"query": "tea", "token": "t"}
    assert read(plain, "tea", options={"only": ()}) is NOTHING


@pytest.mark.parametrize("options", [{"ignore": ("token",)}, {"ignore": ["token"]}, {"ignore": {"token"}}])
def test_ignored_arguments_are_never_shown(options: dict[str, Any]) -> None:
    """An ignored argument is not recorded by name, by default, or inside `**kwargs`."""
    assert read(plain, "tea", 3, token="secret", options=options) == {"query": "tea", "limit": 3}
    assert read(catch_all, "tea", token="secret", a=1, options=options) == {"query": "tea", "a": 1}


def test_name_of_the_keyword_parameter_stands_for_all_in_it() -> None:
    """`ignore=("extra",)` hides all arguments in `**extra`, and `only=("extra",)` records only these."""
    assert read(catch_all, "tea", a=1, b=2, options={"ignore": ("extra",)}) == "tea"
    assert read(catch_all, "tea", a=1, b=2, options={"only": ("extra",)}) == {"a": 1, "b": 2}


def test_positional_only_parameters() -> None:
    """Positional-only arguments are recorded by name as well."""
    assert read(positional_only, 1, 3) == {"a": 1, "b": 3}


def test_annotations_may_name_what_is_defined_later_or_never(caplog: pytest.LogCaptureFixture) -> None:
    """An annotation may name an undefined class: one defined later, or one that only type checkers import."""
    lazily = "" if sys.version_info >= (3, 14) else "from __future__ import annotations\n"
    source = lazily + "def function(query: Nowhere, limit: int = 5) -> Nobody: ..."
    names: dict[str, Any] = {}
    exec(compile(source, "<function>", "exec", dont_inherit=True), names)

    assert read(names["function"], "tea", 3) == {"query": "tea", "limit": 3}
    assert caplog.records == []


def test_function_without_a_signature() -> None:
    """For a builtin without a signature, the arguments are recorded as they were passed."""
    assert read(max, 1, 2) == (1, 2)
    assert read(max, 1, 2, key=abs) == {"args": (1, 2), "key": abs}


def test_signature_that_raises_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    """A function whose `__signature__` raises is still traced."""

    class Odd:
        def __call__(self, x: int) -> int:
            return x

        @property
        def __signature__(self) -> object:
            raise RuntimeError("no signature")

    assert read(Odd(), 1) == (1,)
    caplog.clear()
