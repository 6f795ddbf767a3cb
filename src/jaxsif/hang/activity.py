"""Whether a rank makes progress, from two looks at its process; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxsif.hang.page import Position

# A rank that cannot publish its position for this long does not run Python.
UNRESPONSIVE_S = 5.0

# The process or a child reads, writes or grows by so much a second: it works.
_BUSY_BYTES_PER_S = 16 * 1024
_BUSY_GROWTH_BYTES = 1 << 20
# Its children or one of its other threads use at least this share of a processor. On GPUs
# NCCL's threads are busy while they wait, but seldom sleep.
_BUSY_SHARE = 0.05
_GPU_SLEEPS_PER_S = 20
# Or a thread goes to sleep and wakes so often: it transfers data. One of gloo's does 100
# times while it waits.
_BUSY_SLEEPS_PER_S = 150
# A thread that uses less only looks now and then whether it may go on.
_IDLE_SHARE = 0.01

# Frames of programs that take their time: JAX's compiler, and debuggers.
_COMPILING = ("backend_compile", "compile_or_get_cached", "backend_compile_and_load")
_DEBUGGERS = ("/pdb.py:", "/bdb.py:", "/debugpy/", "/ipdb/", "/pydevd", "/IPython/")

# It stands still: its main thread has not run at all; it ran now and then, at the same
# place; it runs a loop on one line; or no Python can run, because the process is stopped,
# waits for a disk, or is in a call of C that holds the interpreter's lock.
BLOCKED, IDLE, SPINNING = "blocked", "idle", "spinning"
STOPPED, DISK_WAIT, HOLDS_GIL = "stopped", "disk-wait", "holds-gil"
# The name of a function in the kernel, where the kernel does not show it.
UNKNOWN_CALL = "unknown"


@dataclass(frozen=True)
class Sample:
    """What was seen of a rank's process at one moment.

    Attributes:
      time_s: CLOCK_MONOTONIC, now.
      position: where the main thread was when Python last ran.
      switches: how often the main thread was taken off its processor.
      main_cpu_s, children_cpu_s: processor time so far.
      has_running_child: whether one runs, or would on a machine that is less busy.
      threads: of each other thread how often it went to sleep, and its processor time.
      io_bytes: read and written so far, by its children too.
      rss_bytes: memory in use.
      state: of the main thread, as in /proc/PID/stat.
    """

    time_s: float
    position: Position
    switches: int
    main_cpu_s: float
    children_cpu_s: float
    io_bytes: int
    rss_bytes: int
    state: str
    threads: Mapping[int, tuple[int, float]] = field(default_factory=dict)
    has_running_child: bool = False


def stillness(before: Sample, now: Sample, *, has_gpus: bool) -> str | None:
    """How the rank stands still between two samples of one stack; None: it moves."""
    elapsed_s = max(now.time_s - before.time_s, 1e-3)
    if _works(before, now, elapsed_s, has_gpus=has_gpus):
        return None
    # A tracer has stopped it: a debugger.
    if now.state == "t" or takes_its_time(now.position.stack):
        return None
    if now.state == "T":
        return STOPPED
    if _is_unresponsive(now):
        return DISK_WAIT if now.state == "D" else HOLDS_GIL
    main_share = (now.main_cpu_s - before.main_cpu_s) / elapsed_s
    # One that would run on a machine that is less busy is not idle.
    if main_share < _IDLE_SHARE and now.state != "R":
        return BLOCKED if now.switches == before.switches else IDLE
    # In a call of C that lets other threads run, such as a large product of numpy.
    is_loop = now.position.is_loop and before.position.is_loop
    return SPINNING if is_loop else None


def takes_its_time(stack: tuple[str, ...]) -> bool:
    """Whether the program compiles or is looked at with a debugger."""
    return any(
        frame.endswith(_COMPILING) or any(name in frame for name in _DEBUGGERS)
        for frame in stack
    )


def _works(before: Sample, now: Sample, elapsed_s: float, *, has_gpus: bool) -> bool:
    if now.io_bytes - before.io_bytes > _BUSY_BYTES_PER_S * elapsed_s:
        return True
    if abs(now.rss_bytes - before.rss_bytes) > _BUSY_GROWTH_BYTES * elapsed_s:
        return True
    if now.has_running_child:
        return True
    if now.children_cpu_s - before.children_cpu_s > _BUSY_SHARE * elapsed_s:
        return True
    # Those that wait for the interpreter's lock wake 200 times a second.
    counts_sleeps = not _is_unresponsive(now)
    return any(
        _is_busy(
            *(thread, before.threads.get(number), elapsed_s),
            has_gpus=has_gpus,
            counts_sleeps=counts_sleeps,
        )
        for number, thread in now.threads.items()
        if number != now.position.sampler
    )


def _is_unresponsive(sample: Sample) -> bool:
    return sample.time_s - sample.position.beat_s > UNRESPONSIVE_S


def _is_busy(
    now: tuple[int, float],
    before: tuple[int, float] | None,
    elapsed_s: float,
    *,
    has_gpus: bool,
    counts_sleeps: bool,
) -> bool:
    """Whether a thread works, by its sleeps and its processor time."""
    sleeps, cpu_s = before or (0, 0.0)
    sleeps_per_s = (now[0] - sleeps) / elapsed_s
    if counts_sleeps and sleeps_per_s > _BUSY_SLEEPS_PER_S:
        return True
    is_polling = has_gpus and sleeps_per_s < _GPU_SLEEPS_PER_S
    return now[1] - cpu_s > _BUSY_SHARE * elapsed_s and not is_polling
