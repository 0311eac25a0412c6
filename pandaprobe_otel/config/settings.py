"""Table of all settings, each with its variable, its default and its parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.config.otel_variables import otel_disabled, otel_resource, otel_service_name
from pandaprobe_otel.config.parsers import (
    CLOUD_ENDPOINT,
    BadValueError,
    read_anything,
    read_bool,
    read_bytes,
    read_capture,
    read_count,
    read_endpoint,
    read_file,
    read_instrument,
    read_key_or_function,
    read_names,
    read_priced,
    read_project,
    read_rate,
    read_redis_url,
    read_seconds,
    read_spans,
    read_text,
    read_trace_url,
)

__all__ = ["CLOUD_ENDPOINT", "SETTINGS", "BadValueError", "Setting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table: a setting, its environment variables, its default and its parser."""

    name: str
    parse: Callable[[Any], Any]
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


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        name="api_key",
        file_keys=("api_key",),
        parse=read_key_or_function,
        secret=True,
        doc="API key, or a function that returns it and is asked again when the server refuses the key.",
    ),
    Setting(
        name="project_name",
        file_keys=("project_name", "project"),
        parse=read_project,
        default="default",
        doc="Project of the traces; PandaProbe creates it on the first request.",
    ),
    Setting(
        name="endpoint",
        file_keys=("endpoint",),
        parse=read_endpoint,
        default=CLOUD_ENDPOINT,
        doc="Base URL of PandaProbe: the hosted service, your own, or a local one.",
    ),
    Setting(
        name="environment",
        otel=otel_resource("deployment.environment.name", "deployment.environment"),
        parse=read_text,
        doc="Deployment environment written into each trace, such as `production`.",
    ),
    Setting(
        name="release",
        otel=otel_resource("service.version"),
        parse=read_text,
        doc="Version of the app written into each trace.",
    ),
    Setting(
        name="service_name",
        env=None,
        otel=otel_service_name,
        parse=read_text,
        doc="`service.name` of the provider that `init` creates.",
    ),
    Setting(
        name="enabled",
        otel=otel_disabled,
        parse=read_bool,
        default=True,
        doc="False traces nothing and sends nothing.",
    ),
    Setting(
        name="instrument",
        parse=read_instrument,
        default="auto",
        doc="`auto` for every supported library that is installed, a list of names, or False.",
    ),
    Setting(
        name="exclude",
        parse=read_names,
        default=(),
        doc="Names of libraries that `instrument=auto` leaves alone.",
    ),
    Setting(
        name="spans",
        parse=read_spans,
        default="agent",
        doc="`agent` for traces of agents and models, without HTTP and database spans; `all`; or a function.",
    ),
    Setting(
        name="capture",
        parse=read_capture,
        default="all",
        fallback="off",
        doc="`all`: inputs and outputs too; `metadata`: names, times, models, tokens; `off`: no metadata either. "
        'By kind: `{"*": "all", "TOOL": "metadata"}`, in the variable `all,TOOL=metadata`.',
    ),
    Setting(
        name="replayable",
        parse=read_bool,
        default=False,
        doc="True keeps the parameters and the answer of each model call on its span (64 kB at most, after `mask` and "
        "`capture`), so that `pandaprobe-otel capture` rebuilds them exactly.",
    ),
    Setting(
        name="mask",
        env=None,
        parse=read_anything,
        doc="Regular expressions or functions that remove text before it leaves the process.",
    ),
    Setting(
        name="compute_cost",
        parse=read_priced,
        default=False,
        doc="True computes missing costs from a price list (extra `cost`), and marks them as computed.",
    ),
    Setting(
        name="sample_rate",
        parse=read_rate,
        default=1.0,
        doc="Share of the traces to keep, 0 to 1, decided by the trace id.",
    ),
    Setting(
        name="local",
        parse=read_file,
        doc="File that traces are written to as JSON lines, instead of being sent; `send` sends them later.",
    ),
    Setting(
        name="spool",
        env="PANDAPROBE_SPOOL_DIR",
        parse=lambda raw: str(raw),
        doc="Directory in which waiting traces survive the process. Without one, they wait in memory.",
    ),
    Setting(
        name="redis_url",
        parse=read_redis_url,
        secret=True,
        doc="Redis through which machines share the limit of one key (redis://, rediss:// or unix://).",
    ),
    Setting(
        name="console",
        parse=read_bool,
        default=False,
        doc="True also prints each finished trace as a tree to standard error.",
    ),
    Setting(
        name="debug",
        parse=read_bool,
        default=False,
        doc="True sets the log level of `pandaprobe_otel` to DEBUG.",
    ),
    Setting(
        name="strict",
        parse=read_bool,
        default=False,
        doc="True makes `init` raise ConfigError for a bad setting, instead of warning.",
    ),
    Setting(
        name="live",
        parse=read_bool,
        doc="Tell a local PandaProbe about running spans, for its pages. True: any server that says it is local; "
        "False: none; not set: one on this machine.",
    ),
    Setting(
        name="trace_url",
        parse=read_trace_url,
        doc="Address of a trace's page, with `{trace_id}` in it, for links. None: a local server states its own.",
    ),
    Setting(
        name="max_traces_per_day",
        parse=read_count,
        doc="Maximum number of traces that this process posts in 24 hours; each is billed. Default: no maximum.",
    ),
    Setting(
        name="verify",
        parse=read_rate,
        default=0.0,
        doc="Share of delivered traces to look up afterwards. A trace that the server has lost is sent again.",
    ),
    Setting(
        name="handle_sigterm",
        parse=read_bool,
        default=False,
        doc="True delivers waiting traces on SIGTERM and exits with 143, unless the app handles SIGTERM.",
    ),
    Setting(
        name="max_queue_bytes",
        parse=read_bytes,
        default=64 << 20,
        doc="Maximum memory for open and waiting traces, in bytes.",
    ),
    Setting(
        name="max_spool_bytes",
        parse=read_bytes,
        default=512 << 20,
        doc="Maximum disk space for waiting traces in the spool, in bytes; the oldest are dropped first.",
    ),
    Setting(
        name="shutdown_timeout_s",
        env="PANDAPROBE_SHUTDOWN_TIMEOUT",
        parse=read_seconds,
        default=5.0,
        doc="Longest wait for delivery at the end of the process, in seconds.",
    ),
)
