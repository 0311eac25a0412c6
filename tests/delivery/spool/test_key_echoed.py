"""A server or debugging proxy that echoes the key: no log, status, request or file contains the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python

KEY = "sk_pp_" + "0123456789abcdef" * 4
APP = """
import logging
logging.basicConfig(level=logging.DEBUG)
one("a")
pandaprobe_otel.flush(5)
print(pandaprobe_otel.status(), repr(pandaprobe_otel.status()), pandaprobe_otel.status().last_error)
try:
    pandaprobe_otel.Client(timeout_s=2, retries=0).traces.get("00000000-0000-0000-0000-000000000001")
except Exception as error:
    logging.exception("asked")
    print(repr(error), vars(error))
"""


@pytest.mark.parametrize("status", [401, 422, 500])
def test_an_echoed_key_is_nowhere_to_be_found(status: int, tmp_path: Path) -> None:
    """The key is not in the log at any level, in `status()`, in a client's exception, or in a file of the spool."""
    said = {"detail": f"{KEY} is no key", "errors": [{"field": KEY, "message": f"not {KEY}"}]}
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=status, body=said)
        env = environment(server.url, PANDAPROBE_API_KEY=KEY, PANDAPROBE_SPOOL_DIR=str(tmp_path / "spool"))
        result = run_python(APP, env)

    assert result.returncode == 0, result.stderr
    assert str(status) in result.stdout
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY[6:20].encode() in each for each in [*files, result.stdout.encode(), result.stderr.encode()])
