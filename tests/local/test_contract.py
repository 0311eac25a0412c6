"""The local server answers as the real one did when these cases were recorded (server 0.5.0).

A case is a list of steps that run in order in their own project. A step sends a request (`repeat` times, or until
`wait` is fulfilled) and compares the last answer with `expect`; `capture` stores parts of the answer as variables.
Texts may contain variables (`{{project}}`, `{{id:7}}`, `{{rep:x:512}}`), and expectations placeholders (`<uuid>`).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from pandaprobe_otel.local import LocalServer

ABSENT: Final = "<absent>"
_WAIT_S: Final = 60.0
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_PLACEHOLDERS: Final = {
    "<uuid>": _UUID,
    "<task_id>": _UUID,
    "<datetime>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?\+00:00",
    "<api_key>": r"sk_pp_[0-9a-f]{64}",
    "<key_prefix>": r"sk_pp_[0-9a-f]+(?:\.\.\.)?",
}
_PLACEHOLDER: Final = re.compile("|".join(map(re.escape, _PLACEHOLDERS)))
_VARIABLE: Final = re.compile(r"\{\{([^{}]+)\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One recorded case."""

    area: str
    name: str
    needs: frozenset[str]
    steps: list[dict[str, Any]]

    @property
    def id(self) -> str:
        """The test's id."""
        return f"{self.area}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The server that cases are replayed against; `make_key` returns an unused key."""

    base_url: str
    org_id: str
    bearer: str
    make_key: Callable[[], str]
    http: httpx.Client
    quota_key: str | None = None


def load_cases(folder: Path) -> list[Case]:
    """Return every case of a folder."""
    return [
        Case(area=path.stem, name=raw["name"], needs=frozenset(raw.get("needs", ())), steps=raw["steps"])
        for path in sorted(folder.glob("*.json"))
        for raw in json.loads(path.read_text(encoding="utf-8"))
    ]


