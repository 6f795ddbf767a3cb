"""Run a function that may never return, in a child process that can be abandoned."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# A child that waits in the kernel, for example in a hanging driver, cannot be killed. A
# thread there would keep this process from exiting, a child does not.

_REAPING_S = 0.2


class CheckTimeout(Exception):
    """No result within the time limit."""


class CheckCrashed(Exception):
    """The child ended without a result, or its function raised an unexpected error."""


class CheckSkipped(Exception):
    """Something could not be checked, for `reason`.

    `is_needed`: the node's state is unknown without it.
    """

    def __init__(self, reason: str, is_needed: bool = False) -> None:
        super().__init__(reason, is_needed)
        self.reason = reason
        self.is_needed = is_needed


def within(limit_s: float, work: Callable[[], T]) -> T:
    """Return `work()`. Raises CheckTimeout, CheckCrashed, or its CheckSkipped."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _serve(work, writer)
    os.close(writer)
    try:
        answer = _read_all(reader, time.monotonic() + limit_s)
    except CheckTimeout:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(reader)
        status = _reap(child)
    try:
        kind, value = pickle.loads(answer)
    except (EOFError, pickle.UnpicklingError) as error:
        raise CheckCrashed(
            f"it ended with wait status {status}, without an answer"
        ) from error
    if kind == "value":
        result: T = value
        return result
    raise value


def _serve(work: Callable[[], object], writer: int) -> None:
    """The child's side; never returns, and runs none of the parent's exit handlers."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        # A reader of the parent's output must not wait for the child.
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        try:
            answer: tuple[str, object] = ("value", work())
        except CheckSkipped as reason:
            answer = ("error", reason)
        except Exception as error:
            answer = ("error", CheckCrashed(f"{type(error).__name__}: {error}"))
        with open(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
    finally:
        os._exit(0)


def _read_all(reader: int, deadline_s: float) -> bytes:
    pieces: list[bytes] = []
    while True:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([reader], [], [], left_s)[0]:
            raise CheckTimeout
        piece = os.read(reader, 1 << 16)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _reap(child: int) -> int | None:
    """Its wait status; None if it does not end, and is left to init."""
    deadline_s = time.monotonic() + _REAPING_S
    while time.monotonic() < deadline_s:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.001)
    return None
