"""Run functions and commands that may never return, in child processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

# A child that waits in the kernel, for example in a hanging driver, cannot be killed. A
# thread there would keep this process from exiting, a child does not.

_REAP_TIMEOUT_S = 0.2


class CheckTimeout(Exception):
    """No result within the time limit."""


class CheckCrashed(Exception):
    """The child ended without a result, or its function raised an unexpected error."""


class CheckSkipped(Exception):
    """Something could not be checked, for `reason`.

    `is_required`: the node's state is unknown without it.
    """

    def __init__(self, reason: str, is_required: bool = False) -> None:
        super().__init__(reason, is_required)
        self.reason = reason
        self.is_required = is_required


def run_with_timeout(timeout_s: float, function: Callable[[], T]) -> T:
    """Return `function()`. Raises CheckTimeout, CheckCrashed, or its CheckSkipped."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _run_in_child(function, writer)
    os.close(writer)
    try:
        answer = _read_all(reader, time.monotonic() + timeout_s)
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


def _run_in_child(function: Callable[[], object], writer: int) -> None:
    """Never returns, and runs none of the parent's exit handlers."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        # A reader of the parent's output must not wait for the child.
        for descriptor in range(3):
            os.dup2(null, descriptor)
        try:
            answer: tuple[str, object] = ("value", function())
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
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0 or not select.select([reader], [], [], remaining_s)[0]:
            raise CheckTimeout
        piece = os.read(reader, 1 << 16)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _reap(child: int) -> int | None:
    """Its wait status; None if it does not end, and is left to init."""
    deadline_s = time.monotonic() + _REAP_TIMEOUT_S
    while time.monotonic() < deadline_s:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.001)
    return None


@dataclass(frozen=True)
class CommandResult:
    """How a command ended; `status` is None after a timeout."""

    status: int | None
    output: str
    elapsed_s: float

    @property
    def last_line(self) -> str:
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    def failure(self, timeout_s: float) -> str:
        """Describe a timeout or an exit status other than 0."""
        if self.status is None:
            return f"did not end within {timeout_s:.0f} s"
        return f"failed with status {self.status}: {self.last_line[:200]}"


def run_commands(
    command: Sequence[str], environments: Sequence[Mapping[str, str]], timeout_s: float
) -> list[CommandResult]:
    """Run a command in each environment, concurrently, no longer than the limit."""
    start_s = time.monotonic()
    children = [
        subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        for environment in environments
    ]
    try:
        return [_wait(child, start_s, timeout_s) for child in children]
    except BaseException:
        for child in children:
            _kill(child)
        raise


def _wait(
    child: subprocess.Popen[str], start_s: float, timeout_s: float
) -> CommandResult:
    remaining_s = max(start_s + timeout_s - time.monotonic(), 0.001)
    try:
        output, _ = child.communicate(timeout=remaining_s)
    except subprocess.TimeoutExpired:
        _kill(child)
        return CommandResult(None, "", time.monotonic() - start_s)
    return CommandResult(child.returncode, output, time.monotonic() - start_s)


def _kill(child: subprocess.Popen[str]) -> None:
    """Kill without waiting: a process in a hanging driver cannot be killed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
