"""The state folder of a cluster, and joining its namespaces; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import child
import kernel
from errors import ClusterError, UsageError
from slurm import ClusterShape

# Names another cluster than the default one for every command of a shell.
STATE_KNOB = "JAX_SIF_MINICLUSTER"

_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Running:
    """The record of a started cluster."""

    process_id: int
    start_ticks: int
    shape: ClusterShape
    binds: tuple[str, ...]
    checkout: str
    node_processes: dict[str, int]


class State:
    """The folder given by --state; `shown` is its name for messages."""

    def __init__(self, folder: Path, shown: Path) -> None:
        self.folder = folder
        self.shown = shown
        self.nodes = folder / "nodes"
        self.home = folder / "home"
        self.lock = folder / "lock"
        self.log = folder / "log"
        self.configuration = folder / "configuration"
        self._record = folder / "cluster.json"

    def claim(self) -> None:
        """Make the folder, or reuse one that a cluster has made.

        Any other folder may hold files of a user. Raises UsageError.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.lock.exists() and any(self.folder.iterdir()):
            raise UsageError(
                f"{self.shown} holds files that are not a cluster's; --state"
                f" ({STATE_KNOB}) takes a new or empty folder"
            )

    def write(self, running: Running) -> None:
        part = self._record.with_suffix(".part")
        part.write_text(json.dumps(asdict(running), indent=2) + "\n")
        part.rename(self._record)

    def read(self) -> Running | None:
        """The cluster that was started here, running or not."""
        try:
            record = json.loads(self._record.read_text())
            record["shape"] = ClusterShape(**record["shape"])
            record["binds"] = tuple(record["binds"])
            return Running(**record)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise ClusterError(
                f"{self.shown / self._record.name} cannot be read ({error}); if no"
                " cluster runs there, remove that file, then: minicluster down"
            ) from error

    def alive(self) -> Running | None:
        running = self.read()
        if running and start_ticks(running.process_id) == running.start_ticks:
            return running
        return None

    def require(self) -> Running:
        running = self.alive()
        if running is None:
            raise ClusterError(
                f"no cluster is up in {self.shown}; start one: minicluster up"
            )
        return running

    def stop(self) -> bool:
        """End every process of the cluster, and so its mounts and namespaces."""
        running = self.alive()
        if running is None:
            return False
        # The first process of a process namespace takes all others with it.
        child.call(lambda: _kill(running))
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while start_ticks(running.process_id) == running.start_ticks:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"process {running.process_id} does not end; see: ps -fp"
                    f" {running.process_id}"
                )
            time.sleep(0.02)
        return True

    def remove(self, purge: bool) -> None:
        """Remove what the nodes wrote; /home only with `purge`."""
        doomed = [self.nodes, self.log, self.configuration]
        if purge:
            doomed.append(self.home)

        def wipe() -> None:
            for folder in doomed:
                if folder.exists():
                    shutil.rmtree(folder)

        if any(folder.exists() for folder in doomed):
            child.call_as_root("cluster", wipe)
        self._record.unlink(missing_ok=True)


def _kill(running: Running) -> None:
    _become_root_of(running.process_id, ("user",))
    with suppress(ProcessLookupError):
        os.kill(running.process_id, signal.SIGKILL)


def start_ticks(process_id: int) -> int | None:
    """When a process started; None when it is gone, or dead and not yet reaped."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _join(process_id: int, kinds: tuple[str, ...]) -> None:
    files = {}
    for kind in kinds:
        path = f"/proc/{process_id}/ns/{kind}"
        files[kind] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    for kind, file_descriptor in files.items():
        kernel.setns(file_descriptor, kind)
        os.close(file_descriptor)


def _become_root_of(process_id: int, kinds: tuple[str, ...]) -> None:
    _join(process_id, kinds)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def join(running: Running, node: str) -> None:
    """Move this process to a node, as its root; its children fully."""
    if node not in running.node_processes:
        known = ", ".join(running.node_processes)
        raise UsageError(f"no node is called {node!r}; there are: {known}")
    _become_root_of(running.process_id, ("user", "mnt"))
    # /proc is the cluster's now, and so are the process ids in it.
    try:
        _join(running.node_processes[node], ("net", "uts", "ipc", "pid", "mnt"))
    except FileNotFoundError:
        raise ClusterError(
            f"node {node!r} has died; restart the cluster: minicluster down, then up"
        ) from None


def default_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "jax-sif" / "minicluster"
