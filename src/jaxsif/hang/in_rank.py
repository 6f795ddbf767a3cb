"""In a rank's process: publish where the main thread is, once a second."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import errno
import faulthandler
import functools
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import Any

from jaxsif.hang import page
from jaxsif.hang.limit import limit_s

# Once a second, but not in step with a program whose steps take as long.
_BEATS_S = (1.0, 0.83, 1.19)
_MAX_FRAMES = 40
# Signals that end a process, and that a user, Slurm or a shell sends to all of a step.
_IGNORED = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM),
)
# Where threads of Python wait for other threads, innermost.
_WAITS_FOR_THREADS = ("/threading.py", "/queue.py", "/concurrent/futures/thread.py")
_KIT = os.path.dirname(os.path.dirname(__file__)) + os.sep
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
        _say_unwatched(error)


class _Pipe:
    """The end of a pipe to the observer, in a process that may close any descriptor.

    The number may be of a file of the program's by the time it is used.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._file = _identity(descriptor)

    def wake(self) -> None:
        """Write a byte. Raises OSError if the pipe or the observer is gone."""
        self._check()
        # A program may have set SIGPIPE to its default, which ends it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])
        try:
            os.write(self._descriptor, b"\0")
        except BrokenPipeError:
            signal.sigtimedwait([signal.SIGPIPE], 0)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self) -> None:
        """Close it if it is still the pipe."""
        with contextlib.suppress(OSError):
            self._check()
            os.close(self._descriptor)

    def _check(self) -> None:
        if _identity(self._descriptor) != self._file:
            raise OSError(errno.EBADF, "the program closed the pipe to the observer")


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


class _OnImport:
    """A finder that finds nothing: it starts the thread at `import jax`.

    It stays among the finders, for Python is going through them when it is called.
    """

    def __init__(self, position: page.Page, pipe: _Pipe) -> None:
        self._position = position
        self._pipe = pipe
        self._process = os.getpid()
        self._is_done = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name != "jax" or self._is_done or os.getpid() != self._process:
            return
        self._is_done = True
        try:
            self._pipe.wake()
            _enable_dump()
            Sampler(self._position).start()
        except Exception as error:
            _say_unwatched(error)


def _say_unwatched(error: Exception) -> None:
    # The program may have closed it.
    with contextlib.suppress(Exception):
        print(f"jax-sif: hangs are not watched: {error!r}", file=sys.stderr)


class Sampler:
    """The thread that looks at the frames of the main thread, and of those that call JAX."""

    def __init__(self, position: page.Page) -> None:
        self._page = position
        self._main = threading.main_thread()
        self._last: tuple[tuple[str, ...], bool, int, bool] | None = None
        # Threads that were seen in JAX: a program may train in one.
        self._jax_threads: set[int] = set()

    def start(self) -> None:
        threading.Thread(target=self._run, name="jax-sif-hang", daemon=True).start()

    def _run(self) -> None:
        for beat_s in itertools.cycle(_BEATS_S):
            try:
                self.sample()
            except Exception:
                # The old position would look as if the program stood there.
                self._last = None
                self._page.forget()
            time.sleep(beat_s)

    def sample(self) -> None:
        frames = sys._current_frames()
        frames.pop(threading.get_ident(), None)
        frame = frames.pop(self._main.ident or 0, None)
        is_loop = frame is not None and is_at_empty_loop(frame)
        is_alone = all(map(_waits_for_threads, frames.values()))
        seen = stack_of(frame), is_loop, self._other_places(frames), is_alone
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


def _waits_for_threads(frame: FrameType) -> bool:
    """Whether a thread waits for other threads; any other one may serve the program."""
    file = frame.f_code.co_filename
    return file.endswith(_WAITS_FOR_THREADS) or file.startswith(_KIT)


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


def _start_observer(limit: float) -> tuple[page.Page, _Pipe]:
    """Start the observer as no child of this process; return its page and its pipe.

    A program that waits for its children must not meet one that it did not start.
    """
    shared = page.create()
    end, wake = os.pipe()
    rank = os.getpid()
    # Those that come before the observer ignores them are this process's.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        child = os.fork()
        if child == 0:
            os.close(wake)
            _become_observer(rank, shared, end, limit, before)
        os.waitpid(child, 0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(end)
    position = page.Page(shared)
    os.close(shared)
    pipe = _Pipe(wake)
    # A child of the program's would keep the observer from seeing the end of the rank.
    os.register_at_fork(after_in_child=pipe.close)
    return position, pipe


def _become_observer(
    rank: int, shared: int, end: int, limit: float, mask: Iterable[int]
) -> None:
    try:
        if os.fork():
            os._exit(0)
        # What the program or a user sends to the rank's process group is not for it.
        os.setsid()
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
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
