"""Runs commands on a running cluster, and gets its state; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
from pathlib import Path

import child
import slurm
from errors import ClusterError, UnknownError
from host import SYSTEM_PATH
from idmaps import JOB_ID, JOB_USER
from slurm import LOGIN
from state import Running, join

_ROOT_ENVIRONMENT = {"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def capture(running: Running, node: str, command: list[str]) -> str:
    """The standard output of a command that root runs on a node."""

    def body() -> bytes:
        join(running, node)
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_ROOT_ENVIRONMENT,
            cwd="/",
        )
        if done.returncode:
            message = done.stderr.decode(errors="replace").strip()
            raise ClusterError(f"{' '.join(command)}: {message}")
        return done.stdout

    return child.call(body).decode()


def states(running: Running) -> dict[str, str]:
    command = ["scontrol", "--oneliner", "show", "nodes"]
    return slurm.node_states(capture(running, LOGIN, command))


def run_as_user(running: Running, command: list[str], cwd: str, terminal: str) -> int:
    """Run a command as the cluster's user, in a login shell on the login node."""
    checkout = Path(running.checkout)
    visible = [checkout, *(Path(name) for name in running.binds)]
    here = Path(cwd)
    known = any(here == path or path in here.parents for path in visible)
    home = f"/home/{JOB_USER}"
    environment = {
        "HOME": home,
        "USER": JOB_USER,
        "LOGNAME": JOB_USER,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": terminal,
    }
    # A login shell reads /etc/profile, which sets up Lmod, for scripts as well.
    login = ["/bin/bash", "--login", "-c", 'cd -- "$1" && shift && exec "$@"', "login"]
    words = [*login, cwd if known else home, *command]
    join(running, LOGIN)
    return child.run_to_end(lambda: child.replace_by(words, environment, home, JOB_ID))


def run_as_root(running: Running, node: str, command: list[str], terminal: str) -> int:
    """Run a command as a node's root."""
    environment = {**_ROOT_ENVIRONMENT, "TERM": terminal, "USER": "root"}
    join(running, node)
    return child.run_to_end(lambda: child.replace_by(command, environment, "/", 0))


def status_table(running: Running) -> tuple[str, bool]:
    """A table of the nodes, and whether all of them can run jobs."""
    layout = "NodeList:10,StateLong:14,CPUsState:16,GresUsed:30,Reason:40"
    command = ["sinfo", "--Node", f"--Format={layout}"]
    try:
        table = capture(running, LOGIN, command)
        found = states(running)
    except ClusterError as error:
        raise UnknownError(f"slurmctld does not respond: {error}") from error
    healthy = len(found) == running.shape.nodes and all(
        slurm.fit(word) for word in found.values()
    )
    return table, healthy
