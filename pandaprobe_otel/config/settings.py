"""Declaration of every setting: each field of `Settings` has a type, a default, a parser, its sources and its text.

The resolver, `status()`, `doctor` and the documentation read it. `scripts/write_docs.py` also writes the arguments of
`init()` and of our span processor and exporter from it.
"""

# ruff: noqa: RUF009 - `_setting` returns fields
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from pandaprobe_otel.config import parsers
from pandaprobe_otel.config.parsers import CLOUD_ENDPOINT, otel_disabled, otel_resource, otel_service_name

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

Capture = Literal["all", "metadata", "off"]


def _setting(parse: Callable[[Any], Any], doc: str, *, default: Any = None, **more: Any) -> Any:
    """Return a field of `Settings`; `more` are other fields of `Setting`."""
    return field(default=default, metadata={"parse": parse, "doc": doc, **more})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of this library."""

    api_key: str | Callable[[], str] | None = _setting(
        parsers.read_key_or_function,
        "API key, or a function that returns it and is asked again when the server refuses the key.",
        file_keys=("api_key",),
        is_secret=True,
    )
    project_name: str = _setting(
        parsers.read_project,
        "Project of the traces; PandaProbe creates it on the first request.",
        default="default",
        file_keys=("project_name", "project"),
        is_fatal=True,
    )
    endpoint: str = _setting(
        parsers.read_endpoint,
        "Base URL of PandaProbe: the hosted service, your own, or a local one.",
        default=CLOUD_ENDPOINT,
        file_keys=("endpoint",),
        is_fatal=True,
    )
    environment: str | None = _setting(
        parsers.read_text,
        "Deployment environment written into each trace, such as `production`.",
        otel=otel_resource("deployment.environment.name", "deployment.environment"),
    )
    release: str | None = _setting(
        parsers.read_text, "Version of the app written into each trace.", otel=otel_resource("service.version")
    )
    service_name: str | None = _setting(
        parsers.read_text,
        "`service.name` of the provider, if `init` creates it.",
        env=None,
        otel=otel_service_name,
        is_of_app=True,
    )
    enabled: bool = _setting(
        parsers.read_bool, "False traces nothing and sends nothing.", default=True, otel=otel_disabled
    )
    instrument: Literal["auto", False] | tuple[str, ...] = _setting(
        parsers.read_instrument,
        "`auto` for every supported library that is installed, a list of names, or False.",
        default="auto",
        argument='Literal["auto"] | bool | Sequence[str]',
        is_of_app=True,
    )
    exclude: tuple[str, ...] = _setting(
        parsers.read_names,
        "Names of libraries that `instrument=auto` leaves alone.",
        default=(),
        argument="Sequence[str]",
        is_of_app=True,
    )
    spans: Literal["agent", "all"] | Callable[[ReadableSpan], bool] = _setting(
        parsers.read_spans,
        "`agent` for traces of agents and models, without HTTP and database spans; `all`; or a function.",
        default="agent",
    )
    media: Literal["digest", "inline"] | None = _setting(
        parsers.one_of("digest", "inline"),
        "Pictures, sound and files in messages. `digest`: their type, size and SHA-256. `inline`: their data, up "
        "to 262,144 characters of base64 each. Not set: `inline` for a PandaProbe on this machine, else `digest`.",
    )
    capture: Capture | Mapping[str, Capture] = _setting(
        parsers.read_capture,
        "`all`: inputs and outputs too; `metadata`: names, times, models, tokens; `off`: no metadata either. "
        'By kind: `{"*": "all", "TOOL": "metadata"}`, in the variable `all,TOOL=metadata`.',
        default="all",
        fallback="off",
        argument='Literal["all", "metadata", "off"] | Mapping[str, str]',
    )
    replayable: bool = _setting(
        parsers.read_bool,
        "True keeps the parameters and the answer of each model call on its span (64 kB at most, after `mask` and "
        "`capture`), so that `pandaprobe-otel replay capture` rebuilds them exactly.",
        default=False,
        is_of_app=True,
    )
    mask: Any = _setting(
        parsers.read_anything,
        "Regular expressions or functions that remove text before it leaves the process.",
        env=None,
    )
    scrub: bool | Literal["all"] = _setting(
        parsers.read_scrub,
        "True replaces well-known credentials (API keys, tokens, passwords in URLs) in errors, URLs and headers; "
        "`all`: in every text; False: in none.",
        default=True,
    )
    threads: bool = _setting(
        parsers.read_bool,
        "True carries the context into the tasks of a `ThreadPoolExecutor`, so that their spans belong to the "
        "caller's trace.",
        default=True,
        is_of_app=True,
    )
    compute_cost: bool = _setting(
        parsers.read_priced,
        "True computes missing costs from a price list (extra `cost`), and marks them as computed.",
        default=False,
    )
    sample_rate: float = _setting(
        parsers.read_rate, "Share of the traces to keep, 0 to 1, decided by the trace id.", default=1.0
    )
    local: str | None = _setting(
        parsers.read_file,
        "File that traces are written to as JSON lines, without a key, instead of being sent; `send` sends them later.",
        argument="str | os.PathLike[str]",
        is_fatal=True,
    )
    spool: str | None = _setting(
        parsers.read_directory,
        "Directory in which waiting traces survive the process. Without one, they wait in memory.",
        env="PANDAPROBE_SPOOL_DIR",
        argument="str | os.PathLike[str]",
    )
    redis_url: str | None = _setting(
        parsers.read_redis_url,
        "Redis through which machines share the limit of one key (redis://, rediss:// or unix://).",
        is_secret=True,
    )
    console: bool = _setting(
        parsers.read_bool,
        "True also prints each finished trace as a tree to standard error.",
        default=False,
        is_of_app=True,
    )
    debug: bool = _setting(
        parsers.read_bool, "True sets the log level of `pandaprobe_otel` to DEBUG.", default=False, is_of_app=True
    )
    strict: bool = _setting(
        parsers.read_bool,
        "True makes `init` raise ConfigError for a bad setting, instead of warning.",
        default=False,
        is_of_app=True,
    )
    live: bool | None = _setting(
        parsers.read_bool,
        "Tell a local PandaProbe about running spans, for its pages. True: any server that says it is local; "
        "False: none; not set: one on this machine.",
    )
    trace_url: str | None = _setting(
        parsers.read_trace_url,
        "Address of a trace's page, with `{trace_id}` in it, for links. None: a local server states its own.",
        is_of_app=True,
    )
    max_traces_per_day: int | None = _setting(
        parsers.read_count,
        "Maximum number of traces that this process posts in 24 hours; each is billed. Default: no maximum.",
    )
    handle_sigterm: bool = _setting(
        parsers.read_bool,
        "True delivers waiting traces on SIGTERM and exits with 143, in a program that does not handle SIGTERM. "
        "Web servers do: under them, traces are delivered without this setting.",
        default=False,
        is_of_app=True,
    )
    max_queue_bytes: int = _setting(
        parsers.read_bytes, "Maximum memory for open and waiting traces, in bytes.", default=64 << 20
    )
    max_spool_bytes: int = _setting(
        parsers.read_bytes,
        "Maximum disk space for waiting traces in the spool, in bytes; the oldest are dropped first.",
        default=512 << 20,
    )
    shutdown_timeout_s: float = _setting(
        parsers.read_seconds,
        "Longest wait for delivery at the end of the process, in seconds.",
        default=5.0,
        env="PANDAPROBE_SHUTDOWN_TIMEOUT",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Declaration of one setting."""

    name: str
    parse: Callable[[Any], Any]
    doc: str
    default: Any
    fallback: Any = None
    """Value that replaces an unusable one, instead of the default."""
    argument: str
    """Type of the argument, as its signature states it; any argument may also be None, for "not given"."""
    env: str | None
    """Environment variable; by default, `PANDAPROBE_` and the name."""
    otel: Callable[[Mapping[str, str]], tuple[Any, str] | None] | None = None
    file_keys: tuple[str, ...] = ()
    is_secret: bool = False
    is_fatal: bool = False
    """True if an unusable value stops sending, because the default would send to an unintended destination."""
    is_of_app: bool = False
    """True if it applies to the whole app: an argument of `init()`, but not of a span processor or exporter."""


def _declared(setting: Field[Any]) -> Setting:
    rest: dict[str, Any] = {"argument": setting.type, "env": f"PANDAPROBE_{setting.name.upper()}", **setting.metadata}
    return Setting(name=setting.name, default=setting.default, **rest)


SETTINGS: Final = tuple(map(_declared, fields(Settings)))
OF_RECEIVERS: Final = frozenset(setting.name for setting in SETTINGS if not setting.is_of_app)
"""Names of the settings that a span processor or exporter takes."""
