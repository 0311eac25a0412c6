"""`pandaprobe-otel spool`, as a user runs it, on directories that processes left or still use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from command_line import clean_environment, run_here
from pandaprobe_otel.delivery.spool.destination import Destination
from spools import DESTINATION, Run, create
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python


def spool(*arguments: str, home: Path, **variables: str) -> tuple[int, str, str]:
    """Run the command; return its exit code, standard output and standard error."""
    done = run_here("spool", *arguments, environment=clean_environment(home, **variables))
    return done.returncode, done.stdout, done.stderr


def listing(folder: Path, home: Path) -> dict[str, Any]:
    """Return the JSON output of `ls`."""
    code, output, errors = spool("ls", "--spool", str(folder), "--format", "json", home=home)
    assert (code, errors) == (0, "")
    found: dict[str, Any] = json.loads(output)
    return found


@contextmanager
def refusing(folder: Path) -> Iterator[tuple[StrictPandaProbe, Path]]:
    """Yield a server, and a directory with two requests that it has refused, from a process that has ended."""
    errors = {"detail": "Validation error", "errors": [{"field": "session_id", "message": "too odd"}]}
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=422, body=errors)
        code = "one('first')\none('second')\nassert handle.flush(60)"
        assert run_python(code, environment(server.url, PANDAPROBE_SPOOL_DIR=str(folder))).returncode == 0
        yield server, folder


def test_ls_shows_the_state_of_each_file(tmp_path: Path) -> None:
    """`ls` lists the files of a living process, of a dead one, and damaged ones, as a table and as JSON."""
    folder = tmp_path / "spool"
    dead = Run(folder)
    dead.put(create(1, spans=3))
    dead.look_around()
    dead.die()
    living = Run(folder, destination=Destination(endpoint="http://other", project="p", api_key="k"))
    living.put(create(2))
    living.look_around()
    (folder / "x.sqlite.damaged").write_bytes(b"x" * 10)
    files = {file["state"]: file for file in listing(folder, tmp_path)["files"]}

    assert (files["waiting"]["requests"], files["waiting"]["spans"], files["waiting"]["project"]) == (1, 3, "shop")
    assert (files["in use"]["requests"], files["in use"]["endpoint"]) == (1, "http://other")
    assert files["damaged"]["bytes"] == 10
    code, output, _ = spool("ls", home=tmp_path, PANDAPROBE_SPOOL_DIR=str(folder))
    assert code == 0
    assert "http://other" in output
    living.die()


def test_send_sends_the_refused_requests_again(tmp_path: Path) -> None:
    """`ls` has the server's words; and `send` sends the file again."""
    with refusing(tmp_path / "spool") as (server, folder):
        page = {"items": [], "total": 0}
        server.answer = lambda method, path: Reply(status=200, body=page) if method == "GET" else None
        rows = listing(folder, tmp_path)["refused"]
        assert {row["name"] for row in rows} == {"first", "second"}
        assert {row["server"] for row in rows} == {"422 session_id: too odd"}
        variables = {"PANDAPROBE_ENDPOINT": server.url, "PANDAPROBE_API_KEY": "sk_pp_1"}
        environment = clean_environment(tmp_path, PANDAPROBE_PROJECT_NAME="shop", **variables)
        done = run_here("send", str(folder / rows[0]["file"]), environment=environment)
        assert done.returncode == 0, done.stderr
        assert {trace.fields["name"] for trace in server.traces.values()} == {"first", "second"}
        assert all("refused" not in post.body for post in server.posts())


def test_adopt_moves_requests_of_an_old_key(tmp_path: Path) -> None:
    """`adopt` moves requests of the same endpoint and project to the current key."""
    folder = tmp_path / "spool"
    old = Run(folder)
    old.put(create(1), create(2))
    old.look_around()
    old.die()
    elsewhere = Run(folder, destination=Destination(endpoint=DESTINATION.endpoint, project="other", api_key="k"))
    elsewhere.put(create(3))
    elsewhere.die()
    variables = {
        "PANDAPROBE_ENDPOINT": DESTINATION.endpoint,
        "PANDAPROBE_PROJECT_NAME": "shop",
        "PANDAPROBE_API_KEY": "sk_pp_new",
    }
    code, output, _ = spool("adopt", "--spool", str(folder), home=tmp_path, **variables)

    assert (code, output) == (0, "Moved to this key: 2 waiting requests.\n")
    new = Run(folder, destination=Destination(endpoint=DESTINATION.endpoint, project="shop", api_key="sk_pp_new"))
    assert len(new.contents()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ls",), 4, "PANDAPROBE_SPOOL_DIR"),
        (("ls", "--spool", "/nowhere/at/all"), 4, "is not a directory"),
        (("adopt", "--spool", "/tmp"), 4, "PANDAPROBE_API_KEY"),
    ],
)
def test_mistakes_are_explained(arguments: tuple[str, ...], code: int, words: str, tmp_path: Path) -> None:
    """Each mistake has its exit code and a message without a traceback."""
    done = run_here("spool", *arguments, environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
