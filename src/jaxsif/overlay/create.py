"""Puts packages together and writes their file; runs in the container, where the network is."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.packages import PACKAGES_FOLDER
from jaxsif.overlay import manifest as made
from jaxsif.overlay import resolve, squash

# Every package of the image, as constraints of pip's (tools/image_manifest.py).
IMAGE_PACKAGES = Path("/opt/jax-sif/packages.txt")


@dataclass(frozen=True)
class Order:
    """What a person asked for. `words` are pip's: requirements, and options before
    them."""

    target: Path
    words: tuple[str, ...]
    is_replaced: bool = False


@dataclass(frozen=True)
class Created:
    """What has come of it."""

    made: made.Manifest
    size_bytes: int


def read_image(path: Path = IMAGE_PACKAGES) -> made.Image:
    """The image that this runs in. Raises KitError elsewhere."""
    try:
        return made.parse_image(path.read_text())
    except (OSError, ValueError) as error:
        raise KitError(
            f"cannot read the image's packages from {str(path)!r} ({error}); packages"
            " are put on top of an image: load the module and run jax-sif from there"
        ) from error


def create(order: Order, image_packages: Path = IMAGE_PACKAGES) -> Created:
    """Makes the file in one piece, or raises and leaves nothing behind."""
    image = read_image(image_packages)
    _check_target(order)
    with _ended_by_signals(), _staging() as (staging, mask):
        root = staging / "root"
        root.mkdir()
        packages = _install(order, image, image_packages, staging, root)
        with _stage("byte code"):
            _compile(root)
        content = _content(root)
        (root / made.DESCRIPTION).write_text(made.encode(packages, content))
        shutil.copyfile(image_packages, root / made.IMAGE)
        with _stage("one file"):
            squash.write(
                root, order.target, is_replaced=order.is_replaced, mode=0o666 & ~mask
            )
    return Created(made.Manifest(image, packages, content), order.target.stat().st_size)


def _check_target(order: Order) -> None:
    """Before minutes are spent on it."""
    folder = order.target.parent
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {str(folder)!r} as the container sees it; make it, or"
            " name another"
        )
    if not os.access(folder, os.W_OK):
        raise UsageError(f"may not write into {str(folder)!r}; name another folder")
    if order.target.exists() and not order.target.is_file():
        raise UsageError(f"{str(order.target)!r} is no file; name another")
    if order.target.exists() and not order.is_replaced:
        raise UsageError(squash.already_there(order.target))
    if Path(PACKAGES_FOLDER, made.IMAGE).exists():
        raise UsageError(
            "packages are mounted already, and would be taken for the image's own; unset"
            " JAX_SIF_ENV"
        )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Lets a job that is cancelled, or a terminal that is closed, clean up."""

    def leave(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, leave) for number in numbers]
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _staging() -> Iterator[tuple[Path, int]]:
    """A folder for one file's content, which everybody may read who may read the file;
    and the user's umask, which says who that is."""
    mask = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="jax-sif-env-") as folder:
            yield Path(folder), mask
    finally:
        os.umask(mask)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Says how long a part took."""
    began_s = time.monotonic()
    yield
    print(f"{time.monotonic() - began_s:8.1f} s  {name}", file=sys.stderr, flush=True)


def _install(
    order: Order, image: made.Image, image_packages: Path, staging: Path, root: Path
) -> tuple[made.Package, ...]:
    report = staging / "report.json"
    words = resolve.command(sys.executable, root, image_packages, report, order.words)
    with _stage("packages"):
        # pip builds where TMPDIR says, and leaves nothing there if it is killed.
        done = subprocess.run(
            words,
            env={**os.environ, "TMPDIR": str(staging)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode:
        raise KitError(resolve.complaint(done.stdout, image.versions, image.name))
    packages = tuple(resolve.installed(json.loads(report.read_text())))
    if not packages:
        raise UsageError(
            "the image has all of these packages already; nothing is to be put on top"
        )
    twice = [p.name for p in packages if p.name in image.versions]
    if twice:
        raise KitError(
            f"pip has installed {', '.join(twice)} once more, which the image has; ask"
            " for it without an address or a file"
        )
    return packages


def _compile(root: Path) -> None:
    """As the image is: nothing can be compiled later, and no time of a file counts."""
    words = [sys.executable, "-I", "-m", "compileall", "-qq", "-j", "0"]
    words += ["--invalidation-mode", "unchecked-hash"]
    # Tracebacks show where the file will be.
    words += ["-s", str(root), "-p", PACKAGES_FOLDER, str(root)]
    # Packages may hold files that are no Python, or that of another version.
    subprocess.run(words, stdin=subprocess.DEVNULL, check=False)


def _content(root: Path) -> str:
    """A checksum of all files, by the lists with checksums that wheels leave behind."""
    digest = hashlib.sha256()
    for record in sorted(root.glob("lib/python*/site-packages/*.dist-info/RECORD")):
        digest.update(record.read_bytes())
    return digest.hexdigest()
