"""`pandaprobe-otel gateway`: receive OTLP from programs in any language and from Collectors."""

from __future__ import annotations

from typing import Any

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.extras import require
from pandaprobe_otel.cli.options import PORT, flag, option


@click.command("gateway")
@option("--host", "Address to listen on. 0.0.0.0: all interfaces, for other machines.", str, "127.0.0.1")
@option("--http-port", "Port of OTLP/HTTP. 0: any free port.", PORT, 4318)
@option("--grpc-port", "Port of OTLP/gRPC. 0: any free port.", PORT, 4317)
@flag("--no-http", "Do not listen for OTLP/HTTP.")
@flag("--no-grpc", "Do not listen for OTLP/gRPC.")
@option("--max-body", "Largest request in bytes, after decompression.", click.IntRange(min=1024), 16 << 20)
@option(
    "--token",
    "Token that senders must pass as `Authorization: Bearer TOKEN`. Prefer PANDAPROBE_GATEWAY_TOKEN: other users "
    "can see arguments.",
    envvar="PANDAPROBE_GATEWAY_TOKEN",
)
@option("--certfile", "PEM file of the TLS certificate and its chain.", metavar="FILE")
@option("--keyfile", "PEM file of the certificate's key.", metavar="FILE")
@option(
    "--spool",
    "Directory that keeps accepted spans on disk if the process ends. [PANDAPROBE_SPOOL_DIR]",
    metavar="DIRECTORY",
)
@option(
    "--redis-url", "Redis server through which gateways share the rate limit. [PANDAPROBE_REDIS_URL]", metavar="URL"
)
def gateway(host: str, http_port: int, grpc_port: int, no_http: bool, no_grpc: bool, **options: Any) -> int:
    """Receive OpenTelemetry traces (OTLP over HTTP and gRPC) and send them to PandaProbe.

    All settings, such as key, endpoint and project, come from the environment, as for a Python app.
    """
    if no_http and no_grpc:
        raise click.UsageError("--no-http and --no-grpc exclude each other: the gateway needs at least one protocol.")
    if (options["certfile"] is None) != (options["keyfile"] is None):
        raise click.UsageError("TLS needs both --certfile and --keyfile.")
    require("gateway", "grpc", "starlette", "uvicorn", "google", "google.rpc", "opentelemetry.proto")
    from pandaprobe_otel.gateway import serve

    try:
        serve(
            host,
            http_port=None if no_http else http_port,
            grpc_port=None if no_grpc else grpc_port,
            **options,
        )
    except OSError as error:
        click.echo(f"pandaprobe-otel: {error.strerror or error}", err=True)
        return ExitCode.GENERAL
    return ExitCode.OK