class Replay:
    """One case against one server; `run` returns the differences, step by step."""

    def __init__(self, case: Case, target: Target) -> None:
        self._case = case
        self._target = target
        self._http = target.http
        digest = hashlib.sha256(case.id.encode()).hexdigest()
        self._salt = digest[:8]
        self._tag = digest[8:18]
        self._variables: dict[str, Any] = {
            "salt": self._salt,
            "project": f"ct-{self._salt}-{case.area}-{case.name}".replace("_", "-")[:200],
            "base_url": target.base_url,
            "org_id": target.org_id,
            "bearer": target.bearer,
            "quota_key": target.quota_key,
            "key": target.make_key(),
        }

    def run(self) -> list[str]:
        """Send every step; the first unexpected status ends the case."""
        problems: list[str] = []
        for number, step in enumerate(self._case.steps, 1):
            found = self._step(step)
            problems += [f"step {number} {step['method']} {step['path']}: {problem}" for problem in found]
            if any(problem.startswith(("status", "waited")) for problem in found):
                break
        return problems

    def _step(self, step: Mapping[str, Any]) -> list[str]:
        for number in range(1, step.get("repeat", 1)):
            self._variables["n"] = number
            status = self._send(step).status_code
            if status != step.get("repeat_status", 202):
                return [f"status of repetition {number}: {status}"]
        self._variables["n"] = step.get("repeat", 1)
        answer = self._send(step)
        deadline = time.monotonic() + _WAIT_S
        while "wait" in step and not self._met(step["wait"]["until"], answer):
            if time.monotonic() > deadline:
                return [f"waited in vain for {json.dumps(step['wait']['until'])}; got {answer.text[:300]}"]
            time.sleep(0.01)
            answer = self._send(step)
        problems = self._compare(step.get("expect", {}), answer)
        for name, pointer in (step.get("capture") or {}).items():
            self._variables[name] = at(body_of(answer), pointer)
        return problems

    def _send(self, step: Mapping[str, Any]) -> httpx.Response:
        headers = self._credentials(step.get("auth", "key"))
        for name, value in (step.get("headers") or {}).items():
            headers = {key: kept for key, kept in headers.items() if key.lower() != name.lower()}
            if value is not None:
                headers[name] = self._text(value)
        content = self._content(step)
        if content is not None and not any(name.lower() == "content-type" for name in step.get("headers") or {}):
            headers["Content-Type"] = "application/json"
        path, query = self._text(step["path"]), step.get("query")
        params: list[tuple[str, Any]] | None = None
        if isinstance(query, str):
            path += "?" + self._text(query)
        elif query:
            filled = self._fill(query)
            params = [(k, item) for k, v in filled.items() for item in (v if isinstance(v, list) else [v])]
        return self._http.request(step["method"], path, headers=headers, params=params, content=content)

    def _credentials(self, kind: str) -> dict[str, str]:
        values = self._variables
        project = {"X-Project-Name": values["project"]}
        bearer = {"Authorization": f"Bearer {values['bearer']}"}
        wrong = "sk_pp_" + hashlib.sha256(values["project"].encode()).hexdigest()
        kinds: dict[str, dict[str, Any]] = {
            "key": {"X-API-Key": values["key"], **project},
            "key_only": {"X-API-Key": values["key"]},
            "quota_key": {"X-API-Key": values["quota_key"], **project},
            "wrong_key": {"X-API-Key": wrong, **project},
            "none": {},
            "bearer": bearer,
        }
        return {name: str(value) for name, value in kinds[kind].items()}

    def _content(self, step: Mapping[str, Any]) -> bytes | None:
        if "body" in step:
            return json.dumps(self._fill(step["body"]), ensure_ascii=False).encode("utf-8", "surrogatepass")
        if "raw_body" in step:
            return self._text(step["raw_body"]).encode()
        return base64.b64decode(step["raw_b64"]) if "raw_b64" in step else None

    def _met(self, until: Mapping[str, Any], answer: httpx.Response) -> bool:
        if until.get("status", answer.status_code) != answer.status_code:
            return False
        for pointer, wanted in (until.get("at") or {}).items():
            got = at(body_of(answer), pointer)
            if isinstance(wanted, dict):
                if got not in wanted["in"]:
                    return False
            elif differences(self._fill(wanted), got):
                return False
        return True

    def _compare(self, expected: Mapping[str, Any], answer: httpx.Response) -> list[str]:
        if expected.get("status", answer.status_code) != answer.status_code:
            return [f"status {answer.status_code} instead of {expected['status']}: {answer.text[:300]}"]
        problems: list[str] = []
        for name, wanted in (expected.get("headers") or {}).items():
            got = answer.headers.get(name, ABSENT)
            problems += differences(ABSENT if wanted is None else self._fill(wanted), got, f"header {name}")
        if "text" in expected:
            problems += differences(self._text(expected["text"]), answer.text, "text")
        if "body" in expected:
            compare = missing if expected.get("match") == "contains" else differences
            problems += compare(self._fill(expected["body"]), body_of(answer))
        for pointer, wanted in (expected.get("at") or {}).items():
            problems += differences(self._fill(wanted), at(body_of(answer), pointer), pointer)
        return problems

    def _variable(self, name: str) -> Any:
        kind, _, rest = name.partition(":")
        if kind in ("id", "hex") and rest:
            tag, number = self._tag, int(rest)
            value = f"{self._salt}-{tag[:4]}-4{tag[4:7]}-8{tag[7:10]}-{number:012d}"
            return value if kind == "id" else value.replace("-", "")
        if kind == "project" and rest:
            return f"{self._variables['project']}-{rest}"
        if kind == "rep":
            text, _, count = rest.rpartition(":")
            return text * int(count)
        if name.startswith("now"):
            moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=float(name[3:] or 0))
            return moment.isoformat()
        return self._variables[name]

    def _text(self, text: str) -> str:
        for _ in range(3):
            text = _VARIABLE.sub(lambda match: str(self._variable(match.group(1))), text)
        return text

    def _fill(self, value: Any) -> Any:
        if isinstance(value, str):
            whole = _VARIABLE.fullmatch(value)
            return self._variable(whole.group(1)) if whole else self._text(value)
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$list" in value:
            item = json.dumps(value["item"])
            numbers = range(1, 1 + value["$list"])
            return [self._fill(json.loads(item.replace("{{i}}", str(number)))) for number in numbers]
        if "$nest" in value:
            leaf: Any = 1
            for _ in range(value["$nest"]):
                leaf = {"n": leaf}
            return leaf
        return {self._text(key): self._fill(item) for key, item in value.items()}


def body_of(answer: httpx.Response) -> Any:
    """Return the JSON of an answer, or ABSENT if its content is not JSON."""
    return json.loads(answer.content) if "json" in answer.headers.get("content-type", "") and answer.content else ABSENT


def at(value: Any, pointer: str) -> Any:
    """Return the value at a JSON pointer, in which `*` maps over a list and `#` is a length."""
    segments = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for position, segment in enumerate(segments):
        if segment == "*":
            rest = "".join("/" + part for part in segments[position + 1 :])
            return [at(item, rest) for item in value] if isinstance(value, list) else ABSENT
        if segment == "#":
            return len(value)
        try:
            value = value[int(segment)] if isinstance(value, list) else value[segment]
        except (KeyError, IndexError, ValueError, TypeError):
            return ABSENT
    return value


