"""The fence around recorded content."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.compact.fences import Fence, inert

FENCE = Fence("c0ffee01")
FORGED = st.lists(st.sampled_from((FENCE.end, FENCE.begin, "<", ">", "\r", "\x00", "\u202e", "<<end", "\ud83d", "a")))


@given(FORGED.map("".join))
@settings(max_examples=60)
def test_no_content_ends_its_fence(content: str) -> None:
    """Content with the fence's own begin and end, in any form, stays inside the fence."""
    text = FENCE.around(content)

    assert text.count("<<") == text.count(">>") == 2
    assert text.startswith("<<data c0ffee01:")
    assert text.endswith("\n<<end c0ffee01>>")
    text.encode()


def test_invisible_characters_are_named() -> None:
    """Control characters, direction marks and invisible letters are shown by their code, and emoji stay whole."""
    assert inert("a\x1b[2Jb\u202ec\U000e0041d") == "a⟨U+001B⟩[2Jb⟨U+202E⟩c⟨U+E0041⟩d"
    assert inert("👩‍👧 ok\tyes\r\n") == "👩‍👧 ok yes\n"
