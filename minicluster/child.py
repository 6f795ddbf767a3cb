"""Runs Python functions and commands in child processes and namespaces; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import idmaps
import kernel
from errors import ClusterError

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


def exit_status(wait_status: int) -> int:
    """The status as a shell reports it: 128 + the signal for a killed command."""
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)


def call(function: Callable[[], bytes | None]) -> bytes:
    """Call function in a child process; return its result or raise its error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            kernel.die_with_parent(signal.SIGKILL)
            os.write(writer, function() or b"")
            status = 0
        except (ClusterError, OSError) as error:
            os.write(writer, str(error).encode())
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        result = stream.read()
    try:
        _, wait_status = os.waitpid(child, 0)
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    if wait_status:
        message = result.decode(errors="replace")
        raise ClusterError(message or f"a child ended with status {wait_status}")
    return result


def call_as_root(map_name: str, function: Callable[[], bytes | None]) -> bytes:
    """Call function as root of a new user namespace."""

    def body() -> bytes | None:
        idmaps.become_namespace_root(map_name, 0)
        return function()

    return call(body)


def call_as_first_process(function: Callable[[], bytes | None]) -> bytes:
    """Call function in a new PID namespace; once per process."""
    kernel.unshare(kernel.CLONE_NEWPID)

    def body() -> bytes | None:
        kernel.mount("proc", "/proc", "proc")
        return function()

    return call(body)


def replace_by(
    command: list[str], environment: dict[str, str], cwd: str, user_id: int
) -> NoReturn:
    """Replace this process by the command."""
    if user_id:
        os.setgroups([user_id])
        os.setresgid(user_id, user_id, user_id)
        os.setresuid(user_id, user_id, user_id)
    kernel.die_with_parent(signal.SIGTERM)
    # Python ignores SIGPIPE, and an ignored signal would be inherited.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.umask(0o022)
    os.chdir(cwd)
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        print(f"minicluster: {command[0]!r}: {error.strerror}", file=sys.stderr)
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def run_to_end(become: Callable[[], NoReturn]) -> int:
    """Run a command in a child, forward signals, return its status."""
    child = os.fork()
    if child == 0:
        try:
            kernel.die_with_parent(signal.SIGKILL)
            become()
        except (ClusterError, OSError) as error:
            print(f"minicluster: {error}", file=sys.stderr)
        finally:
            os._exit(125)

    def forward(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    # The terminal sends these to the command itself as well.
    for number in _FROM_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    _, wait_status = os.waitpid(child, 0)
    return exit_status(wait_status)
