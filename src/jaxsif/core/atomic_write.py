"""Write files atomically."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from jaxsif.core.errors import KitError

Writer = Callable[[BinaryIO], object]

# The directory is not writable, or the file cannot be replaced (it is mounted), but may
# be writable. A full disk is not among them: then the old file stays.
_IN_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)
_ACCESS_LIST = "system.posix_acl_access"


class _CannotKeep(Exception):
    """A new file cannot be given owner and permissions of the old one."""


def atomic_write(path: Path, text: str, note: str) -> None:
    """Write `text` to `path` with `write_file`.

    Raises KitError if that fails; `note` is appended to its message.
    """
    # A lone surrogate is not a character, and not valid UTF-8.
    content = text.encode("utf-8", errors="replace")
    try:
        write_file(path, lambda file: file.write(content))
    except OSError as error:
        raise KitError(
            f"cannot write {str(path)!r}: {error.strerror}; {note}"
        ) from error


def write_file(path: Path, write: Writer) -> None:
    """Call `write` for the new content of `path`, which is replaced as a whole or not.

    Same as for a shell's `> path`, a device, a pipe or a descriptor (/dev/stdout) is
    written, a link is followed, and a file keeps its owner and permissions; a new one
    has those of the umask. A writable file that cannot be replaced (its directory is
    not writable, it is mounted, its owner cannot be kept) is written in place: only
    that can leave a partial file.

    Raises OSError.
    """
    descriptor = _own_descriptor(path)
    if descriptor is not None:
        _flush_what_writes_to(descriptor)
        _write_to(os.dup(descriptor), write)
        return
    before = _status(path)
    if before is not None and not stat.S_ISREG(before.st_mode):
        _write_to(os.open(path, os.O_WRONLY | os.O_NOCTTY), write)
        return
    target = os.path.realpath(path)
    try:
        _replace(target, before, write)
    except _CannotKeep:
        _write_in_place(target, write)
    except OSError as error:
        if before is None or error.errno not in _IN_PLACE:
            raise
        _write_in_place(target, write)


def _status(path: Path | str) -> os.stat_result | None:
    """The status of a path's target; None if it does not exist."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path)
    return None


def _own_descriptor(path: Path) -> int | None:
    """The number of this process's descriptor that /dev/stdout or /dev/fd/3 names.

    Opening such a file again would start at its first byte and overwrite its content.
    """
    hops = 0
    while os.path.islink(path) and hops < 40:
        folder = os.path.realpath(path.parent)
        if folder.startswith(f"/proc/{os.getpid()}/") and folder.endswith("/fd"):
            return int(path.name)
        path, hops = Path(folder, os.readlink(path)), hops + 1
    return None


def _flush_what_writes_to(descriptor: int) -> None:
    """Flush earlier output of a stream first."""
    for stream in (sys.stdout, sys.stderr):
        # A closed stream, or one that is not a file, has nothing to flush.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if stream.fileno() == descriptor:
                stream.flush()


def _write_to(descriptor: int, write: Writer) -> None:
    with open(descriptor, "wb") as file:
        write(file)


def _replace(target: str, before: os.stat_result | None, write: Writer) -> None:
    """Replace by a file in the same directory, which is synced before it is renamed."""
    # Short, whatever the target's name: a name has at most 255 bytes.
    name = os.path.join(os.path.dirname(target), f".jax-sif-{os.urandom(8).hex()}")
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as file:
            if before is not None:
                _keep(file.fileno(), target, before)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _keep(descriptor: int, target: str, before: os.stat_result) -> None:
    """Give the new file the owner, permissions and access list of the old one."""
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
    now = os.fstat(descriptor)
    try:
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
            os.fchown(descriptor, before.st_uid, before.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
        rights = _access_list(target)
        if rights is not None:
            os.setxattr(descriptor, _ACCESS_LIST, rights)
    except OSError as error:
        raise _CannotKeep from error


def _access_list(target: str) -> bytes | None:
    """None if the file has none, or its file system does not support them."""
    with contextlib.suppress(OSError):
        return os.getxattr(target, _ACCESS_LIST)
    return None


def _write_in_place(target: str, write: Writer) -> None:
    with open(os.open(target, os.O_WRONLY), "wb") as file:
        write(file)
        file.truncate()
