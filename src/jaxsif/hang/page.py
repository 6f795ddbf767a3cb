"""The memory page through which a rank shows its observer where its program is."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import threading
import time
from dataclasses import dataclass

# sequence (odd: being written), time of the last beat in ns, thread id, length of the text
_HEADER = struct.Struct("=QQQQ")
SIZE_BYTES = 16384
# For a rank that runs no Python: at this signal a handler in C writes the stacks to a file
# of this name in memory. Real-time signals are for programs' own use; this one is rare.
# It goes to the thread that looks, for in the main thread it would end a call of sleep(3).
DUMP_SIGNAL = signal.SIGRTMAX - 5
DUMP_NAME = "jax-sif-stack"
# At this signal an observer reports where its rank is. Its default does nothing, and no
# job asks Slurm to send it before the time limit, as SIGURG. `bin/stacks` sends it.
ASK_SIGNAL = signal.SIGWINCH
_MAX_TEXT = SIZE_BYTES - _HEADER.size


@dataclass(frozen=True)
class Position:
    """Where a rank's main thread was when it was last looked at.

    Attributes:
      beat_s: CLOCK_MONOTONIC, in seconds.
      thread: the main thread's number in the kernel.
      stack: `file:line in function`, innermost first.
      is_loop: whether the innermost frame runs a loop that does nothing, as in `while
        True: pass`.
      others: changes when another thread that calls JAX moves.
      is_alone: whether no other thread of Python may serve the main thread: each waits
        for other threads.
      sampler: the number in the kernel of the thread that looked.
    """

    beat_s: float
    thread: int
    stack: tuple[str, ...] = ()
    is_loop: bool = False
    others: int = 0
    is_alone: bool = False
    sampler: int = 0

    @property
    def place(self) -> tuple[object, ...]:
        """What differs as soon as the program moves."""
        return self.stack, self.others


class Page:
    """One writer, the rank; one reader, its observer."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor`: of a file of SIZE_BYTES that both processes map."""
        self._memory = mmap.mmap(descriptor, SIZE_BYTES)
        self._sequence = 0
        self._thread = 0

    def write(
        self,
        thread: int,
        stack: tuple[str, ...],
        is_loop: bool,
        others: int = 0,
        is_alone: bool = False,
    ) -> None:
        """Publish a new position, from the thread that looks."""
        facts = is_loop, others, is_alone, threading.get_native_id()
        text = json.dumps([stack, *facts]).encode()
        while len(text) > _MAX_TEXT:
            stack = stack[: len(stack) // 2]
            text = json.dumps([stack, *facts]).encode()
        self._thread = thread
        self._put(self._sequence + 1, len(text))
        self._memory[_HEADER.size : _HEADER.size + len(text)] = text
        self._put(self._sequence + 1, len(text))

    def beat(self) -> None:
        """Publish that the position is the same."""
        length = _HEADER.unpack_from(self._memory)[3]
        self._put(self._sequence, length)

    def forget(self) -> None:
        """Publish that the position is unknown."""
        self._sequence = 0
        _HEADER.pack_into(self._memory, 0, 0, time.monotonic_ns(), 0, 0)

    def read(self) -> Position | None:
        """The last position; None while it is unknown or one is written."""
        sequence, beat_ns, thread, length = _HEADER.unpack_from(self._memory)
        if sequence == 0 or sequence % 2:
            return None
        text = self._memory[_HEADER.size : _HEADER.size + length]
        if _HEADER.unpack_from(self._memory)[0] != sequence:
            return None
        stack, *facts = json.loads(text)
        return Position(beat_ns / 1e9, thread, tuple(stack), *facts)

    def _put(self, sequence: int, length: int) -> None:
        self._sequence = sequence
        _HEADER.pack_into(
            self._memory, 0, sequence, time.monotonic_ns(), self._thread, length
        )


def create() -> int:
    """The descriptor of an empty page, closed by exec. Raises OSError."""
    descriptor = os.memfd_create("jax-sif-position")
    os.ftruncate(descriptor, SIZE_BYTES)
    return descriptor
