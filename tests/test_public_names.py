"""Public names of the package: each exists, and is loaded only when it is used."""

from __future__ import annotations

import pytest

from subprocesses import environment, run_python

OFFICIAL = {
    "get_client", "set_current_session_id", "reset_current_session_id", "set_current_user_id", "reset_current_user_id",
    "wrap_openai", "wrap_anthropic", "wrap_gemini", "wrap_mistral", "wrap_bedrock", "wrap_litellm",
    "SpanKind", "SpanStatusCode", "TraceStatus", "ScoreDataType",
}  # fmt: skip
"""Names of the official SDK for which there are better names here."""


def test_the_import_is_light() -> None:
    """`import pandaprobe_otel` loads neither httpx nor pydantic nor OpenTelemetry, only what loads the names safely."""
    code = """
    import sys
    before = set(sys.modules)
    import pandaprobe_otel
    heavy = ("httpx", "pydantic", "opentelemetry.sdk", "opentelemetry", "orjson", "yaml", "wrapt", "asyncio")
    print([name for name in heavy if name in sys.modules])
    print(*sorted(name.removeprefix("pandaprobe_otel.") for name in set(sys.modules) - before if "panda" in name))
    """
    loaded = "pandaprobe_otel process process.background process.forks process.guard"
    assert run_python(code, environment(), set_up=False, fresh=True).stdout == f"[]\n{loaded}\n"


def test_every_public_name_loads() -> None:
    """Each name in `__all__` loads, so do the official SDK's, and an unknown name raises AttributeError."""
    import pandaprobe_otel

    for name in (*pandaprobe_otel.__all__, *OFFICIAL):
        assert getattr(pandaprobe_otel, name) is not None
        assert name in dir(pandaprobe_otel)
    assert len(pandaprobe_otel.__all__) <= 35
    assert OFFICIAL.isdisjoint(pandaprobe_otel.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = pandaprobe_otel.nonsense  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


def test_no_public_name_is_hidden_by_a_module() -> None:
    """No submodule has the name of a public function, which the import of the submodule would replace."""
    import pkgutil

    import pandaprobe_otel

    modules = {module.name for module in pkgutil.iter_modules(pandaprobe_otel.__path__)}
    assert modules.isdisjoint(pandaprobe_otel.__all__)
