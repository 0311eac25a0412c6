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
    default: Any
    doc: str
    fallback: Any = None
    """Value that replaces an unusable one, instead of the default."""
    env: str | None = None
    otel: Callable[[Mapping[str, str]], tuple[Any, str] | None] | None = None
    file_keys: tuple[str, ...] = ()
    secret: bool = False


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        name="api_key",
        env="PANDAPROBE_API_KEY",
        file_keys=("api_key",),
        parse=read_key_or_function,
        default=None,
        secret=True,
        doc="API key, or a function that returns it and is asked again when the server refuses the key.",
    ),
    Setting(
        name="project_name",
        env="PANDAPROBE_PROJECT_NAME",
        file_keys=("project_name", "project"),
        parse=read_project,
        default="default",
        doc="Project of the traces; PandaProbe creates it on the first request.",
    ),
    Setting(
        name="endpoint",
        env="PANDAPROBE_ENDPOINT",
        file_keys=("endpoint",),
        parse=read_endpoint,
        default=CLOUD_ENDPOINT,
        doc="Base URL of PandaProbe: the hosted service, your own, or a local one.",
    ),
    Setting(
        name="environment",
        env="PANDAPROBE_ENVIRONMENT",
        otel=otel_resource("deployment.environment.name", "deployment.environment"),
        parse=read_text,
        default=None,
        doc="Deployment environment written into each trace, such as `production`.",
    ),
    Setting(
        name="release",
        env="PANDAPROBE_RELEASE",
        otel=otel_resource("service.version"),
        parse=read_text,
        default=None,
        doc="Version of the app written into each trace.",
    ),
    Setting(
        name="service_name",
        otel=otel_service_name,
        parse=read_text,
        default=None,
        doc="`service.name` of the provider that `init` creates.",
    ),
    Setting(
        name="enabled",
        env="PANDAPROBE_ENABLED",
        otel=otel_disabled,
        parse=read_bool,
        default=True,
        doc="False traces nothing and sends nothing.",
    ),
    Setting(
        name="instrument",
        env="PANDAPROBE_INSTRUMENT",
        parse=read_instrument,
        default="auto",
        doc="`auto` for every supported library that is installed, a list of names, or False.",
    ),
    Setting(
        name="exclude",
        env="PANDAPROBE_EXCLUDE",
        parse=read_names,
        default=(),
        doc="Names of libraries that `instrument=auto` leaves alone.",
    ),
    Setting(
        name="spans",
        env="PANDAPROBE_SPANS",
        parse=read_spans,
        default="agent",
        doc="`agent` for traces of agents and models, without HTTP and database spans; `all`; or a function.",
    ),
    Setting(
        name="capture",
        env="PANDAPROBE_CAPTURE",
        parse=read_capture,
        default="all",
        fallback="off",
        doc="`all`: inputs and outputs too; `metadata`: names, times, models, tokens; `off`: no metadata either. "
        'By kind: `{"*": "all", "TOOL": "metadata"}`, in the variable `all,TOOL=metadata`.',
    ),
    Setting(
        name="replayable",
        env="PANDAPROBE_REPLAYABLE",
        parse=read_bool,
        default=False,
        doc="True keeps the parameters and the answer of each model call on its span (64 kB at most, after `mask` and "
        "`capture`), so that `pandaprobe-otel capture` rebuilds them exactly.",
    ),
    Setting(
        name="mask",
        parse=read_anything,
        default=None,
        doc="Regular expressions or functions that remove text before it leaves the process.",
    ),
    Setting(
        name="compute_cost",
        env="PANDAPROBE_COMPUTE_COST",
        parse=read_priced,
        default=False,
        doc="True computes missing costs from a price list (extra `cost`), and marks them as computed.",
    ),
    Setting(
        name="sample_rate",
        env="PANDAPROBE_SAMPLE_RATE",
        parse=read_rate,
        default=1.0,
        doc="Share of the traces to keep, 0 to 1, decided by the trace id.",
    ),
    Setting(
        name="local",
        env="PANDAPROBE_LOCAL",
        parse=read_file,
        default=None,
        doc="File that traces are written to as JSON lines, instead of being sent; `send` sends them later.",
    ),
    Setting(
        name="spool",
        env="PANDAPROBE_SPOOL_DIR",
        parse=lambda raw: str(raw),
        default=None,
        doc="Directory in which waiting traces survive the process. Without one, they wait in memory.",
    ),
    Setting(
        name="redis_url",
        env="PANDAPROBE_REDIS_URL",
        parse=read_redis_url,
        default=None,
        secret=True,
        doc="Redis through which machines share the limit of one key (redis://, rediss:// or unix://).",
    ),
    Setting(
        name="console",
        env="PANDAPROBE_CONSOLE",
        parse=read_bool,
        default=False,
        doc="True also prints each finished trace as a tree to standard error.",
    ),
    Setting(
        name="debug",
        env="PANDAPROBE_DEBUG",
        parse=read_bool,
        default=False,
        doc="True sets the log level of `pandaprobe_otel` to DEBUG.",
    ),
    Setting(
        name="strict",
        env="PANDAPROBE_STRICT",
        parse=read_bool,
        default=False,
        doc="True makes `init` raise ConfigError for a bad setting, instead of warning.",
    ),
    Setting(
        name="live",
        env="PANDAPROBE_LIVE",
        parse=read_bool,
        default=None,
        doc="Tell a local PandaProbe about running spans, for its pages. True: any server that says it is local; "
        "False: none; not set: one on this machine.",
    ),
    Setting(
        name="trace_url",
        env="PANDAPROBE_TRACE_URL",
        parse=read_trace_url,
        default=None,
        doc="Address of a trace's page, with `{trace_id}` in it, for links. None: a local server states its own.",
    ),
    Setting(
        name="max_traces_per_day",
        env="PANDAPROBE_MAX_TRACES_PER_DAY",
        parse=read_count,
        default=None,
        doc="Maximum number of traces that this process posts in 24 hours; each is billed. Default: no maximum.",
    ),
    Setting(
        name="verify",
        env="PANDAPROBE_VERIFY",
        parse=read_rate,
        default=0.0,
        doc="Share of delivered traces to look up afterwards. A trace that the server has lost is sent again.",
    ),
    Setting(
        name="handle_sigterm",
        env="PANDAPROBE_HANDLE_SIGTERM",
        parse=read_bool,
        default=False,
        doc="True delivers waiting traces on SIGTERM and exits with 143, unless the app handles SIGTERM.",
    ),
    Setting(
        name="max_queue_bytes",
        env="PANDAPROBE_MAX_QUEUE_BYTES",
        parse=read_bytes,
        default=64 << 20,
        doc="Maximum memory for open and waiting traces, in bytes.",
    ),
    Setting(
        name="max_spool_bytes",
        env="PANDAPROBE_MAX_SPOOL_BYTES",
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