def differences(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Return the paths of differences; floats must agree in six digits, integers exactly."""
    here = path or "/"
    if isinstance(expected, str):
        return [] if _text_fits(expected, actual) else [f"{here}: {actual!r} instead of {expected!r}"]
    if isinstance(expected, dict) and isinstance(actual, dict):
        found = [f"{here}: unexpected {key!r}" for key in actual if key not in expected]
        for key, item in expected.items():
            found += differences(item, actual.get(key, ABSENT), f"{path}/{key}")
        return found
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return [f"{here}: {len(actual)} items instead of {len(expected)}"]
        pairs = enumerate(zip(expected, actual, strict=True))
        return [problem for i, (e, a) in pairs for problem in differences(e, a, f"{path}/{i}")]
    if isinstance(expected, float) and isinstance(actual, int | float) and not isinstance(actual, bool):
        close = math.isclose(expected, actual, rel_tol=1e-6, abs_tol=1e-9)
        return [] if close else [f"{here}: {actual!r} instead of {expected!r}"]
    same = type(expected) is type(actual) and expected == actual
    if isinstance(expected, int) and not isinstance(expected, bool) and isinstance(actual, float):
        same = expected == actual
    return [] if same else [f"{here}: {actual!r} instead of {expected!r}"]


def missing(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Return the expected keys and items that are missing; additional ones are allowed."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return [
            problem
            for key, item in expected.items()
            for problem in missing(item, actual.get(key, ABSENT), f"{path}/{key}")
        ]
    if isinstance(expected, list) and isinstance(actual, list):
        return [
            f"{path or '/'}: no item fits {item!r}"
            for item in expected
            if all(missing(item, candidate) for candidate in actual)
        ]
    return differences(expected, actual, path)


def _text_fits(expected: str, actual: Any) -> bool:
    if not isinstance(actual, str):
        return False
    if expected == "<str>":
        return actual != ABSENT
    parts = re.split(f"({_PLACEHOLDER.pattern})", expected)
    pattern = "".join(_PLACEHOLDERS.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


CASES = load_cases(Path(__file__).parent / "data" / "contract")
FAULTS = load_cases(Path(__file__).parent / "data" / "faults")
"""Cases in which the real server fails, loses data, or stores data that breaks later requests."""
ADDED = {"traces_read/health": ["step 1 GET /health: /: unexpected 'local'"]}
"""Fields of answers that were not recorded: `/health` identifies a local server (docs/local.md lists the field)."""
AS_THERE = {"sessions/id_with_slash", "sessions/id_analytics"}


def _target(server: LocalServer, clients: ExitStack, quota_key: str | None = None) -> Target:
    org_id = server.services.accounts.home.id
    return Target(
        base_url=server.url,
        org_id=org_id,
        bearer=server.token or "anything",
        make_key=server.make_key,
        http=clients.enter_context(httpx.Client(base_url=server.url, trust_env=False, timeout=30)),
        quota_key=quota_key,
    )


@pytest.fixture(scope="module")
def targets() -> Generator[dict[str, Target]]:
    """Yield a server for each setting that a case may need."""
    with (
        LocalServer(retry_after=False) as plain,
        LocalServer(retry_after=False, scripted_judge=True) as judged,
        LocalServer(retry_after=False) as poor,
        LocalServer(retry_after=False, auth=True) as strict,
        ExitStack() as clients,
    ):
        yield {
            "plain": _target(plain, clients),
            "judge": _target(judged, clients),
            "quota_key": _target(poor, clients, poor.make_key(plan="HOBBY", used_traces=100)),
            "auth_enabled": _target(strict, clients),
        }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_answers_are_those_of_the_real_server(case: Case, targets: dict[str, Target]) -> None:
    """Each step of a recorded case gets the recorded answer."""
    need = next((need for need in ("judge", "quota_key", "auth_enabled") if need in case.needs), "plain")
    assert Replay(case, targets[need]).run() == ADDED.get(case.id, [])


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.id)
def test_a_failure_of_the_real_server_is_a_refusal_here(case: Case, targets: dict[str, Target]) -> None:
    """The first answer that differs is a refusal with the reason, not a failure; docs/local.md lists the refusals."""
    different = Replay(case, targets["plain"]).run()

    if case.id in AS_THERE:
        assert different == []
        return
    assert different
    assert re.search(r"status 4(04|22) instead of (500|20[12]): \{\"detail\"", different[0])
