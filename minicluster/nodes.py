"""The cluster's first process, and the first process of each node; in namespaces."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import child
import idmaps
import kernel
import machine
from errors import ClusterError
from host import SYSTEM_PATH, refused_by_kernel
from slurm import LOGIN, ClusterShape
from state import State

_BRIDGE = "br0"
_NODE_NAMESPACES = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWPID
)
_DAEMON_ENVIRONMENT = {"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def _ip(*lines: str) -> None:
    done = subprocess.run(
        ["ip", "-batch", "-"],
        input="\n".join(lines) + "\n",
        text=True,
        capture_output=True,
    )
    if done.returncode:
        error = OSError(0, f"{done.stderr.strip()} (after {lines[0]!r})")
        raise refused_by_kernel("bridge or veth", error)


def _report_error(report: int, who: str, error: Exception) -> None:
    if not isinstance(error, (ClusterError, OSError)):
        traceback.print_exc()
    os.write(report, f"{who}: {error}\n".encode())


def _reap_children() -> NoReturn:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(1)


def _log_to(path: Path) -> None:
    file_descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(file_descriptor, number)
    os.close(file_descriptor)


def _start_daemon(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, env=_DAEMON_ENVIRONMENT)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)} ended with status {done.returncode}")


def _install_munge(key: bytes) -> None:
    path = Path("/etc/munge/munge.key")
    path.write_bytes(key)
    run = Path("/run/munge")
    run.mkdir()
    # The tree has munge's user id; the host's name service may have a different one.
    owner = path.parent.stat()
    for item in (path, run):
        os.chown(item, owner.st_uid, owner.st_gid)
    path.chmod(0o400)


def _serve(name: str, key: bytes) -> None:
    """Start the node's daemons, same as a site's init system."""
    _install_munge(key)
    _start_daemon(["runuser", "-u", "munge", "--", "munged"])
    for folder in ("slurmctld", "slurmd"):
        Path("/var/spool", folder).mkdir(parents=True, exist_ok=True)
    if name == LOGIN:
        _start_daemon(["slurmctld"])
    else:
        _start_daemon(["slurmd", "-N", name])


def _node_main(
    name: str, shape: ClusterShape, body: machine.Machine, report: int
) -> NoReturn:
    """The first process of a node: builds it, starts its daemons, reaps forever."""
    kernel.set_process_name(name)
    try:
        socket.sethostname(name)
        address = shape.addresses[name]
        _ip("link set lo up", f"address add {address}/16 dev eth0", "link set eth0 up")
        key = (body.folder.parent / "munge.key").read_bytes()
        machine.enter(body, own_network=True)
        _serve(name, key)
    except Exception as error:
        _report_error(report, name, error)
    os.close(report)
    _reap_children()


def _make_node(
    state: State,
    shape: ClusterShape,
    body: machine.Machine,
    report: int,
    line: socket.socket,
) -> None:
    """Make the node's namespaces, and its first process when the network is up."""
    name = body.folder.name
    _log_to(state.log / f"{name}.log")
    kernel.unshare(_NODE_NAMESPACES)
    line.send(b"born")
    line.recv(16)
    first = os.fork()
    if first == 0:
        line.close()
        _node_main(name, shape, body, report)
    line.send(str(first).encode())


def _start_node(
    state: State, shape: ClusterShape, body: machine.Machine, report: int
) -> int:
    """Start a node in its own namespaces; return its first process."""
    name = body.folder.name
    ours, theirs = socket.socketpair()
    maker = os.fork()
    if maker == 0:
        try:
            ours.close()
            _make_node(state, shape, body, report, theirs)
        except Exception as error:
            _report_error(report, name, error)
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        if not ours.recv(16):
            raise ClusterError(f"{name} got no namespaces; see {state.log}/{name}.log")
        _ip(
            f"link add v{name} type veth peer name eth0 netns {maker}",
            f"link set v{name} master {_BRIDGE} up",
        )
        ours.send(b"wired")
        first_process = ours.recv(16)
    os.waitpid(maker, 0)
    return int(first_process)


def _close_all_but(kept: int) -> None:
    """Close inherited pipes: their readers must not wait for the cluster."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != kept:
            with suppress(OSError):
                os.close(int(name))


def _supervise(
    state: State, shape: ClusterShape, bodies: list[machine.Machine], report: int
) -> NoReturn:
    """The cluster's first process: wires the network, starts the nodes, reaps."""
    kernel.set_process_name("minicluster")
    try:
        _close_all_but(report)
        kernel.mount("proc", "/proc", "proc")
        _ip(f"link add {_BRIDGE} type bridge", f"link set {_BRIDGE} up")
        processes = {}
        for body in bodies:
            node = _start_node(state, shape, body, report)
            processes[body.folder.name] = node
        os.write(report, json.dumps(processes).encode() + b"\n")
    except Exception as error:
        _report_error(report, "cluster", error)
        os._exit(1)
    os.close(report)
    _reap_children()


def _detach_from_caller(log: Path) -> None:
    os.setsid()
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    _log_to(log)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(_DAEMON_ENVIRONMENT)


def _launch(
    state: State, shape: ClusterShape, bodies: list[machine.Machine], report: int
) -> bytes:
    """Detach, enter the namespaces and return their first process."""
    _detach_from_caller(state.log / "cluster.log")
    idmaps.become_namespace_root(
        "cluster",
        kernel.CLONE_NEWNET
        | kernel.CLONE_NEWPID
        | kernel.CLONE_NEWIPC
        | kernel.CLONE_NEWUTS,
    )
    first = os.fork()
    if first == 0:
        _supervise(state, shape, bodies, report)
    return str(first).encode()


def start(
    state: State, shape: ClusterShape, bodies: list[machine.Machine]
) -> tuple[int, int]:
    """Start everything; return the first process and the pipe of its report.

    A line of JSON names the nodes' first processes, any other line is an error; the
    pipe ends when every node has tried to start its daemons.
    """
    reader, writer = os.pipe()
    try:
        first = child.call(lambda: _launch(state, shape, bodies, writer))
    finally:
        os.close(writer)
    return int(first), reader
