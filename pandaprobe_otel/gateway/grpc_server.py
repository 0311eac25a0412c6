"""OTLP over gRPC (OTLP specification 1.5, "OTLP/gRPC")."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from pandaprobe_otel.gateway.errors import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, RefusedError
from pandaprobe_otel.gateway.intake import Intake
from pandaprobe_otel.gateway.otlp_request import read_protobuf

_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_AT_ONCE: Final = 8
_WAITING: Final = 64
_CODES: Final = {
    INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class GrpcServer:
    """Listens from its making on; `port` is where. Raises OSError for an address that cannot be used."""

    def __init__(self, intake: Intake, address: str, *, max_body: int) -> None:
        self._intake = intake
        self._server: Any = grpc.server(
            ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="pandaprobe-grpc"),
            options=[("grpc.max_receive_message_length", max_body), ("grpc.so_reuseport", 0)],
            maximum_concurrent_rpcs=_WAITING,  # beyond: RESOURCE_EXHAUSTED, by the library itself
        )
        # The bytes are decoded here, so that bad ones are the sender's error and not the server's.
        handler = cast("Any", grpc).unary_unary_rpc_method_handler(self._export)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Export": handler}),))
        try:
            self.port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address} for gRPC: {error}") from error
        if not self.port:
            raise OSError(f"cannot listen on {address} for gRPC")
        self._server.start()

    def stop(self, within_s: float) -> None:
        """Answer what has been taken, and nothing more."""
        self._server.stop(within_s).wait(within_s + 1.0)

    def _export(self, body: bytes, context: Any) -> bytes:
        try:
            self._intake.check_room()
            taken = self._intake.take(read_protobuf(body))
        except RefusedError as error:
            self._refuse(error, context)
            raise  # abort() has raised already
        answer = ExportTraceServiceResponse()
        if taken.rejected:
            answer.partial_success.rejected_spans = taken.rejected
            answer.partial_success.error_message = taken.message
        encoded: bytes = answer.SerializeToString()
        return encoded

    @staticmethod
    def _refuse(error: RefusedError, context: Any) -> None:
        text = f"pandaprobe-otel: {error}"
        status = Status(code=error.code, message=text)
        if error.retry_after_s is not None:
            delay = RetryInfo(retry_delay=Duration(seconds=math.ceil(error.retry_after_s)))
            status.details.add().Pack(delay)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(_CODES.get(error.code, grpc.StatusCode.UNAVAILABLE), text)
