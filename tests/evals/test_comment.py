"""The comment on a pull request: its content, and that there is exactly one, whatever GitHub answers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from command_line import clean_environment, run_here
from github_api import ANNA, BOT, FORK, JOB, PERSON, GitHubApi, github_api, limited
from made_reports import TRACE, case, report, reports_of, score
from pandaprobe_otel.evals import Report
from pandaprobe_otel.evals.github import add_summary
from pandaprobe_otel.evals.pull_request import Comments, PullRequest, RefusedError
from pandaprobe_otel.evals.report_comment import code, comment, marker
from provider_server import Received, Reply

PULL = PullRequest(repository="shop/agent", number=7)
MARK = marker("shop")
GOOD, BAD = reports_of(0.9, 0.2)


def test_each_key_has_a_comment_of_its_own() -> None:
    """Keys in any script and of any length have different markers, and no key ends the marker early."""
    keys = ["shop", "test suite", "a-b", "a b", "a--b", "支付", "退款", "", "k" * 200, "k" * 201, "x --> y"]
    lines = [marker(key) for key in keys]
    assert len(set(lines)) == len(keys)
    assert all(line.count("--") == 2 and line.isascii() and len(line) < 160 for line in lines)


def test_a_quoted_answer_mentions_nobody() -> None:
    """An agent's answer is quoted as code: it cannot mention, refer, show a picture or break the table."""
    odd = "@shop/owners see #1 ![x](http://e.com/x.png) `` | <img src=x> --> \n# heading"
    name = "a | b ``` @anna"
    text = comment(report(case(name, 0.2, reason=odd), notes=("@anna",)), key="x --> @anna <b>")
    assert re.fullmatch(r"<!-- pandaprobe-otel report: x anna b \w+ -->", text.splitlines()[0])
    outside = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text.partition("\n")[2])
    assert [each for each in ("@", "#1", "![", "<img", "heading", "anna") if each in outside] == []
    assert code("a`") == "`` a` ``"
    assert code("\n") == "` `"


def test_a_long_run_has_room() -> None:
    """The comment stays below GitHub's limit, and gives the number of omitted cases."""
    url = f"https://example.com/{'p' * 60}/{{trace_id}}"

    def long(value: float, *metrics: str) -> Report:
        scores = tuple(score(value, metric, "`" * 4000) for metric in metrics)
        cases = (case("c" * 400 + str(n), results=scores, traces=(TRACE,)) for n in range(300))
        return report(*cases, notes=("n" * 5000,) * 100, trace_url=url)

    text = comment(long(0.2, "m"), key="k" * 999, before=long(0.9, "m"))
    assert len(text) < 65_000
    assert "and 270 more" in text
    wide = ["m" * 290 + str(n) for n in range(40)]
    text = comment(long(0.2, *wide), key="k", before=long(0.9, *wide))
    assert len(text) < 65_536
    assert "The rest does not fit into a comment." in text
    assert text.count("<details>") == text.count("</details>")


def test_a_summary_is_no_longer_than_github_takes(tmp_path: Path) -> None:
    """The summary ends at a whole line below GitHub's limit, also after existing text; lone surrogates are replaced."""
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    environ = {"GITHUB_STEP_SUMMARY": str(path)}
    assert add_summary("odd \ud800\n", environ)
    for _ in range(3):
        assert add_summary("x" * 98 + "y\n", environ)
        assert add_summary(("x" * 98 + "y\n") * 9000, environ)
    assert path.stat().st_size <= 1 << 20
    lines = path.read_text().splitlines()
    assert lines[:2] == ["before", "odd ?"]
    assert lines[-1] == "There is more, for which a summary has no room: see the report."
    assert {line[-1:] for line in lines[2:] if line.startswith("x")} == {"y"}


@pytest.fixture
def github() -> Generator[GitHubApi]:
    """Yield an imitation of GitHub's API, with 205 other comments on the pull request."""
    with github_api() as api:
        for number in range(205):
            api.add(f"comment {number}", ANNA)
        yield api


def put(api: GitHubApi, body: str, token: str = JOB, waited: list[float] | None = None) -> str:
    """Write a comment without real waiting, and return its address."""
    seconds = [] if waited is None else waited
    with Comments(token, api_url=api.url, wait=seconds.append) as comments:
        return comments.put(PULL, body)


