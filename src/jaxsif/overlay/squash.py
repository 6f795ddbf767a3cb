"""Writes and reads squashfs files by squashfs-tools; runs in the container."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxsif.core.errors import KitError, UsageError

_MAGIC = b"hsqs"

# The same folder makes the same file: no owner, no extended attributes, and one time
# for all, the earliest that a zip archive can hold (1980).
_SAME_S = str(315532800)
_OPTIONS = (
    *("-noappend", "-no-progress", "-quiet", "-all-root", "-no-xattrs", "-no-exports"),
    *("-mkfs-time", _SAME_S, "-all-time", _SAME_S),
    # As the image itself, and for its reasons.
    *("-comp", "zstd", "-Xcompression-level", "3"),
)


def write(
    folder: Path, target: Path, *, is_replaced: bool = False, mode: int = 0o644
) -> None:
    """Writes the folder into one file, which is whole as soon as it has its name.

    Raises UsageError when there is one of that name, KitError when it cannot be written.
    """
    try:
        with _partial(target.parent) as partial:
            done = _run(["mksquashfs", str(folder), str(partial), *_OPTIONS])
            if done.returncode:
                raise KitError(_cannot_write(target, done.stdout + done.stderr))
            _finish(partial, mode)
            _take_name(partial, target, is_replaced)
    except OSError as error:
        raise KitError(_cannot_write(target, str(error.strerror))) from error


def _finish(partial: Path, mode: int) -> None:
    """On the disk, before it has its name."""
    with partial.open("rb") as file:
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _take_name(partial: Path, target: Path, is_replaced: bool) -> None:
    if is_replaced:
        # A link stays, and its target is replaced.
        os.replace(partial, os.path.realpath(target))
        return
    try:
        os.link(partial, target)
    except FileExistsError as error:
        raise UsageError(already_there(target)) from error
    except OSError:
        # No file of this file system has two names: an empty one keeps the place.
        try:
            target.touch(exist_ok=False)
        except FileExistsError as error:
            raise UsageError(already_there(target)) from error
        os.replace(partial, target)


def already_there(target: Path) -> str:
    return (
        f"there is a file {str(target)!r} already; name another, or say --force to put"
        " the new one in its place"
    )


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """A hidden file of this process's own, and nothing of that name afterwards."""
    own = f".jax-sif-env.{socket.gethostname()}-"
    for left in folder.glob(f"{own}*"):
        # Of a process that was killed, and could not clean up.
        number = left.name[len(own) :]
        is_over = number == str(os.getpid()) or not Path("/proc", number).exists()
        if number.isdigit() and is_over:
            _remove_unless_held(left)
    partial = folder / f"{own}{os.getpid()}"
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _hold(descriptor)
        yield partial
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)


def _hold(descriptor: int) -> bool:
    """Whether the file is this process's; False, too, where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_unless_held(left: Path) -> None:
    """The process numbers of a container are others than those of its host."""
    try:
        descriptor = os.open(left, os.O_RDWR)
    except OSError:
        return
    try:
        if _hold(descriptor):
            left.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _cannot_write(target: Path, said: str) -> str:
    if "No space left" in said or "Disk quota exceeded" in said:
        return (
            f"no room for {str(target)!r}: the disk is full, or your quota is; name a"
            " file elsewhere"
        )
    last = said.strip().splitlines()[-1:] or ["mksquashfs says nothing"]
    return f"cannot write {str(target)!r}: {last[0]}"


def read(file: Path, names: Sequence[str]) -> list[str]:
    """The texts of files in it.

    Raises UsageError when there is no such file, or it is not of squashfs, KitError when
    it is damaged or lacks one of the names.
    """
    check(file)
    texts = []
    for name in names:
        done = _run(["unsquashfs", "-cat", str(file), name])
        if done.returncode or not done.stdout:
            last = done.stderr.strip().splitlines()[-1:] or [
                f"there is no {name} in it"
            ]
            raise not_ours(file, last[0])
        texts.append(done.stdout)
    return texts


def not_ours(file: Path, reason: str) -> KitError:
    return KitError(
        f"cannot read {str(file)!r} as packages of jax-sif env: {reason}; make it (again)"
        " with jax-sif env create"
    )


def extract(file: Path, folder: Path, patterns: Sequence[str]) -> None:
    """Unpacks what matches into a new folder. Raises KitError."""
    command = ["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-d", str(folder)]
    done = _run([*command, str(file), *patterns])
    if done.returncode:
        raise KitError(f"cannot unpack {str(file)!r}: {done.stderr.strip()}")


def check(file: Path) -> None:
    """Raises UsageError for what is no squashfs file."""
    try:
        with file.open("rb") as opened:
            magic = opened.read(len(_MAGIC))
    except OSError as error:
        raise UsageError(
            f"cannot read the packages {str(file)!r}: {error.strerror}; in a container"
            " only what is mounted can be seen (JAX_SIF_BIND, APPTAINER_BIND)"
        ) from error
    if magic != _MAGIC:
        raise UsageError(
            f"{str(file)!r} is no squashfs file; make one with jax-sif env create"
        )


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        raise KitError(
            f"there is no {command[0]} here; it is in the image: load the module and"
            " run jax-sif from there"
        )
    # Its own times are given on the command line, and it refuses to hear of two.
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
