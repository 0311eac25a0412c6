"""Programs with concurrent tasks replay again and again, however their tasks are timed; edits of them are named."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import count, product
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import pandaprobe_otel
from pandaprobe_otel import context_executor
from pandaprobe_otel.replay.divergence import Divergence
from provider_server import ProviderServer, Received, Reply, json_reply
from span_recorder import recording as spans_recorded

REPLAYS = 8


class Bench:
    """A model, tools, and pauses that differ in each run."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.chance = random.Random()
        self.tickets = count(1)

        @pandaprobe_otel.tool
        def new_ticket(queue: str) -> int:
            return next(self.tickets)

        self.new_ticket = new_ticket

    async def pause(self) -> None:
        """Wait as long as a file or a database may take."""
        await asyncio.sleep(self.chance.choice((0, 0, 0.001, 0.004)))

    async def ask(self, text: str) -> str:
        """Ask the model."""
        await self.pause()
        async with httpx.AsyncClient(verify=False, trust_env=False) as client:
            return self._text_of(await client.post(f"{self.url}/v1/chat/completions", json=_body(text)))

    def ask_now(self, text: str) -> str:
        """Ask the model in a thread."""
        with httpx.Client(verify=False, trust_env=False) as client:
            return self._text_of(client.post(f"{self.url}/v1/chat/completions", json=_body(text)))

    @staticmethod
    def _text_of(response: httpx.Response) -> str:
        return str(response.json()["choices"][0]["message"]["content"])


def _body(text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


async def steps(bench: Bench, number: int) -> str:
    """Make two calls that do not depend on each other's answers."""
    await bench.ask(f"job {number} step 1")
    return await bench.ask(f"job {number} step 2")


def gathered(bench: Bench) -> Any:
    """A plan, three branches with equal first calls and equal tool calls, and a summary."""

    async def branch(number: int) -> str:
        await bench.pause()
        ticket = bench.new_ticket("support")
        kind = await bench.ask("unique: which kind?")
        return await bench.ask(f"branch {number}: ticket {ticket}, {kind}")

    async def main() -> Any:
        plan = await bench.ask("the plan")
        done = await asyncio.gather(*map(branch, range(3)))
        return await bench.ask(f"sum up {plan} {done}")

    return asyncio.run(main())


def task_group(bench: Bench) -> Any:
    """Tasks of a group, each of which starts tasks of its own, while their creator makes a call."""

    async def leaf(name: str) -> str:
        return await steps(bench, int(name.replace(".", "")))

    async def branch(number: int) -> list[str]:
        await bench.ask(f"branch {number} begins")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(leaf(f"{number}.{place}")) for place in (1, 2)]
            await bench.ask(f"branch {number} meanwhile")
        return [task.result() for task in tasks]

    async def main() -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch(number)) for number in (1, 2)]
        return [task.result() for task in tasks]

    return asyncio.run(main())


def as_they_come(bench: Bench) -> Any:
    """Answers that are judged in the order in which they arrive, while a task in the background makes a call."""

    async def main() -> Any:
        behind = asyncio.create_task(bench.ask("in the background"))
        jobs = [steps(bench, number) for number in range(4)]
        found = [await bench.ask(f"judge: {await done}") for done in asyncio.as_completed(jobs)]
        await behind
        return sorted(found)

    return asyncio.run(main())


def threads(bench: Bench) -> Any:
    """Jobs in a pool of two threads, which repeat a request, as a client does after a refusal."""

    def job(number: int) -> list[str]:
        bench.ask_now(f"job {number} step 1")
        return [bench.ask_now(f"unique: job {number} step 2") for _ in range(3)]

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(job, range(5)))


def one_loop_after_the_other(bench: Bench) -> Any:
    """Two phases, each with an event loop of its own."""
    return [task_group(bench), gathered(bench)]


PROGRAMS = [gathered, task_group, as_they_come, threads, one_loop_after_the_other]


def _decorated(program: Callable[[Bench], Any]) -> Callable[[Bench], Any]:
    def run(bench: Bench) -> Any:
        bench.ask = pandaprobe_otel.agent(name="asks")(bench.ask)  # type: ignore[method-assign]
        bench.ask_now = pandaprobe_otel.agent(name="asks")(bench.ask_now)  # type: ignore[method-assign]
        with pandaprobe_otel.agent("program"):
            return program(bench)

    return run


