"""Replaces files atomically, by one process at a time; used by tools/ on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import fcntl
import filecmp
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ABANDONED_S = 3600


@contextmanager
def one_at_a_time(place: Path, what: str) -> Iterator[None]:
    """Hold the lock of a path; print a line if another process has it.

    `place` is a folder, or a lock file. On a file system without locks there is no
    waiting; files are replaced atomically anyway.
    """
    descriptor = _open(place)
    if descriptor is None:
        yield
        return
    try:
        if not try_lock(descriptor):
            print(f"waiting for another process that {what}", file=sys.stderr)
            # A file system without locks refuses at once.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Whether this process now holds the lock; False if that is unknown."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _open(place: Path) -> int | None:
    """None if the file cannot be opened: another user's, or on a read-only medium."""
    try:
        if place.is_dir():
            return os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        return os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None


def lock_file(image: Path) -> Path:
    """The lock file for building, signing and copying an image."""
    return image.with_name(f".{image.name}.lock")


def put(target: Path, mode: int, write: Callable[[Path], object]) -> None:
    """Let `write` write a temporary file, and rename it to the target.

    If the target is a link, the file that it points to is replaced.
    """
    target = target.resolve()
    own = f".{target.name}.{socket.gethostname()}-"
    _remove_abandoned(target.parent, own)
    hidden = target.with_name(f"{own}{os.getpid()}")
    try:
        write(hidden)
        hidden.chmod(mode)
        with hidden.open("rb") as file:
            os.fsync(file.fileno())
        hidden.replace(target)
    finally:
        hidden.unlink(missing_ok=True)


def _remove_abandoned(folder: Path, own: str) -> None:
    """Remove files of killed processes of this host, at least an hour old: one of a
    container has different ids, and has written since."""
    for left in folder.glob(f"{own}*"):
        number = left.name[len(own) :]
        is_over = number.isdigit() and not Path("/proc", number).exists()
        if is_over and time.time() - left.stat().st_mtime > _ABANDONED_S:
            left.unlink(missing_ok=True)


def copy(source: Path, target: Path, mode: int) -> None:
    """Same as `put`, then read again and compared; OSError if different."""

    def write(hidden: Path) -> None:
        shutil.copyfile(source, hidden)
        if not filecmp.cmp(source, hidden, shallow=False):
            raise OSError(
                None, "it changed while it was copied, or the disk lies", str(source)
            )

    put(target, mode, write)
