"""Installs packages into a folder and writes it as an overlay file."""
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
from jaxsif.overlay import manifest, resolve, squash

# The image's packages as constraints for pip (tools/image_manifest.py).
IMAGE_PACKAGES = Path("/opt/jax-sif/packages.txt")


@dataclass(frozen=True)
class CreateRequest:
    """The options of `jax-sif env create`; `pip_args` are options, then requirements."""

    target: Path
    pip_args: tuple[str, ...]
    is_replaced: bool = False


@dataclass(frozen=True)
class Created:
    """The file that was created."""

    manifest: manifest.Manifest
    size_bytes: int


def read_image(path: Path = IMAGE_PACKAGES) -> manifest.Image:
    """The image that this runs in. Raises KitError outside an image."""
    try:
        return manifest.parse_image(path.read_text())
    except (OSError, ValueError) as error:
        raise KitError(
            f"cannot read the image's packages from {str(path)!r} ({error}); this"
            " command works in an image only: load the module and run its jax-sif"
        ) from error


def create(order: CreateRequest, image_packages: Path = IMAGE_PACKAGES) -> Created:
    """Writes the file atomically, or raises and leaves nothing behind."""
    image = read_image(image_packages)
    _check_target(order)
    with _ended_by_signals(), _staging() as (staging, mask):
        root = staging / "root"
        root.mkdir()
        packages = _install(order, image, image_packages, staging, root)
        with _stage("byte code"):
            _compile(root)
        content = _digest(root)
        (root / manifest.DESCRIPTION).write_text(manifest.encode(packages, content))
        shutil.copyfile(image_packages, root / manifest.IMAGE)
        with _stage("one file"):
            squash.write(
                root, order.target, is_replaced=order.is_replaced, mode=0o666 & ~mask
            )
    return Created(
        manifest.Manifest(image, packages, content), order.target.stat().st_size
    )


def _check_target(order: CreateRequest) -> None:
    """Fails early, before minutes are spent on the packages."""
    folder = order.target.parent
    if not folder.is_dir():
        raise UsageError(
            f"the container sees no folder {str(folder)!r}; create it, or choose another"
        )
    if not os.access(folder, os.W_OK):
        raise UsageError(
            f"no permission to write into {str(folder)!r}; choose another folder"
        )
    if order.target.exists() and not order.target.is_file():
        raise UsageError(f"{str(order.target)!r} is not a file; choose another name")
    if order.target.exists() and not order.is_replaced:
        raise UsageError(squash.check_target_free(order.target))
    if Path(PACKAGES_FOLDER, manifest.IMAGE).exists():
        raise UsageError(
            "an overlay is mounted already, and its packages would count as the image's;"
            " unset JAX_SIF_ENV"
        )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Cleans up when the job is cancelled or the terminal closed."""

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
    """A world-readable folder for the content, and the user's umask for the file."""
    mask = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="jax-sif-env-") as folder:
            yield Path(folder), mask
    finally:
        os.umask(mask)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Prints how long a stage took."""
    began_s = time.monotonic()
    yield
    print(f"{time.monotonic() - began_s:8.1f} s  {name}", file=sys.stderr, flush=True)


def _install(
    order: CreateRequest,
    image: manifest.Image,
    image_packages: Path,
    staging: Path,
    root: Path,
) -> tuple[manifest.Package, ...]:
    report = staging / "report.json"
    args = resolve.command(sys.executable, root, image_packages, report, order.pip_args)
    with _stage("packages"):
        # pip builds in TMPDIR, which is removed even if pip is killed.
        done = subprocess.run(
            args,
            env={**os.environ, "TMPDIR": str(staging)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode:
        raise KitError(
            resolve.explain_pip_error(done.stdout, image.versions, image.name)
        )
    packages = tuple(resolve.installed(json.loads(report.read_text())))
    if not packages:
        raise UsageError(
            "the image has all of these packages already; no overlay is needed"
        )
    twice = [p.name for p in packages if p.name in image.versions]
    if twice:
        raise KitError(
            f"pip installed {', '.join(twice)} again, which the image has; request"
            " it by name, not by a URL or file"
        )
    return packages


def _compile(root: Path) -> None:
    """Compiles byte code like the image's: read-only, so independent of file times."""
    args = [sys.executable, "-I", "-m", "compileall", "-qq", "-j", "0"]
    args += ["--invalidation-mode", "unchecked-hash"]
    # Tracebacks show the path below the mount point.
    args += ["-s", str(root), "-p", PACKAGES_FOLDER, str(root)]
    # Packages may contain files that are not valid for this Python.
    subprocess.run(args, stdin=subprocess.DEVNULL, check=False)


def _digest(root: Path) -> str:
    """A checksum of all files, from the RECORD files of the wheels."""
    digest = hashlib.sha256()
    for record in sorted(root.glob("lib/python*/site-packages/*.dist-info/RECORD")):
        digest.update(record.read_bytes())
    return digest.hexdigest()
