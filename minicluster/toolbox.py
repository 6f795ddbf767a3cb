"""Runs a command in the cluster's root file system, with the host's network; host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import child
import host
import idmaps
import kernel
import machine
from errors import ClusterError
from machine import Bind, Machine

_CERTIFICATES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
)
CERTIFICATES_TARGET = "/etc/ssl/certs/ca-certificates.crt"


def _texts() -> dict[str, str]:
    """The host's name servers and certificates, since the network is the host's."""
    # `apptainer build --fakeroot` needs subordinate ids even for root.
    ids = f"root:1:{idmaps.ID_COUNT}\n"
    texts = {"/etc/subuid": ids, "/etc/subgid": ids}
    for name in ("/etc/resolv.conf", "/etc/hosts"):
        if Path(name).exists():
            texts[name] = Path(name).read_text()
    for path in _CERTIFICATES:
        if path.exists():
            texts[CERTIFICATES_TARGET] = path.read_text()
            break
    return texts


def _environment() -> dict[str, str]:
    own = {"PATH": host.SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8"}
    return {**own, **host.forwarded_env("TERM")}


def _inside(body: Machine, command: list[str], cwd: str) -> int:
    """The first process of the toolbox; all others end with it."""
    machine.enter(body, own_network=False)
    folder = cwd if Path(cwd).is_dir() else "/root"
    environment = _environment()
    return child.run_to_end(lambda: child.replace_by(command, environment, folder, 0))


def _supervise(body: Machine, command: list[str], cwd: str) -> int:
    idmaps.become_namespace_root("toolbox", kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC)

    def become() -> None:
        os._exit(_inside(body, command, cwd))

    return child.run_to_end(become)


def run(
    tree: Path, cache: Path, binds: list[Bind], command: list[str], cwd: str
) -> int:
    """The command's exit status; what it wrote outside the binds is removed."""
    for bind in binds:
        if not bind.source.exists():
            raise ClusterError(
                f"cannot bind {str(bind.source)!r}: there is no such path"
            )
    work = cache / "toolbox-work"
    work.mkdir(exist_ok=True)
    with ExitStack() as stack:
        # Between mkdtemp and the lock a folder would look abandoned.
        with _alone(work):
            _remove_abandoned(work)
            folder = Path(tempfile.mkdtemp(dir=work))
            stack.enter_context(_owned(folder))
        body = Machine(tree=tree, folder=folder, binds=tuple(binds), texts=_texts())
        try:
            return _run_in_child(body, command, cwd)
        finally:
            _remove(folder)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Only one toolbox at a time removes abandoned folders."""
    file_descriptor = os.open(work, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file_descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file_descriptor)


def _remove(folder: Path) -> None:
    child.call_as_root("toolbox", lambda: shutil.rmtree(folder))


@contextmanager
def _owned(folder: Path) -> Iterator[bool]:
    """Lock a folder; yield False if another process has locked it."""
    file_descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(file_descriptor)


def _remove_abandoned(work: Path) -> None:
    """Remove the folders of killed toolboxes."""
    for folder in work.iterdir():
        with _owned(folder) as free:
            if free:
                _remove(folder)


def _run_in_child(body: Machine, command: list[str], cwd: str) -> int:
    """Run in a child, so that this process can remove the folder after it."""

    def become() -> None:
        os._exit(_supervise(body, command, cwd))

    return child.run_to_end(become)
