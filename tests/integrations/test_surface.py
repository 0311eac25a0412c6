"""Every public method of the client libraries is traced, or docs/providers.md gives a reason.

Each method is called once, at a provider that answers GET and refuses all else: the request counts, not its answer.
"""

from __future__ import annotations

import gc
import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
import wrapt
from pydantic import BaseModel

from conformance.adapter import Adapter, adapters, cloud_adapters
from like_openai import CLIENTS
from pandaprobe_otel.config.integrations import TABLE
from pandaprobe_otel.registry import instrument, uninstrument
from pandaprobe_otel_integrations.litellm import FUNCTIONS
from provider_server import ProviderServer, Received, Reply, json_reply
from span_recorder import SpanRecorder

# Deprecated methods are called like the others.
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE: Final = Path(__file__).parents[2] / "docs" / "providers.md"
ADAPTERS: Final[Mapping[str, Adapter]] = {adapter.title: adapter for adapter in (*adapters(), *cloud_adapters())}
EACH: Final = "a span for each answer"
"""The operation on the page of a method that opens a connection."""
MESSAGES: Final[Any] = [{"role": "user", "content": "x"}]
DONE: Final[Mapping[str, Any]] = {
    "status": "completed",
    "usage": {"input_tokens": 1, "prompt_tokens": 1, "output_tokens": 1},
}
"""An answer that fits most requests, with the status of completed work."""
BY_ANNOTATION: Final[tuple[tuple[str, Any], ...]] = (
    ("FileTypes", ("a.txt", b"x")), ("FileContent", b"x"), ("Iterable", []), ("Sequence", []), ("List", []),
    ("list[", []), ("Dict", {}), ("Mapping", {}), ("bool", True), ("int", 1), ("float", 1.0),
)  # fmt: skip
"""Arguments for a required parameter, by a part of its annotation."""
Call = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """The methods of a client library.

    Attributes:
        distribution: Name of the library.
        titles: The adapters that open its clients; a method that the first cannot send is called with the next.
        module: Start of the modules of the client's resources.
        known: Arguments by the names of parameters.
        calls: Calls of methods that need more than their required arguments, by the end of the method's name.
        members: Members that the client needs beyond those that its adapter sets.
        left_out: Pattern of names that are no requests of their own.
    """

    distribution: str
    titles: Sequence[str]
    module: str
    known: Mapping[str, Any] = field(default_factory=dict[str, Any])
    calls: Mapping[str, Call] = field(default_factory=dict[str, Call])
    members: Mapping[str, Any] = field(default_factory=dict[str, Any])
    left_out: str = r"[^.]*|.*(poll|wait_for).*"

    @contextmanager
    def methods(self, url: str) -> Iterator[dict[str, list[Any]]]:
        """Open the clients, and yield their methods by name."""
        found: defaultdict[str, list[Any]] = defaultdict(list)
        with ExitStack() as stack:
            for title in self.titles:
                client = stack.enter_context(ADAPTERS[title].client(url, 20.0))
                for name, value in self.members.items():
                    setattr(client, name, value)
                for name, method in self._of(client, ()):
                    found[name].append(method)
            yield {name: each for name, each in found.items() if not re.fullmatch(self.left_out, name)}

    def _of(self, owner: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name in sorted({*dir(owner)}):
            if name.startswith(("_", "with_", "parent_ref", "sdk_configuration")):
                continue
            with suppress(Exception):  # a property that needs settings which this client lacks
                member = getattr(owner, name)
                if callable(member):
                    if not isinstance(member, type):
                        yield ".".join((*path, name)), member
                elif type(member).__module__.startswith(self.module) and len(path) < 6 and member is not owner:
                    yield from self._of(member, (*path, name))

    def call(self, name: str, method: Any) -> Any:
        """Call a method, and begin to use its result."""
        special = next((call for ending, call in self.calls.items() if f".{name}".endswith(f".{ending}")), None)
        result = special(method) if special else method(**self._arguments(method))
        if hasattr(result, "__next__"):
            next(result, None)
        elif hasattr(result, "__enter__") and not hasattr(result, "enter"):
            with result:
                pass
        return result

    def _arguments(self, method: Any) -> dict[str, Any]:
        required = (
            (name, str(one.annotation))
            for name, one in inspect.signature(method).parameters.items()
            if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty
        )
        return {name: self.known.get(name, _guess(annotation)) for name, annotation in required}


def _guess(annotation: str) -> Any:
    # For a union that allows a string, use a string: the request can then be sent.
    if "str" in re.sub(r"(Mapping|Dict|List)\[str", "", annotation):
        return "x"
    return next((value for part, value in BY_ANNOTATION if part in annotation), "x")


class Bedrock(Surface):
    """The operations that botocore knows, which take any arguments if they are not validated."""

    @contextmanager
    def methods(self, url: str) -> Iterator[dict[str, list[Any]]]:
        """Yield the operations by service and name."""
        boto3, config = import_module("boto3"), import_module("botocore.config").Config
        session = boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1")
        options = config(parameter_validation=False, retries={"max_attempts": 0})
        found: dict[str, list[Any]] = {}
        for service in ("bedrock-runtime", "bedrock-agent-runtime"):
            client = session.client(service, endpoint_url=url, config=options)
            for name, operation in client.meta.method_to_api_mapping.items():
                shape = client.meta.service_model.operation_model(operation).input_shape
                given = dict.fromkeys(shape.required_members if shape is not None else (), "x")
                found[f"{service} {name}"] = [partial(_operate, client, name, given)]
        yield found

    def _arguments(self, method: Any) -> dict[str, Any]:
        return {}


class LiteLLM(Surface):
    """The functions that litellm lists as kinds of calls. They are inspected, not called."""

    @contextmanager
    def methods(self, url: str) -> Iterator[dict[str, list[Any]]]:
        """Yield the functions by name."""
        litellm, kinds = import_module("litellm"), import_module("litellm.types.utils").CallTypes
        names = {kind.value for kind in kinds if callable(getattr(litellm, kind.value, None))}
        yield {name: [getattr(litellm, name)] for name in names}

    def call(self, name: str, method: Any) -> Any:
        """Return the name of the operation of a function, if we have wrapped the function that it calls."""
        forms = (name, name.removeprefix("a"))
        found = next((each[form] for each in FUNCTIONS.values() for form in forms if form in each), None)
        while found is not None and method is not None:
            names = method.__code__.co_freevars
            if "original_function" in names:
                called = method.__closure__[names.index("original_function")].cell_contents
                return found.endpoint.operation if _is_wrapped(called) else None
            method = getattr(method, "__wrapped__", None)
        return None


def _operate(client: Any, name: str, given: Mapping[str, str]) -> Any:
    return getattr(client, name)(**given)


def _is_wrapped(found: Any) -> bool:
    return isinstance(found, wrapt.FunctionWrapper | wrapt.BoundFunctionWrapper)


def _asked(**given: Any) -> Call:
    return lambda method: method(**given)


_FILES: Final = {"file": ("a.txt", b"x"), "image": ("a.png", b"x"), "video": ("a.mp4", b"x")}
_MODEL: Final = _asked(model="x")


class Parsed(BaseModel):
    """The type of an answer that is parsed."""

    text: str = ""


def _parsed(method: Any) -> Any:
    return method(Parsed, model="x", messages=MESSAGES)


SURFACES: Final = {
    "anthropic": Surface(
        distribution="anthropic",
        titles=("anthropic",),
        module="anthropic.resources",
        known={**_FILES, "max_tokens": 1},
        calls={
            "messages.tool_runner": lambda m: next(iter(m(model="x", max_tokens=1, messages=MESSAGES, tools=[]))),
            "messages.thread": lambda m: m(model="x", max_tokens=1).send("x"),
        },
    ),
    "bedrock": Bedrock(distribution="boto3", titles=(), module=""),
    **{
        name: Surface(
            distribution=TABLE[name].requirement.partition(">=")[0],
            titles=(name,),
            module=f"{TABLE[name].library}.resources",
            known=_FILES,
            members={"project_id": "x"},
        )
        for name in CLIENTS
    },
    "cohere": Surface(
        distribution="cohere",
        titles=("cohere v1",),
        module="cohere.",
        known={"texts": ["x"], "documents": ["x"], "inputs": ["x"]},
        calls={
            "v2.chat": _asked(model="x", messages=MESSAGES),
            "v2.chat_stream": _asked(model="x", messages=MESSAGES),
            "v2.embed": _asked(texts=["x"], model="x", input_type="search_query"),
            "chat": _asked(message="x"),
            "chat_stream": _asked(message="x"),
            "embed": _asked(texts=["x"], model="x", input_type="search_query"),
        },
        left_out=r"(with_raw_response|with_streaming_response)\..*",
    ),
    "google_genai": Surface(
        distribution="google-genai",
        titles=("google-genai", "google-genai on Vertex"),
        module="google.genai.",
        known={"contents": "x", "input": "x", "questions": {}},
        calls={
            "chats.create": lambda m: m(model="x").send_message("x"),
            "interactions.create": _asked(model="x", input="x"),
        },
        left_out=r"[^.]*|(aio|vertexai)\.(?!live\.connect).*|.*\.do_request",
    ),
    "litellm": LiteLLM(distribution="litellm", titles=(), module=""),
    "mistralai": Surface(
        distribution="mistralai",
        titles=("mistralai",),
        module="mistralai.",
        known={
            "messages": MESSAGES,
            **dict.fromkeys(("inputs", "input", "input_", "from_entry_id"), "x"),
            "entries": [],
            "document": {"type": "document_url", "document_url": "http://x.test/a.pdf"},
            "file": {"file_name": "a.txt", "content": b"x"},
            "completion_args": {},
        },
        calls={
            "chat.parse": _parsed,
            "chat.parse_stream": _parsed,
            "classifiers.classify_chat": _asked(model="x", input={"messages": MESSAGES}),
            "classifiers.moderate_chat": _asked(model="x", inputs=MESSAGES),
        },
        left_out=r"[^.]*|.*(_async|\.do_request)",
    ),
    "ollama": Surface(
        distribution="ollama",
        titles=("ollama",),
        module="ollama.",
        calls=dict.fromkeys(("chat", "embed", "embeddings", "generate"), _MODEL),
        left_out="close",
    ),
    "openai": Surface(
        distribution="openai",
        titles=("openai",),
        module="openai.resources",
        known=_FILES,
        calls={
            "responses.stream": lambda m: m(model="x", input="x").__enter__(),
            "responses.create": _asked(model="x", input="x"),
        },
        members={"admin_api_key": "none"},
    ),
}


@dataclass(slots=True)
class Found:
    """The methods of a library, by what becomes of them."""

    traced: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict[str, set[str]](set))
    reading: set[str] = field(default_factory=set[str])
    """Those that only read or delete what the service keeps."""
    others: set[str] = field(default_factory=set[str])


