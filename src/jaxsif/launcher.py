"""End the program that writes into our pipe: srun, if a node is lost."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

# Processes that write into `verify`'s standard input, found by bin/jax-sif.
LAUNCHER_VARIABLE = "JAX_SIF_SRUN_PID"

# srun passes SIGTERM on to the tasks and ends, unless it waits for a node.
_GRACE_S = 0.5


def terminate_srun(why: str, *, only: str | None = None) -> bool:
    """End the launcher and any other writer; return whether there was one.

    `only`: not if any of them runs a different program, such as a shell.
    """
    launchers = [
        int(text)
        for text in set(os.environ.get(LAUNCHER_VARIABLE, "").split())
        if _is_of_our_session(int(text))
    ]
    if not launchers or (only and any(_program(p) != only for p in launchers)):
        return False
    print(f"jax-sif: {why}; ending it", file=sys.stderr, flush=True)
    _signal(launchers, signal.SIGTERM)
    deadline_s = time.monotonic() + _GRACE_S
    while any(map(_is_of_our_session, launchers)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    _signal(launchers, signal.SIGKILL)
    return True


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _program(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _is_of_our_session(process: int) -> bool:
    """Whether it is still a process of the same batch script."""
    try:
        return os.getsid(process) == os.getsid(0)
    except ProcessLookupError:
        return False
