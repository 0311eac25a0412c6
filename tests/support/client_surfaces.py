"""A census: every public method of a client library is called once, with a provider in memory, and its spans counted.

docs/providers.md has the results, and the reasons why some methods make no span.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import GeneratorType
from typing import Any, Final, NamedTuple
from uuid import uuid4

import wrapt

from pandaprobe_otel.registry import instrument, uninstrument
from pandaprobe_otel_integrations.litellm import FUNCTIONS
from span_recorder import SpanRecorder

EACH: Final = "a span for each answer"
"""The result for a method that opens a connection."""


class Method(NamedTuple):
    """One public method by its dotted name, with a call of it that sends a request."""

    name: str
    call: Callable[[], Any]


@dataclass(slots=True)
class Roll:
    """The methods of one library. `requests` reached the provider during the last call, as "POST /path"."""

    methods: Iterable[Method] = ()
    requests: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One client library. `open` returns its methods after the library was instrumented."""

    integration: str
    """The name of the integration in the registry."""
    distribution: str
    open: Callable[[], AbstractContextManager[Roll]]
    hooked: Callable[[str, Any], str | None] = lambda name, result: None
    """Returns the spans of a method that is not called, or whose result must be used first; None if there are none."""

    @property
    def version(self) -> str:
        """The installed version."""
        return version(self.distribution)


@dataclass(frozen=True, slots=True)
class Found:
    """The results for a library's methods, by name."""

    traced: Mapping[str, str]
    """Method -> operation of its span."""
    reading: Sequence[str]
    """Methods that only read or delete data at the service."""
    unknown: Sequence[str]
    """Methods that make no span, and are not left out."""
    outdated: Sequence[str]
    """Patterns of methods left out that match none any more, and methods that make spans although a pattern matches."""


def census(library: Library, left_out: Sequence[str]) -> Found:
    """Call each method once, with the integration active; `left_out` are shell patterns of those without spans."""
    recorder = SpanRecorder()
    traced: dict[str, str] = {}
    left: list[str] = []
    reading: list[str] = []
    unknown: list[str] = []
    instrument(library.integration, tracer_provider=recorder.provider)
    try:
        with library.open() as roll:
            for method in roll.methods:
                operation = _operation(library, roll, method, recorder)
                if operation is not None:
                    traced[method.name] = operation
                elif _matches(method.name, left_out):
                    left.append(method.name)
                elif roll.requests and all(one.startswith(("GET ", "DELETE ")) for one in roll.requests):
                    reading.append(method.name)
                else:
                    unknown.append(method.name)
    finally:
        uninstrument(library.integration)
        recorder.provider.shutdown()
    idle = [one for one in left_out if not any(fnmatchcase(name, one) for name in left)]
    outdated = [*idle, *(name for name in traced if _matches(name, left_out))]
    return Found(traced, reading, unknown, outdated)


def _operation(library: Library, roll: Roll, method: Method, recorder: SpanRecorder) -> str | None:
    roll.requests.clear()
    recorder.clear()
    result: Any = None
    with suppress(Exception):  # answers are made up: only the request counts
        result = method.call()
    later = library.hooked(method.name, result)
    del result
    if roll.requests and not recorder.spans:
        gc.collect(0)  # a streamed span ends with its stream
    if not recorder.spans:
        return later
    attributes = recorder.spans[0].attributes or {}
    return str(attributes["gen_ai.operation.name"])


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


# -- the public methods of a client and of all its resources -----------------------------------------------------------

_BY_ANNOTATION: Final[tuple[tuple[str, Any], ...]] = (
    ("FileTypes", ("a.txt", b"x")),
    ("FileContent", b"x"),
    ("Iterable", []),
    ("Sequence", []),
    ("List", []),
    ("list[", []),
    ("Dict", {}),
    ("Mapping", {}),
    ("bool", True),
    ("int", 1),
    ("float", 1.0),
)


