"""The part of GitHub's command line, gh, that the action calls: `gh api` and `gh pr comment`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import httpx


def main() -> int:
    """Send the requests, print what gh prints, and return gh's exit code."""
    parser = argparse.ArgumentParser(prog="gh")
    commands = parser.add_subparsers(required=True)
    api = commands.add_parser("api")
    api.add_argument("path")
    api.add_argument("--paginate", action="store_true")
    api.add_argument("--method", default="GET")
    api.add_argument("--jq")
    api.add_argument("-F", dest="field")
    pull = commands.add_parser("pr").add_subparsers(required=True).add_parser("comment")
    pull.add_argument("number")
    pull.add_argument("--repo", required=True)
    pull.add_argument("--body-file", dest="file", required=True)
    given = parser.parse_args()
    file = given.file if "file" in given else (given.field or "").removeprefix("body=@")
    body = {"body": Path(file).read_text(encoding="utf-8")} if file else None
    if "path" not in given:
        given.path, given.method = f"repos/{given.repo}/issues/{given.number}/comments", "POST"
        given.paginate, given.jq = False, ".html_url"
    headers = {"authorization": f"token {os.environ['GH_TOKEN']}"}
    with httpx.Client(base_url=os.environ["GITHUB_API_URL"], headers=headers) as http:
        address: str | None = f"/{given.path}"
        while address is not None:
            answer = http.request(given.method, address, json=body)
            if not answer.is_success:
                sys.stdout.write(answer.text)
                sys.stderr.write(f"gh: {answer.json()['message']} (HTTP {answer.status_code})\n")
                return 1
            for one in answer.json() if given.jq == ".[]" else (answer.json()[given.jq.removeprefix(".")],):
                sys.stdout.write(f"{one if isinstance(one, str) else json.dumps(one)}\n")
            following = answer.links.get("next") if given.paginate else None
            address = None if following is None else following["url"].replace("/repositories/1/", "/repos/shop/agent/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
