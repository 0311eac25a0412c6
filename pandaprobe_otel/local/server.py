"""Start and stop of a local server: in a thread (`LocalServer`) or in the foreground (`serve`)."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from types import TracebackType
from typing import IO, Any, Final, Self

from pandaprobe_otel.judge.scripted import ScriptedJudge
from pandaprobe_otel.local.auth import LOCAL_API_KEY
from pandaprobe_otel.local.injected_faults import Faults
from pandaprobe_otel.local.services import Services, build_services
from pandaprobe_otel.local.settings import MEMORY, LocalSettings
from pandaprobe_otel.local.store.database import Database

DEFAULT_PORT: Final = 8787
_STOP_WITHIN_S: Final = 5.0


class LocalServer(LocalSettings):
    """A PandaProbe in a background thread, as a context manager.

    `with LocalServer() as server:` provides `server.url` and `server.api_key`. `start()` returns once requests can be
    sent. `stop()` ends the thread and closes the database. Both are idempotent.

    db: `:memory:` or the path of a SQLite file. A request that was answered survives a killed process. A file that
        another process serves raises DatabaseInUseError.
    host, port: the address to listen on. Port 0: any free port. Any but a loopback address needs `auth=True`.
    api_keys: valid keys, in addition to those created through the API.
    auth: False is the real server's development mode (any bearer token; any API key until the first one exists);
        True checks keys, and management routes need `token`.
    token: the bearer token with `auth`; generated if omitted (see `.token`).
    limit: requests to `POST /traces` per minute and key (100, as on the real server). None disables every rate limit.
    window_s: seconds of a rate limit's window.
    retry_after: whether status 429 has the header Retry-After, as documented. Without it, the server behaves as
    measured on server 0.5.0: no such header, and a 500 instead of a 422 for an empty name or a too deeply nested value.
    Other requests that make that server fail are always refused (docs/local.md lists them).
    fail, slow_s: initial faults. `.faults` can change these and others while the server runs.
    scripted_judge: evaluations get fixed scores, which `.judge` can change. No model is called.
    judge_url, judge_key, judge_model, embedding_model: an OpenAI-compatible endpoint for evaluations. Without a judge,
    evaluations behave as on a server without a provider.
    """

    _running: _Running | None = None
    _api_key: str | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        self.faults = Faults(fail=self.fail, slow_s=self.slow_s)

    def start(self) -> Self:
        """Open the database and start listening. Raises DatabaseInUseError, or OSError if the port is in use."""
        if self._running is None:
            self._running = _Running(self, self.faults)
            self._api_key = self._choose_key(self._running.services)
        return self

    def stop(self) -> None:
        """Stop listening, end the thread and close the database."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    @property
    def url(self) -> str:
        """Base URL, such as `http://127.0.0.1:43817`."""
        running = self._started()
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{running.port}"

    @property
    def api_key(self) -> str:
        """A valid API key: the first of `api_keys`, or `sk_pp_local`, or with `auth` one created at the start."""
        self._started()
        assert self._api_key is not None
        return self._api_key

    @property
    def alive(self) -> bool:
        """True while requests are served."""
        return self._running is not None and self._running.alive

    @property
    def in_memory(self) -> bool:
        """True if the data is lost when the server stops."""
        return self.database_path == MEMORY

    @property
    def database_path(self) -> str:
        """The database file, or `:memory:`."""
        return os.fspath(self.db)

    @property
    def services(self) -> Services:
        """Parts of the running server, for tests that check more than the API."""
        return self._started().services

    @property
    def judge(self) -> ScriptedJudge:
        """The scripted judge. `server.judge.set("task_completion", 0.4)` makes it the judge of this server."""
        return self.services.scripted_judge

    def environment(self, project_name: str = "default") -> dict[str, str]:
        """Return the variables that point a program to this server: `env={**os.environ, **server.environment()}`."""
        return {
            "PANDAPROBE_ENDPOINT": self.url,
            "PANDAPROBE_API_KEY": self.api_key,
            "PANDAPROBE_PROJECT_NAME": project_name,
        }

    def make_key(self, *, plan: str | None = None, used_traces: int = 0) -> str:
        """Create an API key. With `plan` (`HOBBY`), it belongs to a new organization that has used `used_traces`
        traces.
        """
        accounts = self.services.accounts
        organization = accounts.home if plan is None else accounts.add_organization(f"{plan} organization", plan)
        with self.services.database.write() as connection:
            accounts.count(connection, organization.id, "traces", used_traces)
        _, secret = accounts.add_key(organization.id, "made by make_key")
        return secret

    def __enter__(self) -> Self:
        """Start the server."""
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    def _started(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the local server is not running: use it as a context manager, or call start()")
        return self._running

    def _choose_key(self, services: Services) -> str:
        if self.api_keys:
            return self.api_keys[0]
        if not self.auth:
            return LOCAL_API_KEY
        _, secret = services.accounts.add_key(services.accounts.home.id, "made at start")
        return secret


class _Running:
    """A database, a socket and the thread that serves them."""

    def __init__(self, settings: LocalSettings, faults: Faults) -> None:
        with contextlib.ExitStack() as opened:
            self._socket = opened.enter_context(_listen(settings.host, settings.port))
            self._database = opened.enter_context(contextlib.closing(Database(settings.db)))
            self.services = build_services(settings, self._database, faults)
            self._server = _uvicorn_server(self.services)
            self.services.evaluation.resume()
            opened.pop_all()
        self.port: int = self._socket.getsockname()[1]
        # Connections wait in the socket's queue until the thread accepts them, so this needs no wait.
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="pandaprobe-local", daemon=True
        )
        self._thread.start()

    @property
    def alive(self) -> bool:
        """True while the thread serves."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the thread and close everything."""
        self.services.otlp.close()  # Comes first, since spans received by OTLP are posted to this server.
        self._server.should_exit = True
        self._thread.join(_STOP_WITHIN_S)
        self._socket.close()
        self.services.close(_STOP_WITHIN_S)
        self._database.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm only for sockets that name TCP. With the algorithm, every answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except BaseException:
        listener.close()
        raise
    return listener


