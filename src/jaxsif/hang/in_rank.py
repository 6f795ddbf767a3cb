"""In a rank's process: publish where the main thread is, once a second."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from jaxsif.hang import page
from jaxsif.hang.limit import limit_s

_BEAT_S = 1.0
_MAX_FRAMES = 40


def start() -> None:
    """Begin to watch once the program imports JAX. Never raises.

    Called from the image's jax-sif.pth, before the program's first line: the observer
    is started here, where the process has no other thread.
    """
    try:
        limit = limit_s(os.environ)
        if limit is not None:
            sys.meta_path.insert(0, _OnImport(*_start_observer(limit)))
    except Exception as error:
        print(f"jax-sif: hangs are not watched: {error!r}", file=sys.stderr)


class _OnImport:
    """A finder that finds nothing: it starts the thread at `import jax`."""

    def __init__(self, position: page.Page, wake: int) -> None:
        self._position = position
        self._wake = wake
        self._process = os.getpid()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name != "jax":
            return
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if os.getpid() == self._process:
            _enable_dump()
            Sampler(self._position).start()
            os.write(self._wake, b"\0")


class Sampler:
    """The thread that looks at the main thread's frames."""

    def __init__(self, position: page.Page) -> None:
        self._page = position
        self._main = threading.main_thread()
        self._last: tuple[tuple[str, ...], bool] | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, name="jax-sif-hang", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.sample()
            time.sleep(_BEAT_S)

    def sample(self) -> None:
        frame = sys._current_frames().get(self._main.ident or 0)
        seen = stack_of(frame), frame is not None and is_at_loop(frame)
        del frame
        if seen == self._last:
            self._page.beat()
        else:
            self._last = seen
            self._page.write(self._main.native_id or 0, *seen)


def stack_of(frame: FrameType | None) -> tuple[str, ...]:
    """`file:line in function` of each frame, innermost first."""
    stack: list[str] = []
    while frame is not None and len(stack) < _MAX_FRAMES:
        code = frame.f_code
        stack.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_name}")
        frame = frame.f_back
    return tuple(stack)


def is_at_loop(frame: FrameType) -> bool:
    """Whether the next instruction jumps backwards: a loop that calls nothing."""
    import opcode

    at = frame.f_lasti
    if at < 0:
        return False
    # Where a thread gives way is the jump itself or the instruction after it.
    names = (opcode.opname[frame.f_code.co_code[at]],)
    return any(name.startswith("JUMP_BACKWARD") for name in names)


def _enable_dump() -> None:
    """Let a signal write the stack, even where no Python can run."""
    if signal.getsignal(page.DUMP_SIGNAL) is signal.SIG_DFL:
        file = os.memfd_create(page.DUMP_NAME)
        faulthandler.register(page.DUMP_SIGNAL, file=file, all_threads=False)


def _start_observer(limit: float) -> tuple[page.Page, int]:
    """Start the observer as no child of this process; return its page and its pipe.

    A program that waits for its children must not meet one that it did not start.
    """
    shared = page.create()
    end, wake = os.pipe()
    rank = os.getpid()
    child = os.fork()
    if child == 0:
        _become_observer(rank, shared, end, limit)
    os.waitpid(child, 0)
    os.close(end)
    position = page.Page(shared)
    os.close(shared)
    # A child of the program's would keep the observer from seeing the end of the rank.
    os.register_at_fork(after_in_child=lambda: _close(wake))
    return position, wake


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _become_observer(rank: int, shared: int, end: int, limit: float) -> None:
    try:
        if os.fork():
            os._exit(0)
        for descriptor in (shared, end):
            os.set_inheritable(descriptor, True)
        source = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
        code = f"import sys; sys.path.insert(0, {source!r}); "
        code += "from jaxsif.hang.observer import main; main()"
        numbers = map(str, (rank, shared, end, limit))
        os.execv(sys.executable, ["jax-sif-observer", "-I", "-c", code, *numbers])
    finally:
        os._exit(1)
