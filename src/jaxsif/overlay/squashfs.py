"""Write and read squashfs files with squashfs-tools."""
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

# Reproducible: no owner, no extended attributes, and one time for all files, the
# earliest of a zip archive (1980).
_FILE_TIME_S = str(315532800)
_OPTIONS = (
    *("-noappend", "-no-progress", "-quiet", "-all-root", "-no-xattrs", "-no-exports"),
    *("-mkfs-time", _FILE_TIME_S, "-all-time", _FILE_TIME_S),
    # The same compression as the image.
    *("-comp", "zstd", "-Xcompression-level", "3"),
)


def write(
    directory: Path, target: Path, *, is_replaced: bool = False, mode: int = 0o644
) -> None:
    """Write the directory into one file, atomically.

    Raises UsageError if the file exists, KitError if it cannot be written.
    """
    try:
        with _partial(target.parent) as partial:
            done = _run(["mksquashfs", str(directory), str(partial), *_OPTIONS])
            if done.returncode:
                raise KitError(_cannot_write(target, done.stdout + done.stderr))
            _make_durable(partial, mode)
            _publish(partial, target, is_replaced)
    except OSError as error:
        raise KitError(_cannot_write(target, str(error.strerror))) from error


def _make_durable(partial: Path, mode: int) -> None:
    """Set the mode and flush the file to disk before it is renamed."""
    with partial.open("rb") as file:
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _publish(partial: Path, target: Path, is_replaced: bool) -> None:
    if is_replaced:
        # If the target is a symbolic link, the file that it points to is replaced.
        os.replace(partial, os.path.realpath(target))
        return
    try:
        os.link(partial, target)
    except FileExistsError as error:
        raise target_exists_error(target) from error
    except OSError:
        # The file system has no hard links: reserve the name with an empty file.
        try:
            target.touch(exist_ok=False)
        except FileExistsError as error:
            raise target_exists_error(target) from error
        os.replace(partial, target)


def target_exists_error(target: Path) -> UsageError:
    return UsageError(
        f"the file {str(target)!r} exists already; choose another name, or replace it"
        " with --force"
    )


@contextmanager
def _partial(directory: Path) -> Iterator[Path]:
    """A hidden file of this process, which is removed afterwards."""
    own = f".jax-sif-packages.{socket.gethostname()}-"
    for stale in directory.glob(f"{own}*"):
        # Left by a process that was killed.
        number = stale.name[len(own) :]
        is_dead = number == str(os.getpid()) or not Path("/proc", number).exists()
        if number.isdigit() and is_dead:
            _remove_unless_locked(stale)
    partial = directory / f"{own}{os.getpid()}"
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _lock(descriptor)
        yield partial
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)


def _lock(descriptor: int) -> bool:
    """Lock the file; False if it is locked, or if locks are not supported."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_unless_locked(stale: Path) -> None:
    """Check the lock as well, since process ids differ between container and host."""
    try:
        descriptor = os.open(stale, os.O_RDWR)
    except OSError:
        return
    try:
        if _lock(descriptor):
            stale.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _cannot_write(target: Path, output: str) -> str:
    if "No space left" in output or "Disk quota exceeded" in output:
        return (
            f"no space for {str(target)!r}: the disk or your quota is full; choose"
            " another directory"
        )
    last = output.strip().splitlines()[-1:] or ["mksquashfs printed nothing"]
    return f"cannot write {str(target)!r}: {last[0]}"


def read(file: Path, names: Sequence[str]) -> list[str]:
    """The texts of files in a squashfs file.

    Raises UsageError if it does not exist or is not squashfs, KitError if it is
    damaged or lacks one of the names.
    """
    check(file)
    texts = []
    for name in names:
        done = _run(["unsquashfs", "-cat", str(file), name])
        if done.returncode or not done.stdout:
            last = done.stderr.strip().splitlines()[-1:] or [
                f"there is no {name} in it"
            ]
            raise foreign_file_error(file, last[0])
        texts.append(done.stdout)
    return texts


def foreign_file_error(file: Path, reason: str) -> KitError:
    return KitError(
        f"cannot read {str(file)!r} as an overlay of jax-sif packages: {reason}; create"
        " it again: jax-sif packages create"
    )


def extract(file: Path, directory: Path, patterns: Sequence[str]) -> None:
    """Extract matching files into a new directory. Raises KitError."""
    command = [
        "unsquashfs",
        "-quiet",
        "-no-progress",
        "-no-xattrs",
        "-d",
        str(directory),
    ]
    done = _run([*command, str(file), *patterns])
    if done.returncode:
        raise KitError(f"cannot unpack {str(file)!r}: {done.stderr.strip()}")


def check(file: Path) -> None:
    """Raise UsageError if the file is not squashfs."""
    try:
        with file.open("rb") as opened:
            magic = opened.read(len(_MAGIC))
    except OSError as error:
        raise UsageError(
            f"cannot read the packages {str(file)!r}: {error.strerror}; the"
            " container sees mounted directories only (JAX_SIF_BIND, APPTAINER_BIND)"
        ) from error
    if magic != _MAGIC:
        raise UsageError(
            f"{str(file)!r} is not a squashfs file; create one: jax-sif packages create"
        )


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        raise KitError(
            f"{command[0]} is missing; it is part of the image: load the module and run"
            " its jax-sif"
        )
    # mksquashfs fails if times are given both by options and by this variable.
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
