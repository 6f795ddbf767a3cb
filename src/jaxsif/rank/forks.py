"""Keep the kit's signal handlers and output from forked children, which are not ranks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

# A signal handler is the kit's if its module is in this package.
_PACKAGE = __name__.partition(".")[0]

# A SIGTERM that reached a child before it dropped the parent's handler would be written
# into the parent's pipe, as if it were the parent's.
_HELD = {signal.SIGTERM}

_of_thread = threading.local()


def keep_from_children(give_up: Callable[[], object]) -> None:
    """From now on a child made by os.fork() has the default signal handlers.

    Children that call exec, such as those of `subprocess` and of multiprocessing's spawn
    and forkserver, inherit nothing of Python.

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
