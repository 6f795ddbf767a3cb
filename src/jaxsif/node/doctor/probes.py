"""Probes of a node: writing files, the clock, importing JAX, computing on each GPU."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxsif.core.problem import Problem
from jaxsif.node.host import MIB

_PATTERN = bytes(range(256)) * (MIB // 256)

# The kernel's state "clock not synchronized" (adjtimex(2)).
_TIME_ERROR = 5

_IMPORT = "import jax; print(jax.__version__)"
# Small integers: exact in any precision that a GPU may use.
_COMPUTE = """
import jax
x = jax.numpy.arange(256.0).reshape(16, 16)
print(jax.default_backend(), float((x @ x.T).trace()))
"""
_COMPUTED = "gpu 5559680.0"


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


def write_trouble(folder: Path) -> Iterator[Problem]:
    """Write a MiB and read it back."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_PATTERN)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            got = file.read()
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        yield Problem(
            "disk-full" if is_full else "not-writable",
            f"{folder} cannot be written: {error.strerror}",
            "clean it up"
            if is_full
            else "check its mount, its mode and the kernel log",
        )
        return
    if got != _PATTERN:
        yield Problem(
            "not-writable",
            f"bytes read from {folder} differ from those written",
            "drain the node and check its disk",
        )


def is_clock_kept() -> bool:
    """Whether the kernel's clock is synchronized. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    # struct timex, all zero: a query without changes.
    state = libc.adjtimex(ctypes.byref((ctypes.c_long * 64)()))
    if state < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return bool(state != _TIME_ERROR)


def import_jax(environment: Mapping[str, str], limit_s: float) -> CommandResult:
    """Run `import jax` in a separate process."""
    (result,) = run([[sys.executable, "-c", _IMPORT]], [environment], limit_s)
    return result


def import_trouble(result: CommandResult, limit_s: float) -> Iterator[Problem]:
    if result.status != 0:
        yield Problem(
            "jax-import",
            f"`import jax` {_how(result, limit_s)}",
            "run it by hand: singularity exec $JAX_IMAGE python -c 'import jax'",
        )


def compute(
    environment: Mapping[str, str], gpus: Sequence[str], limit_s: float
) -> list[CommandResult]:
    """One small product on each GPU, concurrently, each in its own process."""
    own = {
        "JAX_PLATFORMS": "cuda",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    command = [sys.executable, "-c", _COMPUTE]
    environments = [{**environment, **own, "CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus]
    return run([command] * len(gpus), environments, limit_s)


def compute_troubles(
    gpus: Sequence[str], runs: Sequence[CommandResult], limit_s: float
) -> Iterator[Problem]:
    for gpu, result in zip(gpus, runs, strict=True):
        if result.status == 0 and result.last_line == _COMPUTED:
            continue
        text = _how(result, limit_s)
        if result.status == 0:
            text = f"gave {result.last_line!r}, {_COMPUTED!r} expected"
        yield Problem(
            "gpu-compute",
            f"GPU {gpu}: a product of two small matrices {text}",
            "drain the node and reset the GPU; check the kernel log for Xid",
        )


def _how(result: CommandResult, limit_s: float) -> str:
    if result.status is None:
        return f"did not end within {limit_s:.0f} s"
    return f"failed with status {result.status}: {result.last_line[:200]}"


def run(
    commands: Sequence[Sequence[str]],
    environments: Sequence[Mapping[str, str]],
    limit_s: float,
) -> list[CommandResult]:
    """Run commands concurrently, without waiting longer than the limit."""
    started_s = time.monotonic()
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
        for command, environment in zip(commands, environments, strict=True)
    ]
    try:
        return [_await(child, started_s, limit_s) for child in children]
    except BaseException:
        for child in children:
            _kill(child)
        raise


def _await(
    child: subprocess.Popen[str], started_s: float, limit_s: float
) -> CommandResult:
    left_s = max(started_s + limit_s - time.monotonic(), 0.001)
    try:
        output, _ = child.communicate(timeout=left_s)
    except subprocess.TimeoutExpired:
        _kill(child)
        return CommandResult(None, "", time.monotonic() - started_s)
    return CommandResult(child.returncode, output, time.monotonic() - started_s)


def _kill(child: subprocess.Popen[str]) -> None:
    """Kill without waiting: a process in a hanging driver cannot be killed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