def ours(api: GitHubApi) -> list[str]:
    """Return the comments that begin with our marker."""
    return [one["body"] for one in api.comments if one["body"].startswith(MARK)]


def test_a_comment_of_somebody_else_is_left_alone(github: GitHubApi) -> None:
    """A comment by another author, even with our marker, is not updated, and neither is one that quotes the marker."""
    github.add(f"{MARK}\nall is well", ANNA)
    github.add(f"> {MARK}\nquoted", BOT)
    put(github, f"{MARK}\nours")
    assert ours(github) == [f"{MARK}\nall is well", f"{MARK}\nours"]


def test_a_comment_that_is_deleted_meanwhile_is_written_anew(github: GitHubApi) -> None:
    """If the comment was deleted, the update gets 404 and a new comment is written."""
    put(github, f"{MARK}\nfirst")

    def deleted(request: Received) -> None:
        if request.method == "PATCH":
            github.comments.pop()

    github.in_the_way = [deleted] * 5
    put(github, f"{MARK}\nsecond")
    assert ours(github) == [f"{MARK}\nsecond"]


def test_an_answer_that_was_lost_makes_no_second_comment(github: GitHubApi) -> None:
    """If the connection breaks after the comment was written, the retry finds it and writes no second one."""

    def written_and_cut(request: Received) -> Reply | None:
        if request.method != "POST":
            return None
        github.add(request.json["body"], BOT)
        return Reply(chunks=(b"{",), breaks_off=True)

    github.in_the_way = [written_and_cut] * 5
    waited: list[float] = []
    put(github, f"{MARK}\nours", waited=waited)
    assert (ours(github), waited) == ([f"{MARK}\nours"], [1.0])


def job(folder: Path, github: GitHubApi, token: str, **more: str) -> dict[str, str]:
    """Return the environment of a job for the pull request."""
    event = folder / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7}}))
    return clean_environment(
        folder,
        GITHUB_ACTIONS="true",
        GITHUB_API_URL=github.url,
        GITHUB_EVENT_PATH=str(event),
        GITHUB_REPOSITORY="shop/agent",
        GITHUB_SERVER_URL="https://github.com",
        GITHUB_RUN_ID="123",
        GITHUB_STEP_SUMMARY=str(folder / "summary.md"),
        GITHUB_TOKEN=token,
        GITHUB_REF="refs/heads/x",
        **more,
    )


@pytest.mark.parametrize("token", [JOB, PERSON])
def test_there_is_one_comment_and_it_is_updated(github: GitHubApi, token: str) -> None:
    """The one comment of a key is updated, even if it is on the third page, with the token of a job or of a person."""
    first = put(github, f"{MARK}\nfirst", token)
    github.add("thanks", ANNA)
    assert put(github, f"{MARK}\nsecond", token) == first == github.comments[205]["html_url"]
    assert sum(sent.startswith("GET /repos") for sent in github.asked) == 6
    put(github, f"{marker('other')}\nanother run", token)
    assert ours(github) == [f"{MARK}\nsecond"]


@pytest.mark.parametrize(
    ("answers", "waits", "tries"),
    [
        ([limited(403, retry_after="7")], [7.0], None),
        ([limited(429, retry_after="0")], [0.0], None),
        ([limited(403, x_ratelimit_remaining="0", x_ratelimit_reset="0")], [0.0], None),
        ([limited(403)], [60.0], None),
        ([Reply(status=502, chunks=(b"<html>",))], [1.0], None),
        ([Reply(status=200, chunks=(b"<html>",))], [1.0], None),
        ([limited(403, retry_after="3600")], [], 1),
        ([limited(403, x_ratelimit_remaining="0", x_ratelimit_reset="9999999999")], [], 1),
        ([Reply(status=503)] * 3, [1.0, 1.0], 3),
    ],
)
def test_a_limit_is_waited_for_if_it_ends_soon(
    github: GitHubApi, answers: list[Reply], waits: list[float], tries: int | None
) -> None:
    """A short limit is waited for as GitHub asks, a long one is not; server errors are retried a few times."""
    github.in_the_way = [*answers]
    waited: list[float] = []
    if tries is None:
        put(github, f"{MARK}\nours", waited=waited)
        assert ours(github) == [f"{MARK}\nours"]
    else:
        with pytest.raises(RefusedError) as caught:
            put(github, f"{MARK}\nours", waited=waited)
        assert (caught.value.why, len(github.asked), ours(github)) == ("unavailable", tries, [])
    assert waited == waits


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Return the command's arguments, with the reports of a run and of its baseline."""
    BAD.save(tmp_path / "run.json")
    GOOD.save(tmp_path / "base.json")
    return ["report", "comment", str(tmp_path / "run.json"), "--baseline", str(tmp_path / "base.json")]


