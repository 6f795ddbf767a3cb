"""How a program of a user's ends: its exception and its status are told, and it does not wait for the others; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import sys
from types import TracebackType
from typing import Any, NoReturn

from jaxsif.rank import distributed
from jaxsif.rank.narrator import Narrator


def watch_the_end(narrator: Narrator) -> None:
    """From now on an exception, or a status other than 0, ends the process at once."""
    sys.excepthook = _ExceptionHook(narrator)
    sys.exit = _ExitNoted.leave


class _ExceptionHook:
    """Prints as the hook before it does, and then ends the process."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self._print = sys.excepthook

    def __call__(
        self,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        self._narrator.failed(error)
        self._print(kind, error, trace)
        end_at_once(1)


class _ExitNoted(SystemExit):
    """sys.exit() that nobody catches: the only sign of it that Python gives.

    Its object is freed while no frame runs any more, before atexit.
    """

    status: int | None = None

    def __del__(self) -> None:
        if sys._getframe().f_back is None and self.code not in (None, 0):
            _ExitNoted.status = self.code if isinstance(self.code, int) else 1

    @staticmethod
    def leave(status: Any = None) -> NoReturn:
        """Stands in the place of `sys.exit`."""
        raise _ExitNoted(status)


def end_with_the_program(narrator: Narrator) -> None:
    """Runs before JAX's own, which waits for the others."""
    status = _ExitNoted.status
    if status:
        narrator.failed(SystemExit(status))
        end_at_once(status)
    # Not before: which devices there are is the program's to choose.
    if distributed.has_devices():
        narrator.devices()
    narrator.say("done")


def end_at_once(status: int) -> NoReturn:
    """Ends the process without waiting for anybody."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
