"""Table of all settings, each with its variable, its default and its parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

from pandaprobe_otel.config import parsers
from pandaprobe_otel.config.otel_variables import otel_disabled, otel_resource, otel_service_name
from pandaprobe_otel.config.parsers import CLOUD_ENDPOINT


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: a setting, its environment variables, its default and its parser."""

    name: str
    parse: Callable[[Any], Any]
    _: KW_ONLY
    doc: str
    default: Any = None
    fallback: Any = None
    """Value that replaces an unusable one, instead of the default."""
    env: str | None = ""
    """Environment variable; by default, `PANDAPROBE_` and the name."""
    otel: Callable[[Mapping[str, str]], tuple[Any, str] | None] | None = None
    file_keys: tuple[str, ...] = ()
    secret: bool = False

    def __post_init__(self) -> None:
        if self.env == "":
            object.__setattr__(self, "env", f"PANDAPROBE_{self.name.upper()}")


def _flag(name: str, doc: str) -> Setting:
    """Return a setting that is False by default."""
    return Setting(name, parsers.read_bool, default=False, doc=doc)


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        "api_key",
        parsers.read_key_or_function,
        file_keys=("api_key",),
        secret=True,
        doc="API key, or a function that returns it and is asked again when the server refuses the key.",
    ),
    Setting(
        "project_name",
        parsers.read_project,
        default="default",
        file_keys=("project_name", "project"),
        doc="Project of the traces; PandaProbe creates it on the first request.",
    ),
    Setting(
        "endpoint",
        parsers.read_endpoint,
        default=CLOUD_ENDPOINT,
        file_keys=("endpoint",),
        doc="Base URL of PandaProbe: the hosted service, your own, or a local one.",
    ),
    Setting(
        "environment",
        parsers.read_text,
        otel=otel_resource("deployment.environment.name", "deployment.environment"),
        doc="Deployment environment written into each trace, such as `production`.",
    ),
    Setting(
        "release",
        parsers.read_text,
        otel=otel_resource("service.version"),
        doc="Version of the app written into each trace.",
    ),
    Setting(
        "service_name",
        parsers.read_text,
        env=None,
        otel=otel_service_name,
        doc="`service.name` of the provider that `init` creates.",
    ),
    Setting(
        "enabled", parsers.read_bool, default=True, otel=otel_disabled, doc="False traces nothing and sends nothing."
    ),
    Setting(
        "instrument",
        parsers.read_instrument,
        default="auto",
        doc="`auto` for every supported library that is installed, a list of names, or False.",
    ),
    Setting("exclude", parsers.read_names, default=(), doc="Names of libraries that `instrument=auto` leaves alone."),
    Setting(
        "spans",
        parsers.read_spans,
        default="agent",
        doc="`agent` for traces of agents and models, without HTTP and database spans; `all`; or a function.",
    ),
    Setting(
        "media",
        parsers.one_of("digest", "inline"),
        default=None,
        doc="Pictures, sound and files in messages. `digest`: their type, size and SHA-256. `inline`: their data, up "
        "to 262,144 characters of base64 each. Not set: `inline` for a PandaProbe on this machine, else `digest`.",
    ),
    Setting(
        "capture",
        parsers.read_capture,
        default="all",
        fallback="off",
        doc="`all`: inputs and outputs too; `metadata`: names, times, models, tokens; `off`: no metadata either. "
        'By kind: `{"*": "all", "TOOL": "metadata"}`, in the variable `all,TOOL=metadata`.',
    ),
    _flag(
        "replayable",
        "True keeps the parameters and the answer of each model call on its span (64 kB at most, after `mask` and "
        "`capture`), so that `pandaprobe-otel capture` rebuilds them exactly.",
    ),
    Setting(
        "mask",
        parsers.read_anything,
        env=None,
        doc="Regular expressions or functions that remove text before it leaves the process.",
    ),
    Setting(
        "scrub",
        parsers.read_scrub,
        default=True,
        doc="True replaces well-known credentials (API keys, tokens, passwords in URLs) in errors, URLs and headers; "
        "`all`: in every text; False: in none.",
    ),
    Setting(
        "threads",
        parsers.read_threads,
        default=True,
        doc="True carries the context into the tasks of a `ThreadPoolExecutor`, so that their spans belong to the "
        "caller's trace; `all`: also into each `threading.Thread`; False: into neither.",
    ),
    Setting(
        "compute_cost",
        parsers.read_priced,
        default=False,
        doc="True computes missing costs from a price list (extra `cost`), and marks them as computed.",
    ),
    Setting(
        "sample_rate",
        parsers.read_rate,
        default=1.0,
        doc="Share of the traces to keep, 0 to 1, decided by the trace id.",
    ),
    Setting(
        "local",
        parsers.read_file,
        doc="File that traces are written to as JSON lines, instead of being sent; `send` sends them later.",
    ),
    Setting(
        "spool",
        parsers.read_directory,
        env="PANDAPROBE_SPOOL_DIR",
        doc="Directory in which waiting traces survive the process. Without one, they wait in memory.",
    ),
    Setting(
        "redis_url",
        parsers.read_redis_url,
        secret=True,
        doc="Redis through which machines share the limit of one key (redis://, rediss:// or unix://).",
    ),
    _flag("console", "True also prints each finished trace as a tree to standard error."),
    _flag("debug", "True sets the log level of `pandaprobe_otel` to DEBUG."),
    _flag("strict", "True makes `init` raise ConfigError for a bad setting, instead of warning."),
    Setting(
        "live",
        parsers.read_bool,
        doc="Tell a local PandaProbe about running spans, for its pages. True: any server that says it is local; "
        "False: none; not set: one on this machine.",
    ),
    Setting(
        "trace_url",
        parsers.read_trace_url,
        doc="Address of a trace's page, with `{trace_id}` in it, for links. None: a local server states its own.",
    ),
    Setting(
        "max_traces_per_day",
        parsers.read_count,
        doc="Maximum number of traces that this process posts in 24 hours; each is billed. Default: no maximum.",
    ),
    _flag(
        "handle_sigterm",
        "True delivers waiting traces on SIGTERM and exits with 143, in a program that does not handle SIGTERM. "
        "Web servers do: under them, traces are delivered without this setting.",
    ),
    Setting(
        "max_queue_bytes",
        parsers.read_bytes,
        default=64 << 20,
        doc="Maximum memory for open and waiting traces, in bytes.",
    ),
    Setting(
        "max_spool_bytes",
        parsers.read_bytes,
        default=512 << 20,
        doc="Maximum disk space for waiting traces in the spool, in bytes; the oldest are dropped first.",
    ),
    Setting(
        "shutdown_timeout_s",
        parsers.read_seconds,
        default=5.0,
        env="PANDAPROBE_SHUTDOWN_TIMEOUT",
        doc="Longest wait for delivery at the end of the process, in seconds.",
    ),
)
