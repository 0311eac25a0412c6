"""OpenTelemetry spans for Amazon Bedrock, called through boto3, botocore, aiobotocore or aioboto3."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Final

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._patching import Patch, patch
from pandaprobe_otel_integrations._rivals import Rival

from .hooks import BedrockHooks

__all__ = ["BedrockInstrumentor"]

_SYNC: Final = "botocore.client"
_ASYNC: Final = "aiobotocore.client"


class BedrockInstrumentor(Integration):
    """`converse`, `invoke_model`, their streams and `start_async_invoke`, of existing and later clients.

    See `Integration` for the options of `instrument()`.
    """

    library = "bedrock"
    requirements = ("botocore >= 1.34.116",)
    hooked_modules = (_SYNC, _ASYNC)
    rivals = (
        Rival(
            vendor="OpenTelemetry", module="opentelemetry.instrumentation.botocore", class_name="BotocoreInstrumentor"
        ),
        Rival(vendor="OpenInference", module="openinference.instrumentation.bedrock", class_name="BedrockInstrumentor"),
        Rival(vendor="OpenLLMetry", module="opentelemetry.instrumentation.bedrock", class_name="BedrockInstrumentor"),
        Rival(
            vendor="OpenTelemetry GenAI",
            module="opentelemetry.instrumentation.genai.bedrock",
            class_name="BedrockInstrumentor",
        ),
    )

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        hooks = BedrockHooks(self._recorder, self._lets_through)
        if module.__name__ == _ASYNC:
            yield patch(module.AioBaseClient, "_make_api_call", hooks.call_async)
        else:
            yield patch(module.BaseClient, "_make_api_call", hooks.call)