def arguments_for(method: Callable[..., Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments for parameters without a default; values in `known`, by name, override guesses."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            continue
        if parameter.default is parameter.empty:
            found[name] = known[name] if name in known else _guess(str(parameter.annotation))
    return found


def _guess(annotation: str) -> Any:
    # For a union that allows a string, use a string: the request can then be sent.
    if "str" in annotation.replace("Mapping[str", "").replace("Dict[str", "").replace("List[str", ""):
        return "x"
    return next((value for part, value in _BY_ANNOTATION if part in annotation), "x")


_SKIPPED = ("_", "with_", "parent_ref", "sdk_configuration")


def methods_of(
    owner: Any, is_resource: Callable[[Any], bool], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the dotted name and the bound method, depth first, in alphabetical order."""
    for name in sorted(set(dir(owner))):
        if name.startswith(_SKIPPED):
            continue
        try:
            found = getattr(owner, name)
        except Exception:  # noqa: BLE001 - a property that needs settings which this client lacks
            continue
        if is_resource(found):
            if len(path) < 6 and found is not owner:
                yield from methods_of(found, is_resource, (*path, name))
        elif callable(found) and not isinstance(found, type):
            yield ".".join((*path, name)), found


# -- the client libraries: how each is opened with a provider in memory ------------------------------------------------

_MESSAGES: Final[Any] = [{"role": "user", "content": "x"}]
Way = Callable[[Callable[..., Any]], Any]
"""A way to call a method that needs more than its arguments."""


def all_libraries() -> list[Library]:
    """Return the installed libraries, by name; a separate test finds those that cannot be imported."""
    found: list[Library] = []
    for library in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found += [library] * bool(library.version)
    return sorted(found, key=lambda library: library.integration)


def _http(*names: str) -> Any:
    """Return the HTTP library that the first of these modules that exists uses."""
    module = _first(*names)
    return getattr(module, "httpx2", None) or module.httpx


def _first(*names: str) -> Any:
    for name in names[:-1]:
        with suppress(ImportError):
            return import_module(name)
    return import_module(names[-1])


def _refusing(roll: Roll, http: Any, body: Any) -> Any:
    """Return an HTTP transport that notes each request, and refuses it: the call counts all the same."""

    def answer(request: Any) -> Any:
        roll.requests.append(f"{request.method} {request.url.path}")
        return http.Response(400, json=body)

    return http.MockTransport(answer)


def _used(
    name: str,
    method: Callable[..., Any],
    known: Mapping[str, Any],
    given: Mapping[str, Mapping[str, Any]],
    ways: Mapping[str, Way],
) -> Any:
    """Call a method in its way, or with these arguments: `known` by their names, `given` by the method's name."""
    way: Way = ways.get(name, lambda method: method(**{**arguments_for(method, known), **given.get(name, {})}))
    result = way(method)
    return next(result, None) if hasattr(result, "__next__") else result


def _calling(
    known: Mapping[str, Any],
    given: Mapping[str, Mapping[str, Any]] | None = None,
    ways: Mapping[str, Way] | None = None,
) -> Callable[[tuple[str, Callable[..., Any]]], Method]:
    return lambda found: Method(found[0], partial(_used, *found, known, given or {}, ways or {}))


# -- clients that Stainless generates: resources with methods, and an HTTP client that can be passed in ----------------

_KNOWN: Final[Mapping[str, Any]] = {"file": ("a.txt", b"x"), "image": ("a.png", b"x"), "video": ("a.mp4", b"x")}
_DONE: Final[Mapping[str, Any]] = {
    "status": "completed",
    "usage": {"input_tokens": 1, "prompt_tokens": 1, "output_tokens": 1},
    "results_url": "/v1/messages/batches/x/results",
}
"""An answer that fits most requests, with the status of completed work."""


def _stainless(
    library: str, client: str, ways: Mapping[str, Way], known: Mapping[str, Any] | None = None, **options: Any
) -> Callable[[], AbstractContextManager[Roll]]:
    """Return the function that opens the roll of one client class; `ways` are by the ending of a method's name."""

    @contextmanager
    def opened() -> Iterator[Roll]:
        http = _http(f"{library}._base_client")
        roll = Roll()

        def answer(request: Any) -> Any:
            roll.requests.append(f"{request.method} {request.url.path}")
            status = 200 if request.method == "GET" else 400  # a refusal is faster, and the call counts all the same
            return http.Response(status, json={**_DONE, "id": str(uuid4())})

        transport = http.Client(transport=http.MockTransport(answer))
        given = {"http_client": transport, "max_retries": 0, "base_url": f"http://{library}.test", **options}
        with getattr(import_module(library), client)(api_key="none", **given) as made:
            roll.methods = _methods(made, f"{library}.resources", ways, {**_KNOWN, **(known or {})})
            yield roll

    return opened


def _methods(client: Any, resources: str, ways: Mapping[str, Way], known: Mapping[str, Any]) -> Iterator[Method]:
    def is_resource(found: Any) -> bool:
        return type(found).__module__.startswith(resources)

    for name, method in methods_of(client, is_resource):
        if "." in name and not _repeats(name):
            way = next((found for ending, found in ways.items() if name.endswith(ending)), None)
            yield Method(name, partial(_called, method, way, known))


def _repeats(name: str) -> bool:
    """Return whether a method repeatedly calls another one until some work is completed."""
    return "poll" in name or "wait_for" in name


def _called(method: Callable[..., Any], way: Way | None, known: Mapping[str, Any]) -> Any:
    result = way(method) if way is not None else method(**arguments_for(method, known))
    if isinstance(result, GeneratorType):
        next(result, None)
    elif hasattr(result, "__enter__") and not hasattr(result, "enter"):
        with result:
            return result
    else:
        return result
    return nullcontext()


def _on_connection(name: str, result: Any) -> str | None:
    """Return EACH for a method that opens a connection, if its `__enter__` is instrumented."""
    is_ours = isinstance(type(result).__dict__.get("__enter__"), wrapt.FunctionWrapper)
    return EACH if is_ours and name.endswith(".connect") else None


_ANTHROPIC: Final = Library(
    integration="anthropic",
    distribution="anthropic",
    open=_stainless(
        "anthropic",
        "Anthropic",
        {
            "messages.tool_runner": lambda method: next(
                iter(method(model="x", max_tokens=1, messages=_MESSAGES, tools=[]))
            ),
            "messages.thread": lambda method: method(model="x", max_tokens=1).send("x"),
        },
        {"max_tokens": 1},
    ),
)
_OPENAI: Final = Library(
    integration="openai",
    distribution="openai",
    open=_stainless(
        "openai",
        "OpenAI",
        {
            "responses.stream": lambda method: method(model="x", input="x").__enter__(),
            "responses.create": lambda method: method(model="x", input="x"),
        },
        admin_api_key="none",
        base_url="http://openai.test/v1",
    ),
    hooked=_on_connection,
)
_CEREBRAS: Final = Library(
    integration="cerebras",
    distribution="cerebras-cloud-sdk",
    open=_stainless("cerebras.cloud.sdk", "Cerebras", {}, warm_tcp_connection=False),
)
_GROQ: Final = Library(
    integration="groq",
    distribution="groq",
    open=_stainless("groq", "Groq", {}),
)
_TOGETHER: Final = Library(
    integration="together",
    distribution="together",
    open=_stainless("together", "Together", {}, project_id="x"),
)


# -- other clients -----------------------------------------------------------------------------------------------------


@contextmanager
def _open_bedrock() -> Iterator[Roll]:
    import boto3
    from botocore.awsrequest import AWSResponse
    from botocore.config import Config

    roll = Roll()

    class Refusal:
        """The body of an answer, as botocore reads it."""

        def stream(self, **_: Any) -> Iterator[bytes]:
            yield b'{"message":"no"}'

        def read(self, *_: Any) -> bytes:
            return b""

    def answer(request: Any, **_: Any) -> AWSResponse:
        roll.requests.append(f"{request.method} {request.url}")
        return AWSResponse(request.url, 400, {"content-type": "application/json"}, Refusal())

    def calling(client: Any, name: str) -> Callable[[], Any]:
        shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[name]).input_shape
        given = dict.fromkeys(shape.required_members if shape is not None else (), "x")
        return lambda: getattr(client, name)(**given)

    session = boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1")
    found: list[Method] = []
    services: Any = ("bedrock-runtime", "bedrock-agent-runtime")
    for service in services:
        client = session.client(service, config=Config(parameter_validation=False, retries={"max_attempts": 0}))
        client.meta.events.register(f"before-send.{service}", answer)
        names = client.meta.method_to_api_mapping
        found += [Method(f"{service} {name}", calling(client, name)) for name in sorted(names)]
    roll.methods = found
    yield roll


_BEDROCK: Final = Library(
    integration="bedrock",
    distribution="boto3",
    open=_open_bedrock,
)


@contextmanager
def _open_cohere() -> Iterator[Roll]:
    """Open the client: methods of the first API are at the client, and those of the second API at `v2`."""
    import cohere
    import httpx

    roll = Roll()
    transport = httpx.Client(transport=_refusing(roll, httpx, {"message": "no"}))
    client = cohere.Client(api_key="none", base_url="http://cohere.test", httpx_client=transport)
    found = methods_of(client, lambda one: type(one).__module__.startswith("cohere.") and not callable(one))
    given: Any = {
        "chat": {"message": "x"},
        "chat_stream": {"message": "x"},
        "embed": {"texts": ["x"], "model": "x", "input_type": "search_query"},
    }
    roll.methods = map(_calling({"texts": ["x"], "documents": ["x"], "inputs": ["x"]}, given), found)
    yield roll


_COHERE: Final = Library(
    integration="cohere",
    distribution="cohere",
    open=_open_cohere,
)


@contextmanager
def _open_google_genai() -> Iterator[Roll]:
    from google import genai
    from google.oauth2.credentials import Credentials

    roll = Roll()
    body = {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}
    transport = _refusing(roll, _http("google.genai._api_client"), body)
    options: Any = {"base_url": "http://g.test", "client_args": {"transport": transport}}
    client = genai.Client(api_key="none", vertexai=False, http_options=options)
    vertex: Any = {"vertexai": True, "project": "x", "location": "x", "credentials": Credentials(token="none")}  # type: ignore[no-untyped-call, unused-ignore]
    elsewhere = dict(_found_by_google(genai.Client(http_options=options, **vertex)))
    calling = _calling(
        {"contents": "x", "input": "x", "questions": []},
        ways={
            "chats.create": lambda method: method(model="x").send_message("x"),
            "decisions.create": lambda method: method(model="x", input="x", questions={}),
            "interactions.create": lambda method: method(model="x", input="x"),
        },
    )

    def called(name: str, method: Callable[..., Any]) -> Any:
        """Call a method, on Vertex AI if only Vertex AI has it."""
        try:
            return calling((name, method)).call()
        except Exception:
            if roll.requests or name not in elsewhere:
                raise
            return calling((name, elsewhere[name])).call()

    roll.methods = (
        Method(name, partial(called, name, method))
        for name, method in _found_by_google(client)
        if "." in name and not name.startswith(("aio.", "vertexai.")) and not name.endswith(".do_request")
    )
    yield roll


def _found_by_google(client: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    yield from methods_of(client, lambda one: type(one).__module__.startswith("google.genai.") and not callable(one))
    yield "live.connect", client.aio.live.connect


def _on_live_connection(name: str, _: Any) -> str | None:
    """Return EACH for the method that opens live sessions, if it is instrumented."""
    connect = import_module("google.genai.live").AsyncLive.__dict__["connect"]
    return EACH if isinstance(connect, wrapt.FunctionWrapper) and name == "live.connect" else None


_GOOGLE_GENAI: Final = Library(
    integration="google_genai",
    distribution="google-genai",
    open=_open_google_genai,
    hooked=_on_live_connection,
)


@contextmanager
def _open_litellm() -> Iterator[Roll]:
    """Yield the functions of the module, whose kinds litellm itself lists. They are inspected, not called."""
    litellm = import_module("litellm")
    kinds = import_module("litellm.types.utils").CallTypes
    names = sorted({kind.value for kind in kinds if callable(getattr(litellm, kind.value, None))})
    yield Roll(methods=[Method(name, partial(getattr, litellm, name)) for name in names])


_DECORATED: Final = "original_function"


def _of_litellm(name: str, decorated: Any) -> str | None:
    """Return the operation of a function, if we have wrapped the function that it calls."""
    found = next((functions[name] for functions in FUNCTIONS.values() if name in functions), None)
    while found is not None and decorated is not None:
        names = decorated.__code__.co_freevars
        if _DECORATED in names:
            called = decorated.__closure__[names.index(_DECORATED)].cell_contents
            return found.endpoint.operation if isinstance(called, wrapt.FunctionWrapper) else None
        decorated = getattr(decorated, "__wrapped__", None)
    return None


_LITELLM: Final = Library(
    integration="litellm",
    distribution="litellm",
    open=_open_litellm,
    hooked=_of_litellm,
)


@contextmanager
def _open_mistralai() -> Iterator[Roll]:
    from pydantic import BaseModel

    class Format(BaseModel):
        """The result type of `parse`."""

        text: str = ""

    def parsing(method: Callable[..., Any]) -> Any:
        return method(Format, model="x", messages=_MESSAGES)

    bases = ("mistralai.client.basesdk", "mistralai.basesdk")
    base, http = _first(*bases), _http(*bases)
    roll = Roll()
    transport = http.Client(transport=_refusing(roll, http, {"detail": "no"}))
    made = _first("mistralai.client", "mistralai").Mistral
    client = made(api_key="none", client=transport, server_url="http://m.test")
    calling = _calling(
        {
            "messages": _MESSAGES,
            **dict.fromkeys(("inputs", "input", "input_", "from_entry_id"), "x"),
            "entries": [],
            "document": {"type": "document_url", "document_url": "http://x.test/a.pdf"},
            "file": {"file_name": "a.txt", "content": b"x"},
            "completion_args": {},
        },
        ways={
            "chat.parse": parsing,
            "chat.parse_stream": parsing,
            "classifiers.classify_chat": lambda method: method(model="x", input={"messages": _MESSAGES}),
            "classifiers.moderate_chat": lambda method: method(model="x", inputs=_MESSAGES),
        },
    )
    found = methods_of(client, lambda one: isinstance(one, base.BaseSDK))
    roll.methods = (calling(one) for one in found if _sends(one[0]))
    yield roll


def _sends(name: str) -> bool:
    """Return whether a method sends requests itself, and is neither an asynchronous twin nor a generated helper."""
    last = name.rpartition(".")[2]
    return "." in name and not last.endswith("_async") and last not in ("do_request", "sdk_configuration")


_MISTRALAI: Final = Library(
    integration="mistralai",
    distribution="mistralai",
    open=_open_mistralai,
)


@contextmanager
def _open_ollama() -> Iterator[Roll]:
    import httpx
    from ollama import Client

    roll = Roll()
    client = Client(host="http://ollama.test", transport=_refusing(roll, httpx, {"error": "no"}))
    given = {name: {"model": "x"} for name in ("chat", "embed", "embeddings", "generate")}
    found = (one for one in methods_of(client, lambda _: False) if one[0] != "close")
    roll.methods = map(_calling({}, given), found)
    yield roll


_OLLAMA: Final = Library(
    integration="ollama",
    distribution="ollama",
    open=_open_ollama,
)

_LIBRARIES: Final = (
    _ANTHROPIC,
    _BEDROCK,
    _CEREBRAS,
    _COHERE,
    _GOOGLE_GENAI,
    _GROQ,
    _LITELLM,
    _MISTRALAI,
    _OLLAMA,
    _OPENAI,
    _TOGETHER,
)