def _census(surface: Surface, integration: str, server: ProviderServer, recorder: SpanRecorder) -> Found:
    found = Found()
    instrument(integration, tracer_provider=recorder.provider)
    try:
        with surface.methods(server.url) as methods:
            for name, candidates in methods.items():
                operation = _operation(surface, name, candidates, server, recorder)
                name = name.removeprefix("aio.")
                if operation is not None:
                    found.traced[operation].add(name)
                elif server.received and all(one.method in ("GET", "DELETE") for one in server.received):
                    found.reading.add(name)
                else:
                    found.others.add(name)
    finally:
        uninstrument(integration)
    return found


def _operation(
    surface: Surface, name: str, candidates: Iterable[Any], server: ProviderServer, recorder: SpanRecorder
) -> str | None:
    server.received.clear()
    recorder.clear()
    result: Any = None
    for method in candidates:
        with suppress(Exception):  # answers are made up
            result = surface.call(name, method)
        if server.received:
            break
    connects = name.endswith(".connect") and (
        any(map(_is_wrapped, candidates)) or _is_wrapped(type(result).__dict__.get("__enter__"))
    )
    later = EACH if connects else result if isinstance(surface, LiteLLM) else None
    del result
    if server.received and not recorder.spans:
        gc.collect(0)  # a streamed span ends with its stream
    return str((recorder.spans[0].attributes or {})["gen_ai.operation.name"]) if recorder.spans else later


