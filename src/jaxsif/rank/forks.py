"""Keeps what a rank's process has of the kit from its forked children, which are no ranks; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

# By the first part of its module's name a handler of signals is the kit's.
_PACKAGE = __name__.partition(".")[0]

# A SIGTERM that reached a child before the child has given up the parent's handler would
# be written into the parent's pipe, and taken for the parent's own.
_HELD = {signal.SIGTERM}

_of_thread = threading.local()


def keep_from_children(give_up: Callable[[], object]) -> None:
    """From now on a child made by os.fork() has the default effect of signals.

    Children that begin with exec, as those of `subprocess` and of multiprocessing's spawn
    and forkserver, inherit nothing of a Python program's.

    Args:
      give_up: called in each child, for what else it has inherited.
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
    # Another thread may have forked while this was being registered.
    mask = getattr(_of_thread, "mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _forget_handlers() -> None:
    """In the child, whose only thread is its main thread, whichever has forked."""
    for number in signal.valid_signals():
        if _is_ours(signal.getsignal(number)):
            # The pipe that wakes the parent's thread; asyncio takes its own from children, too.
            signal.set_wakeup_fd(-1)
            signal.signal(number, signal.SIG_DFL)


def _is_ours(handler: object) -> bool:
    module = getattr(handler, "__module__", None) or ""
    return callable(handler) and str(module).partition(".")[0] == _PACKAGE
