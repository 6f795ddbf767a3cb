"""Report a program's end and exit without waiting; keep forked children out of both."""
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

from jaxsif.core.errors import suppress_errors
from jaxsif.rank import distributed
from jaxsif.rank.reporter import Reporter

_exit = sys.exit

# A signal handler is the kit's if its module is in this package.
_PACKAGE = __name__.partition(".")[0]

# A SIGTERM that reached a child before it dropped the parent's handler would be written
# into the parent's pipe, as if it were the parent's.
_HELD = {signal.SIGTERM}

_of_thread = threading.local()


def install_exit_hooks(reporter: Reporter) -> None:
    """From now on an exception or a non-zero status ends the process at once."""
    sys.excepthook = _ExceptionHook(reporter)
    sys.exit = _RecordingSystemExit.replacement


def leave_the_end_to_parent() -> None:
    """For a forked child, whose exit is not the rank's: undo install_exit_hooks."""
    if isinstance(sys.excepthook, _ExceptionHook):
        sys.excepthook = sys.excepthook.before
    if sys.exit is _RecordingSystemExit.replacement:
        sys.exit = _exit
    _RecordingSystemExit.status = None


class _ExceptionHook:
    """Calls the previous hook, then ends the process."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.before = sys.excepthook

    def __call__(
        self,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        if not self._reporter.is_of_this_process:
            self.before(kind, error, trace)
            return
        fail(self._reporter, error, lambda: self.before(kind, error, trace))


def fail(
    reporter: Reporter, error: BaseException, show: Callable[[], object]
) -> NoReturn:
    """Report an exception and exit at once: JAX would wait 300 s for the others.

    Even if reporting or showing it fails, the traceback is printed and the process
    ends. Same as in Python, Ctrl-C gives status 130 in a shell.
    """
    interrupted = isinstance(error, KeyboardInterrupt)
    try:
        with suppress_errors("the report of an exception"):
            reporter.failed(error)
        _show(error, show)
    finally:
        exit_now(128 + signal.SIGINT if interrupted else 1)


def _show(error: BaseException, show: Callable[[], object]) -> None:
    try:
        show()
    except Exception:
        # Same as Python if the program's own hook raises.
        with contextlib.suppress(Exception):
            traceback.print_exception(error, file=sys.__stderr__)


class _RecordingSystemExit(SystemExit):
    """Detects an uncaught sys.exit(), for which Python has no hook.

    The object is freed when no frame is running any longer, before atexit.
    """

    status: int | None = None

    def __del__(self) -> None:
        # A thread started without Python's own frames ends in the same way.
        is_main = threading.get_ident() == threading.main_thread().ident
        if is_main and sys._getframe().f_back is None and self.code not in (None, 0):
            _RecordingSystemExit.status = _as_python_ends(self.code)

    @staticmethod
    def replacement(status: Any = None) -> NoReturn:
        """Replaces `sys.exit`."""
        raise _RecordingSystemExit(status)


def _as_python_ends(code: object) -> int:
    """The 8-bit exit status of `sys.exit(code)`."""
    if not isinstance(code, int):
        return 1
    # Python passes a C long, and -1 for a value out of range.
    return (code if -(2**63) <= code < 2**63 else -1) & 0xFF


def report_exit(reporter: Reporter) -> None:
    """Runs before JAX's exit handler, which waits for the others."""
    if not reporter.is_of_this_process:
        return
    status = _RecordingSystemExit.status
    if status:
        with suppress_errors("the report of an exit status"):
            reporter.failed(SystemExit(status))
        exit_now(status)
    with suppress_errors("the report of the devices"):
        # Only now: the program chooses its devices.
        if distributed.has_devices():
            reporter.devices()
    with suppress_errors("the report of a good end"):
        reporter.done()


def exit_now(status: int) -> NoReturn:
    """End the process without waiting for other ranks."""
    for stream in (sys.stdout, sys.stderr):
        # The program may have replaced or closed it.
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def keep_from_children(give_up: Callable[[], object]) -> None:
    """From now on a child made by os.fork() has the default signal handlers.

    Children that call exec, such as those of `subprocess` and of multiprocessing's
    spawn and forkserver, inherit nothing of Python.

    Args:
      give_up: called in each child, to drop whatever else it inherited.
    """

    def after_in_child() -> None:
        _forget_handlers()
        give_up()
        _release()

    os.register_at_fork(
        before=_hold, after_in_parent=_release, after_in_child=after_in_child
    )


def _hold() -> None:
    _of_thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def _release() -> None:
    # Another thread may have forked during the registration.
    mask = getattr(_of_thread, "mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _forget_handlers() -> None:
    """Runs in the child, whose only thread is its main thread."""
    for number in signal.valid_signals():
        if _is_ours(signal.getsignal(number)):
            # The pipe wakes the parent's thread; asyncio does the same with its own.
            signal.set_wakeup_fd(-1)
            signal.signal(number, signal.SIG_DFL)


def _is_ours(handler: object) -> bool:
    module = getattr(handler, "__module__", None) or ""
    return callable(handler) and str(module).partition(".")[0] == _PACKAGE