def _answer(received: Received) -> Reply:
    if received.method == "GET":
        return json_reply({**DONE, "id": str(uuid4())})
    return json_reply({"message": "no", "error": {"code": 400, "message": "no"}}, status=400)


def _cells(text: str) -> Iterator[tuple[str, str]]:
    yield from re.findall(r"^\| (.+?) \| (.+?) \|$", text, re.MULTILINE)


def _differences(surface: Surface, found: Found, written: str) -> dict[str, Any]:
    """Return what the page's text about a library has wrong."""
    traced, _, rest = written.partition("| not traced | why |")
    on_page = {cell.strip("`"): {*re.findall("`(.+?)`", names)} for cell, names in _cells(traced) if "`" in names}
    patterns = [*chain.from_iterable(re.findall("`(.+?)`", cell) for cell, _ in _cells(rest))]
    left = found.others | found.reading
    explained = {name for name in left if any(fnmatchcase(name, pattern) for pattern in patterns)}
    number = re.search(r"^\| (\d+) others \|", rest, re.MULTILINE)
    unexplained = found.reading - explained
    return {
        "traced": found.traced if found.traced != on_page else None,
        "without a reason": found.others - explained,
        "matches nothing": {one for one in patterns if not any(fnmatchcase(name, one) for name in left)},
        "others": unexplained if len(unexplained) != int(number[1] if number else 0) else None,
    }


@pytest.mark.parametrize("integration", SURFACES)
def test_every_method(
    integration: str,
    server: ProviderServer,
    recorder: SpanRecorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The page lists each method of the installed client; another version's differences are xfailed."""
    surface = SURFACES[integration]
    monkeypatch.chdir(tmp_path)  # some methods write files
    server.script = _answer
    heading = rf"^### {surface.distribution} (\S+)\n.*?(?=\n+##|\Z)"
    written = re.search(heading, PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert written is not None, f"the page has no heading for {surface.distribution}"
    try:
        installed = version(surface.distribution)
    except PackageNotFoundError:
        pytest.skip(f"{surface.distribution} is not installed")
    found = _census(surface, integration, server, recorder)
    caplog.clear()  # google-genai warns of answers that it cannot read
    wrong = _differences(surface, found, written[0])
    wrong = {kind: each for kind, each in wrong.items() if each}
    if installed != written[1]:
        pytest.xfail(f"{surface.distribution} {installed}, on the page {written[1]}: {wrong}")
    assert wrong == {}
