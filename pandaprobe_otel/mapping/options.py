"""Options for the content that may leave the process and for its amount; masks, and switches of other vendors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from pandaprobe_otel.mapping.secrets_in_texts import without_credentials
from pandaprobe_otel.mapping.text import MAX_INLINE, with_texts
from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.process.guard import ask, failed

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.mapping.usage import Price

# -- masks -------------------------------------------------------------------------------------------------------------

# They apply to every text that is sent: names, content, errors, metadata with its keys, tags. They work on a copy,
# after the mapping and before any cut. They fail closed, and the text that they matched is never shown.

Mask: TypeAlias = Callable[[str], str]

MASKED: Final = "[masked]"
MASK_FAILED: Final = "[masked: the mask failed]"
_FIELDS: Final = (
    "name", "input", "output", "error", "metadata", "model_parameters", "tags", "session_id", "user_id",
)  # fmt: skip
"""Fields of spans and traces with text of the app; the others hold ids, times, numbers and fixed words."""


def compile_masks(mask: Any) -> tuple[Mask, ...]:
    """Return the masks of a setting: a regular expression (text or compiled), a function, or several of them.

    Raises ValueError for a text that is not a regular expression, and TypeError for any other invalid mask.
    """
    if mask is None:
        return ()
    several = isinstance(mask, Sequence) and not isinstance(mask, (str, bytes))
    given = cast("Iterable[object]", mask) if several else (cast("object", mask),)
    return tuple(_compiled(one) for one in given)


def mask_everything(_: str) -> str:
    """Mask the whole text."""
    return MASKED


def _compiled(mask: object) -> Mask:
    if isinstance(mask, str):
        try:
            mask = re.compile(mask)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
    if isinstance(mask, re.Pattern):
        return partial(cast("re.Pattern[str]", mask).sub, MASKED)
    if callable(mask):
        return cast("Mask", mask)
    raise TypeError(f"{type(mask).__name__} is neither a regular expression nor a function")


def masked(body: dict[str, Any], masks: Sequence[Mask]) -> dict[str, Any]:
    """Return a copy of a span's or trace's body with every text masked; the body is JSON-safe."""
    result = dict(body)
    for key in _FIELDS:
        if key in result:
            result[key] = with_texts(result[key], partial(masked_text, masks=masks), keys=True)
    if not result.get("name"):
        result["name"] = MASKED  # the server refuses an empty name
    return result


def masked_text(text: str, masks: Sequence[Mask]) -> str:
    """Return the text with every mask applied; if a mask fails, the whole text is left out."""
    for mask in masks:
        try:
            text = ask(mask, text)
        except BaseException as error:  # noqa: BLE001 - the app's function failed: unmasked text must not be sent
            failed("mask", error)
            return MASK_FAILED
        if type_of(text) is not str:
            return MASK_FAILED
    return text


# -- other vendors' switches against recording content -----------------------------------------------------------------

# They are applied to all spans, because their emitters may ignore them: a span in the same vocabulary can come from
# another language or library, and a user who set the switch did not want such content to be sent. An unknown value of
# a switch hides content: it is safer to send too little.

_FALSE: Final = ("false", "0", "no", "off")
_TRUE: Final = ("true", "1", "yes", "on")


@dataclass(frozen=True, slots=True)
class Switch:
    """Variable with the words that hide or show content (in lower case)."""

    name: str
    hiding: tuple[str, ...]
    showing: tuple[str, ...]


SWITCHES: Final = (
    Switch(
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
        ("no_content", *_FALSE),
        ("span_only", "event_only", "span_and_event", *_TRUE),
    ),
    Switch("TRACELOOP_TRACE_CONTENT", _FALSE, _TRUE),
    *(
        Switch(f"OPENINFERENCE_HIDE_{part}", _TRUE, _FALSE)
        for part in (
            *("INPUTS", "OUTPUTS", "INPUT_MESSAGES", "OUTPUT_MESSAGES", "INPUT_TEXT", "OUTPUT_TEXT"),
            *("LLM_TOOLS", "LLM_PROMPTS", "PROMPTS", "CHOICES", "EMBEDDINGS_TEXT"),
        )
    ),
)


def hides_content(environ: Mapping[str, str]) -> tuple[bool, list[str]]:
    """Return whether a switch in `environ` hides content, and the problems with their values."""
    is_hidden, problems = False, list[str]()
    for switch in SWITCHES:
        value = environ.get(switch.name, "").strip().lower()
        if value and value not in switch.showing:
            is_hidden = True
            if value not in switch.hiding:
                words = ", ".join((*switch.showing, *switch.hiding))
                problems.append(f"{switch.name} = {value[:40]!r} is not one of {words}; no content is sent.")
    return is_hidden, problems


# -- options -----------------------------------------------------------------------------------------------------------

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
        is_hidden, of_switches = (False, []) if is_given else hides_content(environ)
        problems += of_switches
        others: Capture = modes["*"] if is_given else "metadata" if is_hidden else "all"
        return cls(
            capture=others,
            capture_by_kind={kind: mode for kind, mode in modes.items() if kind != "*"},
            masks=masks,
            inline_media=MAX_INLINE if config.keeps_media else 0,
            scrubs=config.scrub is True,
            price=_listed_price() if config.compute_cost else None,
            environment=config.environment if _is_own(config, "environment") else None,
            release=config.release if _is_own(config, "release") else None,
            problems=tuple(problems),
        )

    def capture_of(self, kind: str) -> Capture:
        """Return the capture mode for spans of this kind."""
        return self.capture_by_kind.get(kind, self.capture)


def _listed_price() -> Price:
    from pandaprobe_otel.mapping.usage import listed_price, load_prices  # it imports this module

    load_prices()
    return listed_price


def _is_own(config: Config, name: str) -> bool:
    """Return whether a setting was given to PandaProbe itself, since values of OpenTelemetry's resource are in the
    spans.
    """
    return not config.sources.get(name, "default").startswith("OTEL_")
