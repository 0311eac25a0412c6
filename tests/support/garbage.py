"""Values that no setting has room for, in texts, in objects and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final


class Failing:
    """An object whose every method fails."""

    def _fail(self, *_: object) -> Any:
        raise RuntimeError("no")

    __str__ = __repr__ = __fspath__ = __float__ = __int__ = __index__ = __iter__ = __eq__ = __bool__ = _fail
    __hash__ = object.__hash__


TEXTS: Final = (
    "~nouser/x",
    "x" * 300,
    "/".join(["y" * 200] * 40),
    "redis://[::1:6379/0",
    "redis://h:99999/0",
    "redis://h/x?db=y",
    "9" * 400,
    "9" * 5000,
    "-1",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "0x10",
    "1_000",
    "true,false",
    "=",
    ",",
    "TOOL=",
    "*=all,*=off",
    "http://[::1",
    "http://h:port",
    "http://",
    "://",
    "%",
    "{}",
    "[]",
    "null",
    "\t",
    "é",
    "\u202e",
    "\udc80",
    "a\0b",
    "a\nb",
    "/dev/null",
    "/dev/null/x",
    "/proc/self/x",
    ".",
    "..",
    "/",
    "team/a",
    "{trace_id}",
    "http://{trace_id}:x",
)
VALUES: Final[tuple[Any, ...]] = (
    10**400,
    -(10**400),
    float("nan"),
    float("inf"),
    -1,
    0,
    1.5,
    True,
    b"x",
    b"\xff",
    [],
    [None],
    [[1]],
    (),
    {},
    {1: 2},
    {"*": None},
    {"TOOL": object()},
    object(),
    object,
    len,
    Failing(),
    [Failing()],
    Path("~nouser/x"),
    Path("x" * 300),
    1j,
    range(3),
)
FILES: Final = (
    "",
    "a",
    "[",
    "- 1",
    "{",
    "api_key: [1",
    "api_key: {a: 1}",
    "endpoint: 5",
    "project: 2020-99-99",
    "project: !!int x",
    "endpoint: !!timestamp x",
    "project: *x",
    "? [a]\n: 1",
    "[" * 5000,
    "api_key: " + "9" * 5000,
    "\ud800",
    "a: \0",
)