def _uvicorn_server(services: Services) -> Any:
    import uvicorn

    from pandaprobe_otel.local.application import LocalProtocol, create_app

    config = uvicorn.Config(
        create_app(services),
        http=LocalProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        # The real server closes idle connections after about 5 s (measured on server 0.5.0).
        timeout_keep_alive=5,
    )
    return uvicorn.Server(config)


def serve(*, port: int = DEFAULT_PORT, out: IO[str] | None = None, **options: Any) -> None:
    """Serve until Ctrl-C or SIGTERM. The options are those of `LocalServer`.

    Prints the address of the pages, an API key and the two environment variables to set, to `out` (standard output).
    Raises ConfigError, DatabaseInUseError, or OSError if the port is in use.
    """
    server = LocalServer(port=port, **options)
    with server:
        # A full collection takes 45 ms to visit the objects of all modules, and a page would wait for it.
        gc.freeze()
        _announce(server, sys.stdout if out is None else out)
        interrupted = threading.Event()
        with _on_interrupt(interrupted.set):
            while server.alive and not interrupted.wait(0.5):
                pass


@contextlib.contextmanager
def _on_interrupt(react: Callable[[], object]) -> Generator[None]:
    """Call `react` on Ctrl-C and SIGTERM. Do nothing outside the main thread, since only that has signals in Python."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(_number: int, _frame: object) -> None:
        react()

    old = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _announce(server: LocalServer, out: IO[str]) -> None:
    lines = [
        f"PandaProbe is running at {server.url}",
        f"  pages     {server.url}/ui",
        f"  data      {'in memory, until this process ends' if server.in_memory else server.database_path}",
        f"  API key   {server.api_key}",
    ]
    if server.token is not None:
        lines.append(f"  token     {server.token}")
    lines += [
        "",
        "Connect a program to it:",
        f"  export PANDAPROBE_ENDPOINT={server.url}",
        f"  export PANDAPROBE_API_KEY={server.api_key}",
        "",
        "Ctrl-C ends it.",
    ]
    print("\n".join(lines), file=out, flush=True)
