"""`pandaprobe-otel gateway`: receive OTLP from programs in any language and from Collectors."""

from __future__ import annotations

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.extras import require


@click.command("gateway")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. 0.0.0.0: all interfaces, for other machines.",
)
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    default=4318,
    show_default=True,
    help="Port of OTLP/HTTP. 0: any free port.",
)
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    default=4317,
    show_default=True,
    help="Port of OTLP/gRPC. 0: any free port.",
)
@click.option("--no-http", is_flag=True, help="Do not listen for OTLP/HTTP.")
@click.option("--no-grpc", is_flag=True, help="Do not listen for OTLP/gRPC.")
@click.option(
    "--max-body",
    type=click.IntRange(min=1024),
    default=16 << 20,
    show_default=True,
    help="Largest request in bytes, after decompression.",
)
@click.option(
    "--token",
    envvar="PANDAPROBE_GATEWAY_TOKEN",
    help="Token that senders must pass as `Authorization: Bearer TOKEN`. Prefer PANDAPROBE_GATEWAY_TOKEN: other users "
    "can see arguments.",
)
@click.option("--certfile", metavar="FILE", help="PEM file of the TLS certificate and its chain.")
@click.option("--keyfile", metavar="FILE", help="PEM file of the certificate's key.")
@click.option(
    "--spool",
    metavar="DIRECTORY",
    help="Directory that keeps accepted spans on disk if the process ends. [PANDAPROBE_SPOOL_DIR]",
)
@click.option(
    "--redis-url",
    metavar="URL",
    help="Redis server through which gateways share the rate limit. [PANDAPROBE_REDIS_URL]",
)
def gateway(
    host: str,
    http_port: int,
    grpc_port: int,
    no_http: bool,
    no_grpc: bool,
    max_body: int,
    token: str | None,
    certfile: str | None,
    keyfile: str | None,
    spool: str | None,
    redis_url: str | None,
) -> int:
    """Receive OpenTelemetry traces (OTLP over HTTP and gRPC) and send them to PandaProbe.

    All settings, such as key, endpoint and project, come from the environment, as for a Python app.
    """
    if no_http and no_grpc:
        raise click.UsageError("--no-http and --no-grpc exclude each other: the gateway needs at least one protocol.")
    if (certfile is None) != (keyfile is None):
        raise click.UsageError("TLS needs both --certfile and --keyfile.")
    require("gateway", "grpc", "starlette", "uvicorn", "google", "google.rpc", "opentelemetry.proto")
    from pandaprobe_otel.gateway import serve

    try:
        serve(
            host,
            http_port=None if no_http else http_port,
            grpc_port=None if no_grpc else grpc_port,
            max_body=max_body,
            token=token,
            certfile=certfile,
            keyfile=keyfile,
            spool=spool,
            redis_url=redis_url,
        )
    except OSError as error:
        click.echo(f"pandaprobe-otel: {error.strerror or error}", err=True)
        return ExitCode.GENERAL
    return ExitCode.OK
