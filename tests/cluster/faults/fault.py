"""What a fault of the matrix is, and the means to inject it in a rank; read by the tests and run in the ranks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

CLOCK_VARIABLE = "FAULT_CLOCK"
# Set where the same fault is done to JAX without the kit, see alone.py.
ALONE_VARIABLE = "FAULT_ALONE"


@dataclass(frozen=True)
class Fault:
    """One file of this folder is one fault; its first line says which.

    Besides this a file may define `in_rank(rank)`, which runs in every rank before the
    diagnostic, and `around(cluster)`, a context manager around the job, on the machine
    that has the cluster.
    """

    # Kind of the first finding, in the verdict file.
    kind: str = ""
    # It names at least one of these ranks, and no other: those that are first end the step.
    ranks: Collection[int] = ()
    # What the verdict's line must contain: values, or the cause if there is no file.
    says: tuple[str, ...] = ()
    status: int = 1
    job: str = "allreduce"
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    # From the fault, or from the last rank's start, to the verdict.
    within_s: float = 10.0
    # Whether the same fault can be done to JAX alone: not where it is injected into the
    # kit, or needs a GPU to do harm.
    has_baseline: bool = True

    def differences(self, job: Any) -> list[str]:
        """What the job's end has not."""
        missing = [text for text in self.says if text not in job.verdict]
        if job.status != self.status:
            missing.append(f"status {self.status}")
        if self.kind:
            kind, ranks = job.cause
            if kind != self.kind:
                missing.append(self.kind)
            if self.ranks and not (ranks and set(ranks) <= set(self.ranks)):
                missing.append(f"of ranks {self.ranks}")
        return missing


PASSES = ("PASS",)

# What alone.py does to itself at the same points.
ACTIONS: dict[str, Callable[[], object]] = {}


def mark(what: str) -> None:
    """Notes the moment: `start` of a rank, or the `fault` itself."""
    line = f"{time.time():.3f} {what}\n".encode()
    descriptor = os.open(os.environ[CLOCK_VARIABLE], os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, line)
    os.close(descriptor)


def at_point(
    point: str, action: Callable[[], object], *, is_fault: bool = True
) -> None:
    """Do something to this rank at a point of its run.

    Args:
      point: one of `jaxsif.rank.reporter.fault_hook`, as `after started`.
      is_fault: whether the moment is the fault's, from which its time counts.
    """

    def act() -> None:
        if is_fault:
            mark("fault")
        action()

    if ALONE_VARIABLE not in os.environ:
        on_points(lambda reporter, reached: act() if reached == point else None)
    elif point == "after started":
        act()
    else:
        ACTIONS[point] = act


def on_points(hook: Callable[[Any, str], object]) -> None:
    """Have a function called at each point of this rank's run, with the kit."""
    from jaxsif.rank import reporter

    reporter.fault_hook = hook


@contextlib.contextmanager
def node_dies(cluster: Any, node: str, *, is_cut: bool = False) -> Iterator[None]:
    """Kills Slurm and all ranks on a node when the first rank has left a mark.

    `is_cut`: its network goes first, so that no other node learns of it.
    """
    kill = "pkill -KILL slurmd; pkill -KILL slurmstepd; pkill -KILL -u hpc; true"
    cut = "ip link set eth0 down; " if is_cut else ""

    try:
        with on_signal(cluster, lambda: cluster.on(node, "sh", "-c", cut + kill)):
            yield
    finally:
        cluster.on(node, "ip", "link", "set", "eth0", "up")
        cluster.try_on(node, "slurmd", "-N", node)
        for state in ("down", "resume"):
            update = ("scontrol", "update", f"node={node}", f"state={state}")
            # Slurm may have found out by itself, and refuses what is so already.
            cluster.try_on("login", *update, "reason=it was killed")
        cluster.wait_until_idle()


@contextlib.contextmanager
def on_signal(
    cluster: Any, action: Callable[[], object], sign: str = "fault"
) -> Iterator[None]:
    """Does something to the cluster when the first rank has left a mark."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            if sign in cluster.run("cat", cluster.clock).stdout:
                action()
                return
            stop.wait(0.1)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def hosts_file(
    cluster: Any, node: str, changes: Mapping[str, str | None]
) -> Iterator[None]:
    """Other addresses for names on one node; None: the name is unknown."""
    old = cluster.on(node, "cat", "/etc/hosts")
    kept = [line for line in old.splitlines() if not set(line.split()) & set(changes)]
    new = [f"{address} {name}" for name, address in changes.items() if address]
    cluster.on(node, "tee", "/etc/hosts", text_in="\n".join([*kept, *new, ""]))
    try:
        yield
    finally:
        cluster.on(node, "tee", "/etc/hosts", text_in=old)


def wait_for_the_stranger(rank: int) -> None:
    """Prints where the coordinator is, and gives the foreign process time to do harm."""

    def print_and_wait() -> None:
        from jax._src.distributed import global_state

        if rank == 0:
            mark(f"coordinator={global_state.coordinator_address}")
        until_s = time.monotonic() + 20
        with open(os.environ[CLOCK_VARIABLE]) as clock:
            while "gone" not in clock.read() and time.monotonic() < until_s:
                time.sleep(0.1)
                clock.seek(0)

    at_point("before identity", print_and_wait)


@contextlib.contextmanager
def stranger(cluster: Any, run: Callable[..., Any]) -> Iterator[None]:
    """Lets a foreign process connect to the coordinator; it must reach it, and be refused."""
    ends: list[Any] = []

    def knock() -> None:
        marks = cluster.run("cat", cluster.clock).stdout
        address = re.search(r"coordinator=(\S+)", marks)
        assert address, marks
        program = f"{cluster.checkout}/tests/cluster/programs/foreign_client.py"
        words = ("--bind", str(cluster.checkout), cluster.image, "python", program)
        ends.append(run(*words, address[1], "4"))
        cluster.run("sh", "-c", f"echo '0 gone' >> {cluster.clock}")

    with on_signal(cluster, knock, "coordinator="):
        yield
    (end,) = ends
    assert end.returncode != 0, "the stranger was let in"
    assert "DEADLINE_EXCEEDED" in end.stderr, end.stderr
