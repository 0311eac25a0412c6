"""Descriptors that the app closes by number, and uses for its own files and connections afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="descriptors of other systems are not files")

APP = """
import os, socket, sys, warnings
warnings.simplefilter("ignore")
OURS = b"of the app" * 1000
def close_and_open(round):
    os.closerange(3, 256)
    files = [open(f"app {round} {n}", "w+b", buffering=0) for n in range(12)]
    for file in files:
        file.write(OURS)
    pairs = [socket.socketpair() for _ in range(12)]
    for pair in pairs:
        pair[1].setblocking(False)
    return files, pairs
def check(files, pairs):
    for file in files:
        file.seek(0)
        assert file.read() == OURS, file.name
    for one_end, other_end in pairs:
        one_end.send(b"x")
        assert other_end.recv(100) == b"x"
    for one_end, other_end in pairs:
        other_end.send(b"y")
        assert one_end.recv(100) == b"y"
"""


@pytest.mark.parametrize("forks", [False, True], ids=["same process", "daemon"])
@pytest.mark.parametrize("has_spool", [False, True], ids=["memory", "spool"])
def test_numbers_that_the_app_has_closed_stay_the_apps(has_spool: bool, forks: bool, tmp_path: Path) -> None:
    """Nothing of ours is written to, read from or closed in the app's files and sockets; every trace arrives once."""
    with StrictPandaProbe() as server:
        code = f"""
one("before")
assert handle.flush(60)
if {forks} and os.fork():
    os.wait(); handle.shutdown()
    os._exit(0)
files, pairs = [], []
for round in range(2):
    one(f"waiting {{round}}")
    for each in [*files, *(end for pair in pairs for end in pair)]:
        each.close()
    files, pairs = close_and_open(round)
    for n in range(3):
        one(f"after {{round}} {{n}}")
        assert handle.flush(60)
        check(files, pairs)
handle.shutdown()
check(files, pairs)
counts = handle.status()
assert counts.spans_delivered == counts.spans_ended and not counts.spans_dropped, counts
"""
        env = environment(server.url, **{"PANDAPROBE_SPOOL_DIR": str(tmp_path / "spool")} if has_spool else {})
        result = run_python(f"import os; os.chdir({str(tmp_path)!r})" + APP + code, env)

        assert result.returncode == 0, result.stderr
        # If they were closed in the middle of a transaction, it is written again a second later, with a warning.
        assert all("the app has closed its descriptors" in line for line in result.stderr.splitlines()), result.stderr
        names = sorted(post.body["name"] for post in server.posts())
        rounds = [[f"after {n} 0", f"after {n} 1", f"after {n} 2", f"waiting {n}"] for n in range(2)]
        assert names == sorted(["before", *rounds[0], *rounds[1]])
    contents = {file.read_bytes() for file in tmp_path.glob("app *")}
    assert contents == {b"of the app" * 1000}
    assert not list(tmp_path.glob("spool/*.sqlite*"))
