"""Starts and stops a cluster; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import child
import nodes
import rootfs
import slurm
from errors import ClusterError, UsageError
from execute import states
from host import check_free_space, check_machine
from idmaps import JOB_USER
from machine import Bind, Machine
from slurm import LOGIN, ClusterShape
from state import Running, State, start_ticks

_START_TIMEOUT_S = 60.0
_TAIL_LINES = 15
_STATE_BYTES = 512 << 20


@dataclass(frozen=True)
class ClusterSpec:
    """The requested cluster: its shape, and the host's folders on its nodes."""

    shape: ClusterShape
    checkout: Bind
    binds: tuple[Bind, ...]

    @property
    def bind_names(self) -> tuple[str, ...]:
        return tuple(str(bind.target) for bind in self.binds)


@contextmanager
def _one_at_a_time(state: State) -> Iterator[None]:
    state.claim()
    with state.lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _make_folders(state: State, tree: Path) -> None:
    for folder in (state.nodes, state.log, state.configuration):
        folder.mkdir(parents=True, exist_ok=True)
    own_home = state.home / JOB_USER
    if not own_home.exists():
        state.home.mkdir(exist_ok=True)
        shutil.copytree(tree / "etc/skel", own_home)
    for folder in (state.home, own_home, state.log, state.configuration):
        folder.chmod(0o755)


def _write_configuration(state: State, shape: ClusterShape) -> None:
    files = {
        "slurm.conf": slurm.slurm_conf(shape),
        "gres.conf": slurm.gres_conf(shape),
        "cgroup.conf": "CgroupPlugin=disabled\n",
        "topology.conf": slurm.topology_conf(shape),
    }
    for name, text in files.items():
        (state.configuration / name).write_text(text)
    key = state.nodes / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))


def _machines(state: State, spec: ClusterSpec, tree: Path) -> list[Machine]:
    checkout = spec.checkout
    binds = (
        Bind(state.home, Path("/home")),
        Bind(state.log, Path(slurm.LOG_FOLDER)),
        Bind(state.configuration, Path("/etc/slurm")),
        Bind(checkout.source, Path(slurm.CHECKOUT_MOUNT)),
        checkout,
        *spec.binds,
    )
    return [
        Machine(
            tree=tree,
            folder=state.nodes / name,
            binds=binds,
            texts={
                "/etc/hosts": slurm.hosts_file(spec.shape),
                "/etc/hostname": f"{name}\n",
                # No way out, so no name server to wait for.
                "/etc/resolv.conf": "",
            },
            device_names=() if name == LOGIN else spec.shape.device_names,
        )
        for name in spec.shape.addresses
    ]


def tail(state: State, name: str) -> str:
    """The end of the logs of a node (or of all), read as the nodes' root."""

    def read() -> bytes:
        parts = []
        for path in sorted(state.log.glob("*.log")):
            if path.stem not in _log_stems(name) and name:
                continue
            lines = path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            parts.append("\n".join([f"==> {state.shown}/log/{path.name} <==", *lines]))
        return "\n".join(parts).encode()

    return child.call_as_root("cluster", read).decode()


def _log_stems(node: str) -> tuple[str, ...]:
    return (node, "slurmctld" if node == LOGIN else f"slurmd-{node}", "cluster")


def _read_report(reader: int, deadline: float) -> tuple[str, bool]:
    """The output of the starting cluster, and whether it ended in time."""
    text = b""
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([reader], [], [], left_s)[0]:
            return text.decode(), False
        chunk = os.read(reader, 4096)
        if not chunk:
            return text.decode(), True
        text += chunk


def _parse_report(report: str) -> tuple[dict[str, int], list[str]]:
    """The nodes' first processes, and the errors, of a report."""
    processes, errors = {}, []
    for line in report.splitlines():
        if line.startswith("{"):
            processes = json.loads(line)
        else:
            errors.append(line)
    return processes, errors


def _start(state: State, spec: ClusterSpec, tree: Path) -> Running:
    deadline = time.monotonic() + _START_TIMEOUT_S
    first, reader = nodes.start(state, spec.shape, _machines(state, spec, tree))
    running = Running(
        process_id=first,
        start_ticks=start_ticks(first) or 0,
        shape=spec.shape,
        binds=spec.bind_names,
        checkout=str(spec.checkout.target),
        node_processes={},
    )
    # Written before it is complete, so that `down` finds every process.
    state.write(running)
    try:
        report, ended = _read_report(reader, deadline)
    finally:
        os.close(reader)
    processes, errors = _parse_report(report)
    if errors or not ended or not processes:
        why = "; ".join(errors) or "it did not start in time"
        failed_node = errors[0].partition(":")[0] if errors else ""
        raise ClusterError(
            f"the cluster did not start: {why}\n{tail(state, failed_node)}"
        )
    running = replace(running, node_processes=processes)
    state.write(running)
    return running


def _wait_until_idle(state: State, running: Running) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    found: dict[str, str] = {}
    problem = ""
    while time.monotonic() < deadline:
        try:
            found = states(running)
        except ClusterError as error:
            # The controller takes a moment before it responds.
            problem = f" ({error})"
        if found and set(found.values()) == {"idle"}:
            return
        time.sleep(0.1)
    late = [name for name, word in found.items() if word != "idle"] or [LOGIN]
    words = ", ".join(f"{name} {word}" for name, word in found.items())
    raise ClusterError(
        f"not every node was idle after {_START_TIMEOUT_S:.0f} s:"
        f" {words or 'slurmctld does not respond'}{problem}\n{tail(state, late[0])}"
    )


def _is_up_already(state: State, spec: ClusterSpec) -> bool:
    running = state.alive()
    if running is None:
        return False
    requested = (spec.shape, spec.bind_names, str(spec.checkout.target))
    if requested != (running.shape, running.binds, running.checkout):
        raise UsageError(
            f"a cluster is up in {state.shown}: {running.shape}, checkout"
            f" {running.checkout}, binds {list(running.binds)}; requested:"
            f" {spec.shape}, checkout {spec.checkout.target}, binds"
            f" {list(spec.bind_names)}. Stop it first (minicluster down), or start"
            " another one (--state DIR)"
        )
    found = states(running)
    unfit = [f"{name} {word}" for name, word in found.items() if not slurm.fit(word)]
    if unfit:
        raise ClusterError(
            f"a cluster is up in {state.shown}, but not fit: {', '.join(unfit)}; see"
            " `minicluster logs`, or restart it: minicluster down, then up"
        )
    return True


def up(state: State, spec: ClusterSpec, cache: Path) -> bool:
    """Start the cluster; return False if it was already up."""
    with _one_at_a_time(state):
        if _is_up_already(state, spec):
            return False
        check_machine()
        state.remove(purge=False)
        check_free_space(state.folder, _STATE_BYTES, "--state")
        tree = rootfs.tree(rootfs.cluster_recipe(), "cluster", cache)
        _make_folders(state, tree)
        _write_configuration(state, spec.shape)
        try:
            _wait_until_idle(state, _start(state, spec, tree))
        except BaseException:
            # Its logs are kept until `down` or the next `up`.
            state.stop()
            raise
    return True


def down(state: State, purge: bool) -> bool:
    """Stop the cluster and remove its files; return whether it was there."""
    if not state.folder.exists():
        return False
    with _one_at_a_time(state):
        left = state.read() is not None
        state.stop()
        state.remove(purge)
    return left
