"""Switches from root to the ordinary user, with root's folders mounted; on the host.

Root's folders may be where the user has no access (/root, pytest's /tmp) and belong to
other ids. Each is bound, in a mount namespace of this command, to a path that the user
can reach, with the user as its owner if the file system supports that.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import host
import kernel
from errors import ClusterError
from idmaps import ID_COUNT, Account
from mirror import MIRROR_KNOB
from rootfs import CACHE_KNOB
from state import STATE_KNOB

_LENT_VARIABLE = "MINICLUSTER_LENT"
_LENT_FOLDER = host.USER_HOME / "lent"


def reachable_folders() -> tuple[dict[str, str], str]:
    """The paths of mounted folders, and the caller's working directory."""
    note = json.loads(os.environ.pop(_LENT_VARIABLE, "null"))
    if note is None:
        return {}, working_directory()
    return note["lent"], note["cwd"]


def working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _namespace_for(owner: os.stat_result, account: Account) -> int:
    """The file of a user namespace that maps the owner's files to the account."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        kernel.unshare(kernel.CLONE_NEWUSER)
        os.write(writer, b"1")
        signal.pause()
    try:
        os.read(reader, 1)
        pairs = (
            ("uid", owner.st_uid, account.user_id, account.first_sub_uid),
            ("gid", owner.st_gid, account.group_id, account.first_sub_gid),
        )
        for kind, on_disk, shown, first in pairs:
            # Subordinate ids are unchanged, so that the nodes' root can write as well.
            lines = f"{on_disk} {shown} 1\n{first} {first} {ID_COUNT}\n"
            Path(f"/proc/{child}/{kind}_map").write_text(lines)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(reader)
        os.close(writer)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _bind(source: Path, target: Path, account: Account, share_ids: bool) -> None:
    if source.is_dir():
        target.mkdir()
    else:
        target.touch()
    owner = source.stat()
    if not share_ids or owner.st_uid == account.user_id:
        kernel.mount(str(source), str(target), flags=kernel.MS_BIND | kernel.MS_REC)
        return
    namespace = _namespace_for(owner, account)
    try:
        kernel.mount_with_ids(str(source), str(target), namespace)
    except OSError as error:
        print(
            f"minicluster: {source} is read-only inside: its file system cannot"
            f" map it to {account.name} ({error})",
            file=sys.stderr,
        )
        kernel.mount(str(source), str(target), flags=kernel.MS_BIND | kernel.MS_REC)
    finally:
        os.close(namespace)


def take_folder(folder: Path, account: Account) -> None:
    """Make the user the owner of a folder; refuse one with another user's files."""
    if not folder.exists():
        folder.mkdir(parents=True)
        os.chown(folder, account.user_id, account.group_id)
    elif folder.stat().st_uid != account.user_id:
        if any(folder.iterdir()):
            raise ClusterError(
                f"{folder} holds files of another user (id {folder.stat().st_uid});"
                f" root runs the cluster as {account.name!r}: name an empty or new"
                " folder"
            )
        os.chown(folder, account.user_id, account.group_id)


def become_user(
    arguments: list[str], program: Path, owned: list[Path], shared: list[Path]
) -> None:
    """Execute this program again as the ordinary user; return only by an error."""
    account = host.ensure_ordinary_user()
    for folder in owned:
        take_folder(folder, account)
    current = working_directory()
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_SLAVE)
    _LENT_FOLDER.mkdir(exist_ok=True)
    kernel.mount("tmpfs", str(_LENT_FOLDER), "tmpfs", data="mode=755")
    lent = {}
    for number, source in enumerate([*owned, *shared]):
        target = _LENT_FOLDER / f"{number}-{source.name}"
        _bind(source, target, account, share_ids=source in shared)
        lent[str(source)] = str(target)
    os.initgroups(account.name, account.group_id)
    os.setresgid(account.group_id, account.group_id, account.group_id)
    os.setresuid(account.user_id, account.user_id, account.user_id)
    os.chdir("/")
    environment = host.forwarded_env("TERM", CACHE_KNOB, MIRROR_KNOB, STATE_KNOB)
    environment.update(
        HOME=str(host.USER_HOME),
        USER=account.name,
        LOGNAME=account.name,
        PATH=host.SYSTEM_PATH,
        LANG="C.UTF-8",
    )
    environment[_LENT_VARIABLE] = json.dumps({"lent": lent, "cwd": current})
    reachable = reach(program, lent)
    python = shutil.which("python3", path=host.SYSTEM_PATH) or sys.executable
    os.execve(python, [python, str(reachable), *arguments], environment)


def reach(path: Path, lent: dict[str, str]) -> Path:
    """The path under which this process can reach a path of the caller."""
    for source, target in lent.items():
        if path == Path(source) or Path(source) in path.parents:
            return Path(target) / path.relative_to(source)
    return path
