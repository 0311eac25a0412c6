"""Imports that are safe in processes that fork, and public names that are loaded on first use.

If a process forks while another thread imports a module, that module's import lock stays held for ever in the child.
So everything that a pipeline needs is loaded before its first span, under `loading()`, as are public names on their
first use. A fork waits until no other thread is loading. The wait is bounded: a child that is forked while its parent
still loads can load nothing more.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Final, Protocol, TypeAlias

from pandaprobe_otel.process.background import Alarm, start_thread
from pandaprobe_otel.process.guard import pass_on

with suppress(RuntimeError):  # the interpreter is shutting down
    # It and `logging` hold locks during a fork, which loading needs. So their hooks must run after ours, which waits
    # for loading: hooks run in the reverse order of their registration.
    import_module("concurrent.futures.thread")

LONGEST_WAIT_S: Final = 20.0
"""Longest wait. Loading takes a third of a second, but over 5 s with fifteen processes per core (measured)."""
_LOOK_AGAIN_S: Final = 0.001
_LOADS_S: Final = 5.0
_ORJSON: Final = "orjson"
_OURS: Final = "pandaprobe_otel"
Hooks: TypeAlias = tuple[Callable[[str], Any], Callable[[], list[str]]]
"""`__getattr__` and `__dir__` of a module (PEP 562)."""


class ForkedWhileLoadingError(ImportError):
    """This process was forked while another thread was loading modules: importing one of them would hang."""

    def __init__(self) -> None:
        super().__init__("this process was forked while pandaprobe-otel was loading modules, so it cannot load more")


_is_broken = False
_loading: dict[int, int] = {}
"""Threads that are loading, each with the depth of its nested calls. They do not wait for each other: one may import
what another holds the lock of."""
_lock = threading.RLock()
"""Held while a thread enters `loading()`, and during a fork."""


@contextmanager
def loading(*modules: str) -> Generator[None]:
    """Hold back forks while modules are imported in this thread. Those named are imported first, in another thread.

    Raises:
        ForkedWhileLoadingError: this process was forked during such an import.
    """
    if _is_broken:
        raise ForkedWhileLoadingError
    missing = [name for name in (_ORJSON, *modules) if name not in sys.modules]
    if missing and threading.get_ident() == threading.main_thread().ident and not _is_importing_ours():
        _import_elsewhere(missing)
    with _entered():
        yield


def _is_importing_ours() -> bool:
    """Return whether a module of ours is half imported: this thread may hold its lock, and another would wait."""
    specs = [getattr(module, "__spec__", None) for name, module in list(sys.modules.items()) if name.startswith(_OURS)]
    return any(getattr(spec, "_initializing", False) for spec in specs)


def _import_elsewhere(modules: list[str]) -> None:
    """Import modules in a thread of ours, which no signal strikes.

    If a signal handler raises during the import of orjson, the process crashes; in `logging.getLogger`, later imports
    of other modules fail. An interrupt of this thread ends the wait. It is bounded, because the app may be importing
    what these modules need.
    """
    alarm = Alarm()

    def load() -> None:
        try:
            for module in modules:
                with _entered(), suppress(ImportError, OSError):  # the import in the app's thread reports it
                    import_module(module)
        finally:
            alarm.set()

    try:
        start_thread(load, "pandaprobe-loader")
    except RuntimeError as error:  # the interpreter is shutting down
        pass_on(error)
        return
    alarm.wait(_LOADS_S)


@contextmanager
def _entered() -> Generator[None]:
    this = threading.get_ident()
    depth = _loading.get(this, 0)
    try:
        try:  # an interrupt may strike as soon as the lock is held
            _lock.acquire(timeout=LONGEST_WAIT_S)
            _loading[this] = depth + 1
        finally:
            try:  # noqa: SIM105 - an interrupt could strike in `suppress` before the lock is released
                _lock.release()
            except RuntimeError:  # the wait was too long, so that this thread does not hold it
                pass
        yield
    finally:
        if depth:
            _loading[this] = depth
        else:
            _loading.pop(this, None)


def lazy_names(package: str, homes: Mapping[str, Sequence[str]]) -> Hooks:
    """Return `__getattr__` and `__dir__` of a package (PEP 562) for names that its modules define.

    `homes` maps each module's name within the package to the names that it defines. Eager imports would fail if one
    thread imports the package while another imports one of its modules: each holds the lock that the other waits for,
    and Python breaks the deadlock with an error.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def load(name: str) -> Any:
        if (home := home_of.get(name)) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = f"{package}.{home}"
        with loading(module):
            value: Any = getattr(import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return load, names


class Watcher(Protocol):
    """Object that is notified of forks. Its methods never raise."""

    def before_fork(self) -> None:
        """Prepare for a fork; called in the parent when no other thread is loading modules."""

    def after_fork_in_parent(self) -> None:
        """Go on after a fork; called in the parent."""

    def reset_after_fork(self) -> None:
        """Start over after a fork; called in the child."""


_watchers: list[weakref.ref[Watcher]] = []


def watch_forks(watcher: Watcher) -> None:
    """Notify an object of forks as long as it lives.

    A separate registration for each object would run before the fork has waited for imports. Then an object created
    during those imports would miss the fork.
    """
    _watchers[:] = [ref for ref in _watchers if ref() is not None]
    _watchers.append(weakref.ref(watcher))


def _living() -> list[Watcher]:
    return [watcher for ref in _watchers if (watcher := ref()) is not None]


def _before() -> None:
    end = time.monotonic() + LONGEST_WAIT_S
    while _lock.acquire(timeout=max(end - time.monotonic(), 0.0)) and _others_load() and time.monotonic() < end:
        _lock.release()
        time.sleep(_LOOK_AGAIN_S)
    for watcher in _living():
        watcher.before_fork()


def _others_load() -> bool:
    return not _loading.keys() <= {threading.get_ident()}


def _after_in_parent() -> None:
    for watcher in _living():
        watcher.after_fork_in_parent()
    try:  # noqa: SIM105
        _lock.release()
    except RuntimeError:  # as above
        pass


def _after_in_child() -> None:
    global _lock, _is_broken
    _lock = threading.RLock()
    _is_broken = _is_broken or _others_load()
    for thread in _loading.keys() - {threading.get_ident()}:
        del _loading[thread]
    for watcher in _living():
        watcher.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
