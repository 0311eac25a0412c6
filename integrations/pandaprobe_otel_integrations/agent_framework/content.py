"""Agent Framework's setting for messages in its spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentSwitch:
    """The setting `enable_sensitive_data`, and its earlier value."""

    settings: Any
    was: bool

    @classmethod
    def on(cls, settings: Any) -> Self:
        """Turn the setting on, unless the app has turned Agent Framework's telemetry off as a whole."""
        switch = cls(settings=settings, was=bool(settings.enable_sensitive_data))
        if not settings.is_user_disabled:
            settings.enable_sensitive_data = True
        return switch

    def undo(self) -> None:
        """Restore the setting."""
        if not self.settings.is_user_disabled:
            self.settings.enable_sensitive_data = self.was
