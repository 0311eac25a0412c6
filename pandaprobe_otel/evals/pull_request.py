"""Comments on a pull request, through GitHub's REST API. Our comment is written once and then updated."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal, Self

import httpx

Why = Literal["credentials", "permission", "not found", "unavailable"]

_TRIES: Final = 3
_LONGEST_WAIT_S: Final = 60.0
"""Longest wait for GitHub's rate limit. Jobs are paid by the minute."""
_PER_PAGE: Final = 100
_MOST_PAGES: Final = 100
_VERSION: Final = "2022-11-28"


class RefusedError(Exception):
    """Error for a comment that GitHub refused. `why` names the cause."""

    def __init__(self, why: Why, said: str) -> None:
        super().__init__(said)
        self.why: Why = why


class _LaterError(Exception):
    """Error for an answer that asks to try later, or for no answer at all."""

    def __init__(self, said: str, wait_s: float) -> None:
        super().__init__(said)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """Pull request of a repository (`owner/name`)."""

    repository: str
    number: int

    @classmethod
    def of_job(
        cls, environ: Mapping[str, str], *, repository: str | None = None, number: int | None = None
    ) -> Self | None:
        """Return the given pull request, or that of the GitHub Actions job. None: the job does not belong to one.

        Raises ValueError for an invalid repository name, and outside of GitHub for a missing one.
        """
        repository = repository or environ.get("GITHUB_REPOSITORY") or ""
        if re.fullmatch(r"[\w.-]+/[\w.-]+", repository) is None:
            raise ValueError(f"{repository!r} is not a repository (OWNER/NAME): pass --repo, or set GITHUB_REPOSITORY")
        number = number or _number_in(environ)
        return None if number is None else cls(repository=repository, number=number)


def _number_in(environ: Mapping[str, str]) -> int | None:
    if found := re.fullmatch(r"refs/pull/(\d+)/.*", environ.get("GITHUB_REF", "")):
        return int(found[1])
    try:
        event: Any = json.loads(Path(environ.get("GITHUB_EVENT_PATH", "")).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    for way in (("pull_request",), ("issue",), ("workflow_run", "pull_requests", 0)):
        number = _at(event, (*way, "number"))
        if isinstance(number, int):
            return number
    return None


def _at(value: Any, way: tuple[str | int, ...]) -> Any:
    for step in way:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


class Comments:
    """Writer of comments. Use as a context manager.

    wait: called with the seconds to wait, if GitHub asks for it.
    """

    def __init__(
        self,
        token: str,
        *,
        api_url: str = "https://api.github.com",
        wait: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        headers = {
            "accept": "application/vnd.github+json",
            "authorization": f"Bearer {token}",
            "user-agent": "pandaprobe-otel",
            "x-github-api-version": _VERSION,
        }
        self._http = httpx.Client(base_url=api_url, headers=headers, timeout=30.0, follow_redirects=True)
        self._wait = wait
        self._now = now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def put(self, pull: PullRequest, body: str) -> str:
        """Write a comment, or update our comment that begins with the same line. Return its address.

        Raises RefusedError. A retry after any failure first looks for an existing comment.
        """
        for left in reversed(range(_TRIES)):
            try:
                return self._put(pull, body)
            except _LaterError as error:
                if not left or error.wait_s > _LONGEST_WAIT_S:
                    raise RefusedError("unavailable", str(error)) from None
                self._wait(error.wait_s)
        raise AssertionError("the last try returns or raises")

    def _put(self, pull: PullRequest, body: str) -> str:
        of_issue = f"/repos/{pull.repository}/issues"
        known = self._ours(pull, body.partition("\n")[0])
        if known is not None:
            answer = self._ask("PATCH", f"{of_issue}/comments/{known}", allow=(404,), json={"body": body})
            if answer.is_success:  # Otherwise, somebody has deleted it in the meantime.
                return str(_json(answer).get("html_url", ""))
        answer = self._ask("POST", f"{of_issue}/{pull.number}/comments", json={"body": body})
        return str(_json(answer).get("html_url", ""))

    def _ours(self, pull: PullRequest, first_line: str) -> int | None:
        """Return the id of our comment. A comment of somebody else who copied the line is ignored."""
        me = _at(_json(self._ask("GET", "/user", allow=(403, 404))), ("login",))
        for comment in self._all(pull):
            # The token of a job belongs to no user, and its comments are those of a bot.
            is_ours = _at(comment, ("user", "login")) == me if me else _at(comment, ("user", "type")) == "Bot"
            if is_ours and str(comment.get("body") or "").partition("\n")[0].strip() == first_line:
                return int(comment["id"])
        return None

    def _all(self, pull: PullRequest) -> Iterator[Mapping[str, Any]]:
        for page in range(1, _MOST_PAGES + 1):
            answer = self._ask(
                "GET",
                f"/repos/{pull.repository}/issues/{pull.number}/comments",
                params={"per_page": _PER_PAGE, "page": page},
            )
            yield from _json(answer)
            if "next" not in answer.links:
                return

    def _ask(self, method: str, path: str, *, allow: tuple[int, ...] = (), **request: Any) -> httpx.Response:
        """Return a successful answer, or one with an allowed status."""
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise _LaterError(f"{type(error).__name__}: {error}", 1.0) from None
        status = answer.status_code
        if (wait_s := self._must_wait(answer)) is not None:
            raise _LaterError(f"{status}: {_message(answer)}", wait_s)
        if answer.is_success or status in allow:
            return answer
        why: dict[int, Why] = {401: "credentials", 403: "permission", 404: "not found"}
        raise RefusedError(why.get(status, "unavailable"), f"{method} {path}: {status}: {_message(answer)}")

    def _must_wait(self, answer: httpx.Response) -> float | None:
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return 1.0
        if answer.status_code not in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
            return None
        if (seconds := _number(answer, "retry-after")) is not None:
            return seconds
        if answer.headers.get("x-ratelimit-remaining") == "0":
            reset = _number(answer, "x-ratelimit-reset")
            return _LONGEST_WAIT_S if reset is None else max(reset - self._now(), 0.0)
        limited = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS or "rate limit" in _message(answer)
        return _LONGEST_WAIT_S if limited else None


def _number(answer: httpx.Response, header: str) -> float | None:
    text = answer.headers.get(header, "")
    return float(text) if re.fullmatch(r"\d{1,10}", text) else None


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise _LaterError(f"{answer.status_code}: the answer is not JSON", 1.0) from None


def _message(answer: httpx.Response) -> str:
    try:
        return str(_at(answer.json(), ("message",)) or "")[:300]
    except ValueError:
        return answer.text[:100]
