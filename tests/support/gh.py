"""A stand-in for GitHub's command line, gh, as the action calls it: `gh api` and `gh pr comment`.

The comments of pull request 7 of `shop/agent` are in the file `GITHUB_COMMENTS`. Paging and refusals are GitHub's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

JOB, PERSON, FORK = "token-of-a-job", "token-of-a-person", "token-of-a-fork"
BOT: Final = {"login": "github-actions[bot]", "type": "Bot"}
ANNA: Final = {"login": "anna", "type": "User"}
_LONGEST: Final = 65_536
_PAGE: Final = 100
_PATH: Final = "repos/shop/agent/issues/7/comments"
_UNREACHABLE: Final = "Resource not accessible by integration (HTTP 403)"


class Comments:
    """The comments of the pull request, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def all(self) -> list[dict[str, Any]]:
        """The comments, the oldest first."""
        return json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else []

    def write(self, body: str, user: dict[str, str], number: int | None = None) -> dict[str, Any]:
        """Add a comment, or replace the text of one."""
        comments = self.all
        if number is None:
            number = 101 + len(comments)
            url = f"https://github.com/shop/agent/pull/7#issuecomment-{number}"
            comments.append({"id": number, "user": user, "html_url": url})
        comment = next(one for one in comments if one["id"] == number)
        comment["body"] = body
        self._file.write_text(json.dumps(comments), encoding="utf-8")
        return comment


def answer(comments: Comments, path: str, method: str, body: str, *, paginate: bool) -> Any:
    """Return GitHub's answer to a request; exit with its refusal."""
    token = os.environ["GH_TOKEN"]
    if token not in (JOB, PERSON, FORK):
        sys.exit("gh: Bad credentials (HTTP 401)")
    if path == "user":
        return ANNA if token == PERSON else sys.exit(f"gh: {_UNREACHABLE}")
    if (path, method) == (f"{_PATH}?per_page={_PAGE}", "GET"):
        return comments.all if paginate else comments.all[:_PAGE]
    if token == FORK:
        sys.exit(f"gh: {_UNREACHABLE}")
    if len(body) > _LONGEST:
        sys.exit("gh: Validation Failed: body is too long (maximum is 65536 characters) (HTTP 422)")
    found = re.fullmatch(r"repos/shop/agent/issues/comments/(\d+)", path)
    if (path, method) != (_PATH, "POST") and (found is None or method != "PATCH"):
        sys.exit("gh: Not Found (HTTP 404)")
    return comments.write(body, ANNA if token == PERSON else BOT, int(found[1]) if found else None)


def main() -> None:
    """Print what gh prints, or exit as it does."""
    parser = argparse.ArgumentParser(prog="gh")
    commands = parser.add_subparsers(required=True)
    api = commands.add_parser("api")
    api.add_argument("path")
    api.add_argument("--paginate", action="store_true")
    api.add_argument("--method", default="GET")
    api.add_argument("--jq", required=True)
    api.add_argument("-F", dest="field", default="")
    pull = commands.add_parser("pr").add_subparsers(required=True).add_parser("comment")
    pull.add_argument("number")
    pull.add_argument("--repo", required=True)
    pull.add_argument("--body-file", dest="field", required=True)
    pull.set_defaults(method="POST", paginate=False, jq=".html_url")
    given = parser.parse_args()
    path = given.path if "path" in given else f"repos/{given.repo}/issues/{given.number}/comments"
    body = Path(given.field.removeprefix("body=@")).read_text(encoding="utf-8") if given.field else ""
    comments = Comments(Path(os.environ["GITHUB_COMMENTS"]))
    answered = answer(comments, path, given.method, body, paginate=given.paginate)
    for one in answered if given.jq == ".[]" else (answered[given.jq.removeprefix(".")],):
        sys.stdout.write(f"{one if isinstance(one, str) else json.dumps(one)}\n")


if __name__ == "__main__":
    main()
