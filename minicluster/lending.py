"""Root becomes the ordinary user and lends it root's own folders; on the host.

Root's folders may lie where the user cannot go (/root, pytest's /tmp) and belong to
ids it does not have. Each is bound, in a mount namespace of this one command, to a
place the user can reach, its owner shown as the user where the file system can do so.
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
from identity import ID_COUNT, Account
from mirror import MIRROR_KNOB
from rootfs import CACHE_KNOB
from state import STATE_KNOB

_NOTE = "MINICLUSTER_LENT"
_LENT_FOLDER = host.USER_HOME / "lent"


def take_note() -> tuple[dict[str, str], str]:
    """Where lent folders can be reached, and the caller's working directory."""
    note = json.loads(os.environ.pop(_NOTE, "null"))
    if note is None:
        return {}, working_directory()
    return note["lent"], note["cwd"]


def working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _namespace_for(owner: os.stat_result, account: Account) -> int:
    """A user namespace (its file) that shows owner's files as the account's."""
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
            # Subordinate ids stay themselves, so that the nodes' root can write too.
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
            f"minicluster: {source} can only be read inside: its file system cannot"
            f" show it as {account.name}'s ({error})",
            file=sys.stderr,
        )
        kernel.mount(str(source), str(target), flags=kernel.MS_BIND | kernel.MS_REC)
    finally:
        os.close(namespace)


def give_folder(folder: Path, account: Account) -> None:
    """Makes a folder the user's own; one that holds someone else's files is refused."""
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
    """Executes this program again as the ordinary user; returns only by an error."""
    account = host.ensure_ordinary_user()
    for folder in owned:
        give_folder(folder, account)
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
    environment = host.passed_on("TERM", CACHE_KNOB, MIRROR_KNOB, STATE_KNOB)
    environment.update(
        HOME=str(host.USER_HOME),
        USER=account.name,
        LOGNAME=account.name,
        PATH=host.SYSTEM_PATH,
        LANG="C.UTF-8",
    )
    environment[_NOTE] = json.dumps({"lent": lent, "cwd": current})
    reachable = reach(program, lent)
    python = shutil.which("python3", path=host.SYSTEM_PATH) or sys.executable
    os.execve(python, [python, str(reachable), *arguments], environment)


def reach(path: Path, lent: dict[str, str]) -> Path:
    """The place where a path of the caller can be reached by this process."""
    for source, target in lent.items():
        if path == Path(source) or Path(source) in path.parents:
            return Path(target) / path.relative_to(source)
    return path
