"""Puts files into their places: whole, on the disk, and by one process at a time; used by tools/ on the host."""
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
    """Waits until no other process is in here for the same place, and says so.

    `place` is a folder, or the name of a file of its own. Where a file system has no
    locks nobody waits; what is put into its place is whole all the same.
    """
    descriptor = _open(place)
    if descriptor is None:
        yield
        return
    try:
        if not try_lock(descriptor):
            print(f"waiting for another process that {what}", file=sys.stderr)
            # A file system without locks has refused at once.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Whether the file is this process's now; False where that cannot be known."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _open(place: Path) -> int | None:
    """None where there can be no such file: somebody else's, or a medium to read."""
    try:
        if place.is_dir():
            return os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        return os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None


def lock_file(image: Path) -> Path:
    """What whoever builds, signs or copies an image holds meanwhile."""
    return image.with_name(f".{image.name}.lock")


def put(target: Path, mode: int, write: Callable[[Path], object]) -> None:
    """Lets `write` write a file under a name of this process's own, and renames it.

    Where the name is a link it stays, and its target is replaced.
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
    """What processes of this host left that were killed, an hour ago or earlier: one of a
    container, whose numbers are others, has written since."""
    for left in folder.glob(f"{own}*"):
        number = left.name[len(own) :]
        is_over = number.isdigit() and not Path("/proc", number).exists()
        if is_over and time.time() - left.stat().st_mtime > _ABANDONED_S:
            left.unlink(missing_ok=True)


def copy(source: Path, target: Path, mode: int) -> None:
    """As `put`; what was read again is what was written, or OSError."""

    def write(hidden: Path) -> None:
        shutil.copyfile(source, hidden)
        if not filecmp.cmp(source, hidden, shallow=False):
            raise OSError(
                None, "it changed while it was copied, or the disk lies", str(source)
            )

    put(target, mode, write)
