"""Options for the content that may leave the process, and for its amount."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from pandaprobe_otel.mapping.masks import Mask, compile_masks, mask_everything
from pandaprobe_otel.mapping.secrets_in_texts import without_credentials
from pandaprobe_otel.mapping.switches import Hidden, hidden_by
from pandaprobe_otel.mapping.text import MAX_INLINE

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.mapping.prices import Price

Capture: TypeAlias = Literal["all", "metadata", "off"]
"""`all`: everything; `metadata`: no inputs, outputs and error texts; `off`: no metadata and tags either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingOptions:
    """Options of the mapping; the defaults send everything, within the byte budgets."""

    capture: Capture = "all"
    capture_by_kind: Mapping[str, Capture] = field(default_factory=dict[str, Capture])
    """Kinds that differ from `capture`, such as `{"TOOL": "metadata"}`."""
    masks: tuple[Mask, ...] = ()
    """Functions from text to text, applied to every text that is sent."""
    scrubs: bool = True
    """Replace well-known credentials in errors, URLs and headers."""
    hidden: tuple[str, ...] = ()
    """Name prefixes of attributes that are not read, because an emitter's own switch forbids it."""
    hidden_in_calls: tuple[str, ...] = ()
    """Name prefixes of attributes that are not read in OpenInference's model calls: they repeat hidden messages."""
    inline_media: int = 0
    """Longest base64 data URL, in characters, that is sent with its data; 0 replaces all long ones by digests."""
    max_field_bytes: int = 262_144
    max_trace_bytes: int = 4_194_304
    environment: str | None = None
    release: str | None = None
    price: Price | None = None
    """Function that computes the costs of model calls if no span states them."""
    problems: tuple[str, ...] = ()
    """Settings that could not be used, for the log."""
    captures_all: bool = field(init=False)
    """True if nothing is left out, for any kind of span."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "captures_all", self.capture == "all" and not self.capture_by_kind)

    @classmethod
    def from_config(cls, config: Config, environ: Mapping[str, str]) -> MappingOptions:
        """Read the options from the settings and from the switches of emitters in `environ`. Never raises.

        An unusable mask fails closed: every text is masked, and `problems` reports it. If `capture` was given for all
        kinds of spans, it alone decides; otherwise the switches apply too.
        """
        problems: list[str] = []
        try:
            masks = compile_masks(config.mask)
            if config.scrub == "all":
                masks = (without_credentials, *masks)
        except (TypeError, ValueError) as error:
            masks = (mask_everything,)
            problems.append(f"mask cannot be used ({error}); every text is masked until you correct it.")
        modes: Mapping[str, Capture] = {"*": config.capture} if isinstance(config.capture, str) else config.capture
        is_given = "*" in modes and config.sources.get("capture", "default") != "default"
        hidden = Hidden() if is_given else hidden_by(environ)
        problems.extend(hidden.problems)
        others: Capture = modes["*"] if is_given else "metadata" if hidden.content else "all"
        return cls(
            capture=others,
            capture_by_kind={kind: mode for kind, mode in modes.items() if kind != "*"},
            masks=masks,
            inline_media=MAX_INLINE if config.keeps_media else 0,
            scrubs=config.scrub is True,
            hidden=hidden.attributes,
            hidden_in_calls=hidden.in_calls,
            price=_listed_price() if config.compute_cost else None,
            environment=config.environment if _is_own(config, "environment") else None,
            release=config.release if _is_own(config, "release") else None,
            problems=tuple(problems),
        )

    def capture_of(self, kind: str) -> Capture:
        """Return the capture mode for spans of this kind."""
        return self.capture_by_kind.get(kind, self.capture)


def _listed_price() -> Price:
    from pandaprobe_otel.mapping.prices import listed_price, load_prices  # it imports this module

    load_prices()
    return listed_price


def _is_own(config: Config, name: str) -> bool:
    """Return whether a setting was given to PandaProbe itself, since values of OpenTelemetry's resource are in the
    spans.
    """
    return not config.sources.get(name, "default").startswith("OTEL_")
