"""A Celery worker: `init()` is called once where the app is made, and the session is an argument of the task.

pip install "pandaprobe-otel[openai,local]" celery
python celery_worker.py                   # a worker in this process, a scripted model, a local PandaProbe: no key
CELERY_BROKER=redis://... OPENAI_API_KEY=... PANDAPROBE_API_KEY=... celery -A celery_worker worker
"""

import os
from collections.abc import Sequence

from celery import Celery
from celery.contrib.testing.worker import start_worker
from openai import OpenAI

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply

app = Celery("shop", broker=os.environ.get("CELERY_BROKER", "memory://"), backend="cache+memory://")


@app.on_after_configure.connect
def start(sender: Celery, **_: object) -> None:
    """Initialize the worker's main process. The processes that it forks for its tasks have their own senders."""
    pandaprobe_otel.init(service_name="shop-worker")


@app.task
def answer_mail(text: str, session: str) -> str:
    """Answer a mail. Each task is one trace, and the session is an argument of the task."""
    with pandaprobe_otel.session(session), pandaprobe_otel.agent("mail_assistant", input=text) as run:
        completion = OpenAI().chat.completions.create(
            model=os.environ.get("OPENAI_MODEL", "gpt-5-mini"), messages=[{"role": "user", "content": text}]
        )
        found = str(completion.choices[0].message.content)
        run.set_output(found)
        return found


def main() -> None:
    with start_worker(app, perform_ping_check=False, loglevel="error"):
        mails = ("Where is my order?", "Thank you!")
        for result in [answer_mail.delay(mail, "conversation-1") for mail in mails]:
            print(result.get(timeout=30))


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    return Reply(text="On its way." if "order" in str(messages[-1]["content"]) else "You are welcome.")


if __name__ == "__main__":
    with offline(script):
        main()
