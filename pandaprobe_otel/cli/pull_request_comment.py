"""Delivery of a comment: to the pull request, or else to the job's summary, or else to standard output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.report_output import usable
from pandaprobe_otel.evals.github import add_summary
from pandaprobe_otel.evals.pull_request import Comments, PullRequest, RefusedError, Why

_CODES: Final[Mapping[Why, ExitCode]] = {
    "credentials": ExitCode.AUTH,
    "permission": ExitCode.OK,  # GitHub refuses this for every pull request from a fork, which is nobody's fault.
    "not found": ExitCode.NOT_FOUND,
    "unavailable": ExitCode.API,
}
_NOT_ALLOWED: Final = "the token has no permission `pull-requests: write`, as in every pull request from a fork"


def link_to_job(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the name and address of the GitHub Actions job's page. Empty outside of a job."""
    server, repository, number = (environ.get(f"GITHUB_{name}") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    return {"job": f"{server}/{repository}/actions/runs/{number}"} if server and repository and number else {}


def deliver(text: str, *, repository: str | None, number: int | None, environ: Mapping[str, str]) -> ExitCode:
    """Write a comment to the first place that accepts it, report the place, and return the exit code."""
    pull = usable(lambda: PullRequest.of_job(environ, repository=repository, number=number))
    if pull is None:
        return _instead(text, environ, "this job does not belong to a pull request", ExitCode.OK)
    token = environ.get("GITHUB_TOKEN", "").strip()
    if not token:
        return _instead(text, environ, "GITHUB_TOKEN is not set", ExitCode.VALIDATION)
    try:
        with Comments(token, api_url=environ.get("GITHUB_API_URL") or "https://api.github.com") as comments:
            click.echo(comments.put(pull, text))
    except RefusedError as error:
        said = f"{_NOT_ALLOWED} ({error})" if error.why == "permission" else str(error)
        return _instead(text, environ, said, _CODES[error.why])
    return ExitCode.OK


def _instead(text: str, environ: Mapping[str, str], why: str, code: ExitCode) -> ExitCode:
    where = "it is in the summary of the job"
    if not add_summary(text, environ):
        where = "here it is"
        click.echo(text, nl=False)
    click.echo(f"pandaprobe-otel: no comment was written: {why}; {where}", err=True)
    return code