def model() -> Callable[[Received], Reply]:
    """Return the script of a model whose answers take different times, and differ for equal requests."""
    chance, numbers, lock = random.Random(), count(1), threading.Lock()

    def script(received: Received) -> Reply:
        text = received.json["messages"][-1]["content"]
        with lock:
            number = next(numbers) if text.startswith("unique") else 0
        answer = f"kind {number}" if number else f"<answer to {text}>"
        return json_reply(
            {"choices": [{"message": {"content": answer}}]}, waits_s=chance.choice((0, 0.005, 0.02, 0.05))
        )

    return script


@pytest.mark.parametrize("decorated", [True, pytest.param(False, marks=pytest.mark.outer)], ids=["decorated", "plain"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_unchanged_programs_replay(
    program: Callable[[Bench], Any], decorated: bool, server: ProviderServer, tmp_path: Path
) -> None:
    """Replays, each with other pauses, have the recorded result."""
    server.script = model()
    run = _decorated(program) if decorated else program
    path = tmp_path / "one.yaml"
    with pandaprobe_otel.recording(path, mode="all", tools=True):
        recorded = run(Bench(server.url))
    for _ in range(REPLAYS):
        with pandaprobe_otel.recording(path, mode="none", tools=True):
            assert json.dumps(run(Bench("http://127.0.0.1:9"))) == json.dumps(recorded)


Jobs = list[list[str]]
JOBS: Jobs = [[f"{step} order {number}" for step in ("find", "check", "report")] for number in (17, 28, 39, 50)]


async def _job(bench: Bench, questions: list[str]) -> None:
    for question in questions:
        await bench.ask(question)


async def _with_semaphore(bench: Bench, jobs: Jobs) -> None:
    free = asyncio.Semaphore(2)

    async def limited(questions: list[str]) -> None:
        async with free:
            await _job(bench, questions)

    await asyncio.gather(*map(limited, jobs))


async def _with_workers(bench: Bench, jobs: Jobs) -> None:
    waiting = iter(jobs)

    async def worker() -> None:
        for questions in waiting:
            await _job(bench, questions)

    await asyncio.gather(worker(), worker())


async def _with_a_group(bench: Bench, jobs: Jobs) -> None:
    await bench.ask("the plan")
    async with asyncio.TaskGroup() as group:
        for questions in jobs:
            group.create_task(_job(bench, questions))


async def _with_tasks_within_tasks(bench: Bench, jobs: Jobs) -> None:
    async def branch(questions: list[str]) -> None:
        first, *others = questions
        await bench.ask(first)
        await asyncio.create_task(_job(bench, others))

    await asyncio.gather(*map(branch, jobs))


WAYS = [_with_semaphore, _with_workers, _with_a_group, _with_tasks_within_tasks]


def _edited(jobs: Jobs, job: int, edit: str) -> tuple[Jobs, str, str]:
    """Return edited jobs, the recorded question that a divergence names, and a text in its message."""
    edited = [list(questions) for questions in jobs]
    own = edited[job]
    match edit:
        case "a word":
            own[1] = own[1].replace("check", "inspect")
            return edited, jobs[job][1], "inspect"
        case "the last question":
            own[2] += " in French"
            return edited, jobs[job][2], "French"
        case "a question gone":
            del own[1]
            return edited, jobs[job][1], "never made"
        case _:
            own.insert(2, "and who is it from?")
            return edited, jobs[job][2], "who is it from"


EDITS = ["a word", "the last question", "a question gone", "another question"]


@pytest.mark.parametrize("way", WAYS, ids=lambda one: one.__name__)
def test_edits_of_programs_are_named(way: Any, server: ProviderServer, tmp_path: Path) -> None:
    """The unchanged jobs replay, and each edit of one of them raises a divergence that names the edited call."""
    server.script = model()
    path = tmp_path / "one.yaml"
    with pandaprobe_otel.recording(path, mode="all"):
        asyncio.run(way(Bench(server.url), JOBS))
    numbers = {
        json.loads(one["request"]["body"])["messages"][0]["content"]: one["pandaprobe"]["call"]
        for one in yaml.safe_load(path.read_text())["interactions"]
    }
    for _ in range(REPLAYS):
        with pandaprobe_otel.recording(path, mode="none"):
            asyncio.run(way(Bench("http://127.0.0.1:9"), JOBS))
    for job, edit in product((0, 2), EDITS):
        jobs, question, named = _edited(JOBS, job, edit)
        with pytest.raises(Divergence) as caught, pandaprobe_otel.recording(path, mode="none"):
            asyncio.run(way(Bench("http://127.0.0.1:9"), jobs))
        assert caught.value.call == numbers[question], f"{edit}: {caught.value}"
        assert named in str(caught.value), edit


async def _waited_for(bench: Bench, jobs: Jobs) -> None:
    """Make each call in a task of its own, and wait for it."""
    for questions in jobs:
        for question in questions:
            await asyncio.wait_for(asyncio.create_task(bench.ask(question)), 30)


async def _passed_through_a_queue(bench: Bench, jobs: Jobs) -> None:
    """Run each job in a task that puts its answers into a queue, as frameworks do, until an event stops it."""

    class Answers(asyncio.Queue[str]):
        async def following(self) -> str:
            return await self.get()

    for questions in jobs:
        answers = Answers()
        ended = asyncio.Event()

        async def produced(
            questions: list[str] = questions, answers: Answers = answers, ended: asyncio.Event = ended
        ) -> None:
            try:
                for question in questions:
                    answers.put_nowait((await asyncio.gather(asyncio.create_task(bench.ask(question))))[0])
            finally:
                ended.set()

        producer, stop = asyncio.create_task(produced()), asyncio.create_task(ended.wait())
        while not ended.is_set():
            answer = asyncio.create_task(answers.following())
            await asyncio.wait({answer, stop}, return_when=asyncio.FIRST_COMPLETED)
            answer.cancel()
        await producer


async def _in_its_own_task(bench: Bench, questions: list[str]) -> None:
    """Run an agent that asks everything at once, in tasks, while another task runs."""
    with pandaprobe_otel.agent("run"):
        await bench.pause()
        await asyncio.gather(*map(bench.ask, questions))


async def _one_run_after_the_other(bench: Bench, jobs: Jobs) -> None:
    for questions in jobs:
        await _in_its_own_task(bench, questions)


async def _one_task_after_the_other(bench: Bench, jobs: Jobs) -> None:
    for questions in jobs:
        done = asyncio.Event()

        async def run(questions: list[str] = questions, done: asyncio.Event = done) -> None:
            try:
                await _in_its_own_task(bench, questions)
            finally:
                done.set()

        task = asyncio.create_task(run())
        await done.wait()
        await task


async def _one_pool_after_the_other(bench: Bench, jobs: Jobs) -> None:
    for questions in jobs:
        with pandaprobe_otel.agent("run"), ThreadPoolExecutor(2) as pool:
            list(context_executor(pool).map(bench.ask_now, questions))


async def _runs_at_once(bench: Bench, jobs: Jobs) -> None:
    await asyncio.gather(*(_in_its_own_task(bench, questions) for questions in jobs[:2]))


@pytest.mark.parametrize(
    ("way", "is_ordered"),
    [
        (_waited_for, True),
        (_passed_through_a_queue, True),
        (_one_run_after_the_other, True),
        (_one_task_after_the_other, True),
        (_one_pool_after_the_other, True),
        (_runs_at_once, False),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_work_that_the_program_waits_for_keeps_its_order(
    way: Any, is_ordered: bool, server: ProviderServer, tmp_path: Path
) -> None:
    """Calls and runs that the program waits for keep their order, whatever tasks they are made in; others have none."""
    server.script = model()
    path = tmp_path / "one.yaml"
    with spans_recorded():
        with pandaprobe_otel.recording(path, mode="all"):
            asyncio.run(way(Bench(server.url), JOBS))
        for _ in range(REPLAYS):
            with pandaprobe_otel.recording(path, mode="none"):
                asyncio.run(way(Bench("http://127.0.0.1:9"), JOBS))
        with (
            pytest.raises(Divergence, match="came before") if is_ordered else nullcontext(),
            pandaprobe_otel.recording(path, mode="none"),
        ):
            asyncio.run(way(Bench("http://127.0.0.1:9"), [JOBS[1], JOBS[0], *JOBS[2:]]))