def test_the_command_in_a_job(tmp_path: Path, github: GitHubApi, runs: list[str]) -> None:
    """In a job, the command finds the pull request and writes or updates its one comment, even for a failed run."""
    environment = job(tmp_path, github, JOB)
    for link in ("https://example.com/1", "https://example.com/2"):
        done = run_here(*runs, "--link", f"side by side={link}", environment=environment)
        assert (done.returncode, done.stdout) == (0, f"{github.comments[205]['html_url']}\n"), done.stderr
    (body,) = ours(github)
    assert "[side by side](https://example.com/2) · [job](https://github.com/shop/agent/actions/runs/123)" in body
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.parametrize(
    ("token", "more", "code", "words"),
    [
        (FORK, {}, 0, "has no permission `pull-requests: write`, as in every pull request from a fork"),
        ("", {}, 4, "GITHUB_TOKEN is not set"),
        ("wrong", {}, 2, "401: Bad credentials"),
        (JOB, {"GITHUB_REPOSITORY": "shop/gone"}, 3, "404: Not Found"),
        (JOB, {"GITHUB_EVENT_PATH": ""}, 0, "this job does not belong to a pull request"),
        (JOB, {"GITHUB_API_URL": "http://127.0.0.1:9"}, 5, "ConnectError"),
    ],
)
def test_where_no_comment_can_be_written_the_summary_has_it(
    tmp_path: Path, github: GitHubApi, runs: list[str], token: str, more: dict[str, str], code: int, words: str
) -> None:
    """A comment that cannot be written goes to the job's summary; from a fork, this is not an error."""
    done = run_here(*runs, environment=job(tmp_path, github, token) | more)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert done.stderr.strip().endswith("; it is in the summary of the job")
    assert (tmp_path / "summary.md").read_text().startswith(f"{MARK}\n### ✘ `shop`: failed")
    assert ours(github) == []


def test_outside_of_a_job(tmp_path: Path, github: GitHubApi, runs: list[str]) -> None:
    """Outside of a job, options must name the pull request; `--print` sends nothing."""
    plain = {"GITHUB_TOKEN": PERSON, "GITHUB_API_URL": github.url, "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for options, status, words in (
        ((), 4, "is not a repository (OWNER/NAME)"),
        (("--link", "x=javascript:1"), 4, "is not NAME=URL"),
        (("--print",), 0, MARK),
    ):
        done = run_here(*runs, *options, environment=plain)
        assert (done.returncode, words in done.stdout + done.stderr, github.asked) == (status, True, [])
    done = run_here(*runs, "--repo", "shop/agent", "--pr", "7", "--key", "nightly", environment=plain)
    assert (done.returncode, github.comments[-1]["body"].splitlines()[0]) == (0, marker("nightly"))


@pytest.mark.parametrize(
    ("environ", "number"),
    [
        ({"GITHUB_REF": "refs/pull/12/merge"}, 12),
        ({"event": {"issue": {"number": 3}}}, 3),
        ({"event": {"workflow_run": {"pull_requests": [{"number": 4}]}}}, 4),
        ({"event": {"workflow_run": {"pull_requests": []}}}, None),
        ({"event": ["odd"]}, None),
        ({}, None),
    ],
)
def test_the_pull_request_of_a_job(tmp_path: Path, environ: dict[str, Any], number: int | None) -> None:
    """The number of the pull request is read from the reference or from the event."""
    event = tmp_path / "event.json"
    if "event" in environ:
        event.write_text(json.dumps(environ.pop("event")))
    found = PullRequest.of_job({"GITHUB_REPOSITORY": "a/b", "GITHUB_EVENT_PATH": str(event), **environ})
    assert (None if found is None else found.number) == number
