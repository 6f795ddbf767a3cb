"""How a program of a user's ends: its exception and its status are told, and it does not wait for the others; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

from jaxsif.node.guard import harmless
from jaxsif.rank import distributed
from jaxsif.rank.reporter import Reporter

_exit = sys.exit


def install_exit_hooks(reporter: Reporter) -> None:
    """From now on an exception, or a status other than 0, ends the process at once."""
    sys.excepthook = _ExceptionHook(reporter)
    sys.exit = _ExitNoted.leave


def leave_the_end_to_parent() -> None:
    """For a forked child, whose end is not the rank's: as it was before install_exit_hooks."""
    if isinstance(sys.excepthook, _ExceptionHook):
        sys.excepthook = sys.excepthook.before
    if sys.exit is _ExitNoted.leave:
        sys.exit = _exit
    _ExitNoted.status = None


class _ExceptionHook:
    """Prints as the hook before it does, and then ends the process."""

    def __init__(self, reporter: Reporter) -> None:
        self._narrator = reporter
        self.before = sys.excepthook

    def __call__(
        self,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        if not self._narrator.is_of_this_process:
            self.before(kind, error, trace)
            return
        fail(self._narrator, error, lambda: self.before(kind, error, trace))


def fail(
    reporter: Reporter, error: BaseException, show: Callable[[], object]
) -> NoReturn:
    """Tells an exception and ends at once: JAX would wait 300 s for the others.

    Whatever goes wrong with telling and showing it, its traceback is printed and the
    process ends. As with Python alone, Ctrl-C is status 130 to a shell.
    """
    interrupted = isinstance(error, KeyboardInterrupt)
    try:
        with harmless("the report of an exception"):
            reporter.failed(error)
        _show(error, show)
    finally:
        exit_now(128 + signal.SIGINT if interrupted else 1)


def _show(error: BaseException, show: Callable[[], object]) -> None:
    try:
        show()
    except Exception:
        # As Python does where the program's own hook raises.
        with contextlib.suppress(Exception):
            traceback.print_exception(error, file=sys.__stderr__)


class _ExitNoted(SystemExit):
    """sys.exit() that nobody catches: the only sign of it that Python gives.

    Its object is freed while no frame runs any more, before atexit.
    """

    status: int | None = None

    def __del__(self) -> None:
        # A thread that is started without Python's own frames ends so, too.
        is_main = threading.get_ident() == threading.main_thread().ident
        if is_main and sys._getframe().f_back is None and self.code not in (None, 0):
            _ExitNoted.status = _as_python_ends(self.code)

    @staticmethod
    def leave(status: Any = None) -> NoReturn:
        """Stands in the place of `sys.exit`."""
        raise _ExitNoted(status)


def _as_python_ends(code: object) -> int:
    """The exit status of `sys.exit(code)`, which has eight bits."""
    if not isinstance(code, int):
        return 1
    # Python hands on a C long, and -1 for what is none.
    return (code if -(2**63) <= code < 2**63 else -1) & 0xFF


def report_exit(reporter: Reporter) -> None:
    """Runs before JAX's own, which waits for the others."""
    if not reporter.is_of_this_process:
        return
    status = _ExitNoted.status
    if status:
        with harmless("the report of an exit status"):
            reporter.failed(SystemExit(status))
        exit_now(status)
    with harmless("the report of the devices"):
        # Not before: which devices there are is the program's to choose.
        if distributed.has_devices():
            reporter.devices()
    with harmless("the report of a good end"):
        reporter.say("done")


def exit_now(status: int) -> NoReturn:
    """Ends the process without waiting for anybody."""
    for stream in (sys.stdout, sys.stderr):
        # The program may have put anything there, or closed it.
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)
