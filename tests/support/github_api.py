"""A stand-in for GitHub's REST API of pull request comments, with its paging and refusals."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from provider_server import ProviderServer, Received, Reply, json_reply

_LONGEST: Final = 65_536
JOB, PERSON, FORK = "token-of-a-job", "token-of-a-person", "token-of-a-fork"
BOT: Final = {"login": "github-actions[bot]", "type": "Bot"}
ANNA: Final = {"login": "anna", "type": "User"}


class GitHubApi:
    """The API of one pull request, number 7 of `shop/agent`."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self._last_id = 100
        self.url = ""

    def add(self, body: str, user: dict[str, str]) -> dict[str, Any]:
        """Add a comment by this user."""
        self._last_id += 1
        number = self._last_id
        url = f"https://github.com/shop/agent/pull/7#issuecomment-{number}"
        comment = {"id": number, "body": body, "user": user, "html_url": url}
        self.comments.append(comment)
        return comment

    def answer(self, request: Received) -> Reply:
        """Answer as GitHub does."""
        path = urlsplit(request.path).path
        token = request.headers["authorization"].removeprefix("token ")
        if token not in (JOB, PERSON, FORK):
            return _message(401, "Bad credentials")
        if path == "/user":
            return json_reply(ANNA) if token == PERSON else _message(403, "Resource not accessible by integration")
        return self._of_comments(request, path, token)

    def _of_comments(self, request: Received, path: str, token: str) -> Reply:
        if path == "/repos/shop/agent/issues/7/comments" and request.method == "GET":
            return self._page(request)
        if token == FORK and request.method in ("POST", "PATCH"):
            return _message(403, "Resource not accessible by integration")
        if path == "/repos/shop/agent/issues/7/comments" and request.method == "POST":
            return self._written(request, lambda body: self.add(body, ANNA if token == PERSON else BOT), 201)
        if found := re.fullmatch(r"/repos/shop/agent/issues/comments/(\d+)", path):
            comment = next((one for one in self.comments if one["id"] == int(found[1])), None)
            if comment is not None and request.method == "PATCH":
                return self._written(request, lambda body: comment | {"body": comment.update(body=body) or body}, 200)
        return _message(404, "Not Found")

    def _page(self, request: Received) -> Reply:
        query = parse_qs(urlsplit(request.path).query)
        size, page = min(int(query.get("per_page", ["30"])[0]), 100), int(query.get("page", ["1"])[0])
        reply = json_reply(self.comments[(page - 1) * size : page * size])
        if page * size < len(self.comments):
            address = f"{self.url}/repositories/1/issues/7/comments?per_page={size}&page={page + 1}"
            reply.headers["Link"] = f'<{address}>; rel="next"'
        return reply

    def _written(self, request: Received, write: Callable[[str], dict[str, Any]], status: int) -> Reply:
        body = request.json["body"]
        if len(body) > _LONGEST:
            return _message(422, "Validation Failed: body is too long (maximum is 65536 characters)")
        return json_reply(write(body), status=status)


def _message(status: int, message: str) -> Reply:
    return json_reply({"message": message, "documentation_url": "https://docs.github.com/rest"}, status=status)


@contextmanager
def github_api() -> Generator[GitHubApi]:
    """Yield GitHub's API on a port of this machine."""
    with ProviderServer() as server:
        api = GitHubApi()
        server.script, api.url = api.answer, server.url
        yield api
