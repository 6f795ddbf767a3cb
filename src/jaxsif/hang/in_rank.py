"""In a rank's process: publish where the main thread is, once a second."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import faulthandler
import functools
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from jaxsif.hang import page
from jaxsif.hang.limit import limit_s

# Once a second, but not in step with a program whose steps take as long.
_BEATS_S = (1.0, 0.83, 1.19)
_MAX_FRAMES = 40
# Instructions of a loop that can end only by what another thread does.
_WITHOUT_EFFECT = (
    *("CACHE", "COMPARE", "CONTAINS", "COPY", "EXTENDED", "IS_OP", "JUMP", "LOAD"),
    *("NOP", "NOT_TAKEN", "POP", "RESUME", "SWAP", "TO_BOOL", "UNARY"),
)


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
    """The thread that looks at the frames of the main thread, and of those that call JAX."""

    def __init__(self, position: page.Page) -> None:
        self._page = position
        self._main = threading.main_thread()
        self._last: tuple[tuple[str, ...], bool, int] | None = None
        # Threads that were seen in JAX: a program may train in one.
        self._jax_threads: set[int] = set()

    def start(self) -> None:
        threading.Thread(target=self._run, name="jax-sif-hang", daemon=True).start()

    def _run(self) -> None:
        for beat_s in itertools.cycle(_BEATS_S):
            self.sample()
            time.sleep(beat_s)

    def sample(self) -> None:
        frames = sys._current_frames()
        frames.pop(threading.get_ident(), None)
        frame = frames.pop(self._main.ident or 0, None)
        is_loop = frame is not None and is_at_empty_loop(frame)
        seen = stack_of(frame), is_loop, self._other_places(frames)
        # A frame that is kept would keep the arrays of the program.
        del frame, frames
        if seen == self._last:
            self._page.beat()
        else:
            self._last = seen
            self._page.write(self._main.native_id or 0, *seen)

    def _other_places(self, frames: dict[int, FrameType]) -> int:
        """A number for where the threads are that call JAX."""
        self._jax_threads &= frames.keys()
        places = []
        for thread in sorted(frames):
            place = [(f.f_code, f.f_lineno) for f in _walk(frames[thread])]
            if any("/jax/" in code.co_filename for code, _ in place):
                self._jax_threads.add(thread)
            if thread in self._jax_threads:
                places.append((thread, tuple((id(code), n) for code, n in place)))
        return hash(tuple(places))


def _walk(frame: FrameType | None) -> Iterator[FrameType]:
    count = 0
    while frame is not None and count < _MAX_FRAMES:
        yield frame
        frame, count = frame.f_back, count + 1


def stack_of(frame: FrameType | None) -> tuple[str, ...]:
    """`file:line in function` of each frame, innermost first."""
    return tuple(
        f"{f.f_code.co_filename}:{f.f_lineno} in {f.f_code.co_name}"
        for f in _walk(frame)
    )


def is_at_empty_loop(frame: FrameType) -> bool:
    """Whether it jumps back in a loop that changes nothing, as `while True: pass`."""
    return frame.f_lasti >= 0 and _is_empty_loop(frame.f_code, frame.f_lasti)


@functools.lru_cache(maxsize=4)
def _is_empty_loop(code: CodeType, at: int) -> bool:
    import dis

    # Cheap, and False for nearly all.
    if not dis.opname[code.co_code[at]].startswith("JUMP_BACKWARD"):
        return False
    body = list(dis.get_instructions(code))
    start = next(i.argval for i in body if i.offset == at)
    return all(
        i.opname.startswith(_WITHOUT_EFFECT) for i in body if start <= i.offset <= at
    )


def _enable_dump() -> None:
    """Let a signal write the stacks, even where no Python can run."""
    if signal.getsignal(page.DUMP_SIGNAL) is signal.SIG_DFL:
        file = os.memfd_create(page.DUMP_NAME)
        faulthandler.register(page.DUMP_SIGNAL, file=file, all_threads=True)


def _start_observer(limit: float) -> tuple[page.Page, int]:
    """Start the observer as no child of this process; return its page and its pipe.

    A program that waits for its children must not meet one that it did not start.
    """
    shared = page.create()
    end, wake = os.pipe()
    rank = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(wake)
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
        # Most programs without JAX end before a byte comes, and cost no second Python.
        if not os.read(end, 1):
            os._exit(0)
        for descriptor in (shared, end):
            os.set_inheritable(descriptor, True)
        source = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
        code = f"import sys; sys.path.insert(0, {source!r}); "
        code += "from jaxsif.hang.observer import main; main()"
        numbers = map(str, (rank, shared, end, limit))
        # By its path Python finds the packages of its environment.
        os.execv(sys.executable, [sys.executable, "-I", "-c", code, *numbers])
    finally:
        os._exit(1)
