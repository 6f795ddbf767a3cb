"""Record the exception that ends a rank whose program does not use the kit."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
from types import FrameType, TracebackType

# Set by the image's entry to the process that becomes the rank's program. In that
# process alone, the image's jax-sif.pth lets sys.excepthook come here first.
RANK_PROCESS_VARIABLE = "JAX_SIF_RANK_PID"


def report(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Write a record and change nothing else: how a program ends is its own choice."""
    try:
        if isinstance(error, Exception) and _ends_the_rank() and not _has_session():
            _record(error)
    except Exception as failure:
        # The program is about to print its own traceback, which matters more.
        print(f"jax-sif: the exception is not recorded: {failure!r}", file=sys.stderr)


def _ends_the_rank() -> bool:
    """Whether Python itself called the hook: programs also call it, and go on."""
    if os.environ.get(RANK_PROCESS_VARIABLE) != str(os.getpid()):
        return False
    import threading

    if threading.current_thread() is not threading.main_thread():
        return False
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            return False
        frame = frame.f_back
    return True


def _has_session() -> bool:
    """Whether the program uses the kit, which records exceptions itself."""
    session = sys.modules.get("jaxsif.rank.session")
    return session is not None and session.current() is not None


def _record(error: Exception) -> None:
    from jaxsif.core.topology import TOPOLOGY_VARIABLE
    from jaxsif.rank.launchers import identify
    from jaxsif.rank.launchers.machine import this_machine
    from jaxsif.rank.reporter import Reporter

    if os.environ.get(TOPOLOGY_VARIABLE):
        Reporter(identify(os.environ, this_machine())).failed(error)
