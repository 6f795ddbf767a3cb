"""The caller's account, and the id maps of user namespaces; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import kernel
from errors import ClusterError

ID_COUNT = 65536
# The cluster's ordinary user, `hpc`. On the nodes it is the caller, so that jobs write
# into the caller's directories as the caller; the nodes' root is a subordinate id.
JOB_USER, JOB_ID = "hpc", 2000
_TABLES = (Path("/etc/subuid"), Path("/etc/subgid"))


@dataclass(frozen=True)
class Account:
    name: str
    user_id: int
    group_id: int
    first_sub_uid: int
    first_sub_gid: int


@dataclass(frozen=True)
class Range:
    inside: int
    outside: int
    count: int


def first_subordinate_id(table: Path, name: str, user_id: int) -> int | None:
    """The start of the account's first range that is large enough."""
    if not table.exists():
        return None
    for line in table.read_text().splitlines():
        owner, _, numbers = line.partition(":")
        start, _, count = numbers.partition(":")
        wide = count.isdigit() and int(count) >= ID_COUNT
        if owner in (name, str(user_id)) and wide:
            return int(start)
    return None


def free_range() -> str:
    """A range above all allocated ones, in usermod's format."""
    start = 200000
    for table in _TABLES:
        for line in table.read_text().splitlines() if table.exists() else []:
            _, first, count = line.split(":")
            start = max(start, int(first) + int(count))
    return f"{start}-{start + ID_COUNT - 1}"


def account_of(user_id: int) -> Account:
    entry = pwd.getpwuid(user_id)
    uid, gid = (first_subordinate_id(t, entry.pw_name, user_id) for t in _TABLES)
    if uid is None or gid is None:
        raise ClusterError(
            f"user {entry.pw_name!r} has no {ID_COUNT} subordinate ids in /etc/subuid"
            " and /etc/subgid; an administrator can add them: sudo usermod"
            f" --add-subuids {free_range()} --add-subgids {free_range()}"
            f" {entry.pw_name}"
        )
    return Account(entry.pw_name, user_id, entry.pw_gid, uid, gid)


def cluster_map(own_id: int, first_id: int) -> list[Range]:
    """Root is the first subordinate id, and the job user is the caller."""
    return [
        Range(0, first_id, JOB_ID),
        Range(JOB_ID, own_id, 1),
        Range(JOB_ID + 1, first_id + JOB_ID + 1, ID_COUNT - JOB_ID - 1),
    ]


def toolbox_map(own_id: int, first_id: int) -> list[Range]:
    """Root is the caller: what the toolbox writes belongs to the caller."""
    return [Range(0, own_id, 1), Range(1, first_id, ID_COUNT)]


MAPS = {"cluster": cluster_map, "toolbox": toolbox_map}


def _write_map(program: str, process_id: int, ranges: list[Range]) -> bool:
    numbers = [str(n) for r in ranges for n in (r.inside, r.outside, r.count)]
    return subprocess.run([program, str(process_id), *numbers]).returncode == 0


def _fork_mapper(account: Account, map_name: str) -> tuple[int, int]:
    """A child that maps its parent's ids when a byte comes through the pipe."""
    parent = os.getpid()
    ready_reader, ready_writer = os.pipe()
    child = os.fork()
    if child:
        os.close(ready_reader)
        return child, ready_writer
    os.close(ready_writer)
    if not os.read(ready_reader, 1):
        os._exit(0)
    make_map = MAPS[map_name]
    uids = make_map(account.user_id, account.first_sub_uid)
    gids = make_map(account.group_id, account.first_sub_gid)
    done = _write_map("newuidmap", parent, uids)
    os._exit(0 if done and _write_map("newgidmap", parent, gids) else 1)


def become_namespace_root(map_name: str, flags: int) -> None:
    """Puts this process, as root, into new user and mount namespaces (and flags')."""
    account = account_of(os.getuid())
    mapper, unshared = _fork_mapper(account, map_name)
    try:
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | flags)
        os.write(unshared, b"1")
    except OSError as error:
        raise ClusterError(
            f"this kernel refuses namespaces to user {account.name!r}: {error};"
            " see: sysctl user.max_user_namespaces kernel.unprivileged_userns_clone"
        ) from error
    finally:
        os.close(unshared)
        _, status = os.waitpid(mapper, 0)
    if status:
        raise ClusterError(
            f"newuidmap/newgidmap refused to map the ids of {account.name!r}"
            " (message above); compare /etc/subuid and /etc/subgid, and check that both"
            " programs are set-user-id root"
        )
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # The change of id has reset both of these.
    kernel.die_with_parent(signal.SIGKILL)
    kernel.make_inspectable()
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
