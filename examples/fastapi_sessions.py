"""A FastAPI app whose conversations are sessions: a middleware sets session and user for every request.

pip install "pandaprobe-otel[openai,local]"
python fastapi_sessions.py                # two customers at once, a scripted model, a local PandaProbe: no key
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... uvicorn fastapi_sessions:app
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response
from openai import AsyncOpenAI

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply


@asynccontextmanager
async def traced(_: FastAPI) -> AsyncGenerator[None]:
    """Start tracing with the app. `init()` joins the provider of OpenTelemetry's instrumentations, if there is one."""
    pandaprobe_otel.init(service_name="shop")
    yield


app = FastAPI(lifespan=traced)


@app.middleware("http")
async def with_session(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Set session and user for every trace of this request. Concurrent requests have their own."""
    async with pandaprobe_otel.context(session=request.headers.get("x-session"), user=request.headers.get("x-user")):
        return await call_next(request)


@app.post("/ask")
@pandaprobe_otel.agent(name="shop_assistant")
async def ask(question: str) -> str:
    """Answer one turn of a conversation, which is one trace. A request without a model call makes no trace."""
    async with AsyncOpenAI() as client:
        completion = await client.chat.completions.create(
            model=os.environ.get("OPENAI_MODEL", "gpt-5-mini"), messages=[{"role": "user", "content": question}]
        )
    return completion.choices[0].message.content or ""


async def two_customers() -> None:
    """Send requests as two browsers would."""
    transport = httpx.ASGITransport(app)
    async with traced(app), httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:
        calls = [
            browser.post("/ask", params={"question": question}, headers={"x-session": session, "x-user": "user-7"})
            for session in ("conversation-1", "conversation-2")
            for question in ("Where is my order?", "Thank you!")
        ]
        for answer in await asyncio.gather(*calls):
            print(answer.json())


def main() -> None:
    asyncio.run(two_customers())


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    return Reply(text="On its way." if "order" in str(messages[-1]["content"]) else "You are welcome.")


if __name__ == "__main__":
    with offline(script):
        main()
