"""Install packages with pip into a directory, and write it as an overlay file."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.paths import IMAGE_PACKAGES, PACKAGES_DIR
from jaxsif.core.text import MAX_NAMED, listed
from jaxsif.overlay import manifest, squashfs
from jaxsif.overlay.manifest import Package, normalize_name

# The image's packages as constraints for pip (tools/image_manifest.py).
_IMAGE_PACKAGES = Path(IMAGE_PACKAGES)


@dataclass(frozen=True)
class CreateRequest:
    """Options of `jax-sif packages create`; `pip_args`: options, then requirements."""

    target: Path
    pip_args: tuple[str, ...]
    is_replaced: bool = False


@dataclass(frozen=True)
class Created:
    """The file that was created."""

    manifest: manifest.Manifest
    size_bytes: int


def read_image(path: Path = _IMAGE_PACKAGES) -> manifest.Image:
    """The image that this runs in. Raises KitError outside an image."""
    try:
        return manifest.parse_image(path.read_text())
    except (OSError, ValueError) as error:
        raise KitError(
            f"cannot read the image's packages from {str(path)!r} ({error}); this"
            " command works in an image only: load the module and run its jax-sif"
        ) from error


def create(order: CreateRequest, image_packages: Path = _IMAGE_PACKAGES) -> Created:
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
            squashfs.write(
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
        raise UsageError(squashfs.check_target_free(order.target))
    if Path(PACKAGES_DIR, manifest.IMAGE).exists():
        raise UsageError(
            "an overlay is mounted already, and its packages would count as the image's;"
            " unset JAX_SIF_PACKAGES"
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
    args = command(sys.executable, root, image_packages, report, order.pip_args)
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
        raise KitError(explain_pip_error(done.stdout, image.versions, image.name))
    packages = tuple(installed(json.loads(report.read_text())))
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
    args += ["-s", str(root), "-p", PACKAGES_DIR, str(root)]
    # Packages may contain files that are not valid for this Python.
    subprocess.run(args, stdin=subprocess.DEVNULL, check=False)


def _digest(root: Path) -> str:
    """A checksum of all files, from the RECORD files of the wheels."""
    digest = hashlib.sha256()
    for record in sorted(root.glob("lib/python*/site-packages/*.dist-info/RECORD")):
        digest.update(record.read_bytes())
    return digest.hexdigest()


# pip's messages about conflicting versions, in their order.
_CONFLICT = re.compile(
    r"^The conflict is caused by:\n((?: {4}.+\n)+)(?:\n|\Z)", re.MULTILINE
)
_DEPENDS = re.compile(r"(\S+) (\S+) depends on (.+)")
_ASKED = re.compile(r"The user requested (?!\(constraint\))(.+)")
_GIVEN = re.compile(r"The user requested \(constraint\) (\S+?)==(\S+)")
_NAME = re.compile(r"[A-Za-z0-9._-]+")

_NO_NETWORK = re.compile(r"connection broken by|Could not fetch URL|Max retries")


def command(
    python: str, folder: Path, constraints: Path, report: Path, pip_args: Sequence[str]
) -> list[str]:
    """The command that installs packages into a folder.

    With --target, pip would install the image's packages again.
    """
    return [
        # Isolated from PYTHONPATH and the user's site-packages.
        *(python, "-I", "-m", "pip", "install"),
        *("--prefix", str(folder), "--constraint", str(constraints)),
        *("--report", str(report), "--no-user", "--no-compile", "--prefer-binary"),
        *("--no-warn-script-location", "--disable-pip-version-check"),
        *("--progress-bar", "off", "--no-input", *pip_args),
    ]


def installed(report: Mapping[str, Any]) -> Iterator[Package]:
    """The packages in pip's installation report, by name."""
    for item in sorted(
        report["install"], key=lambda i: normalize_name(i["metadata"]["name"])
    ):
        archive = item["download_info"].get("archive_info", {})
        yield Package(
            name=normalize_name(item["metadata"]["name"]),
            version=item["metadata"]["version"],
            sha256=archive.get("hashes", {}).get("sha256"),
            is_requested=item["requested"],
        )


def explain_pip_error(output: str, image: Mapping[str, str], python: str) -> str:
    """Explain pip's output. `image`: the versions of the image's packages."""
    conflict = _CONFLICT.search(output)
    if conflict:
        return _conflict(conflict[1].splitlines(), image)
    if "No space left" in output or "Disk quota exceeded" in output:
        return (
            "the disk of TMPDIR is full; choose a folder with more space:"
            " TMPDIR=/scratch/me jax-sif packages create ..."
        )
    missing = re.search(r"No matching distribution found for (.+)", output)
    if missing and _NO_NETWORK.search(output):
        return (
            f"cannot reach the package index for {missing[1]!r}; run this on a"
            " node with network (a login node), or with wheels: --no-index --find-links FOLDER"
        )
    if missing:
        return _missing(missing[1], output, python)
    old = re.search(
        r"Package '(.{1,200})' requires a different Python: (\S{1,60}) not in"
        r" '(.{1,200})'",
        output,
    )
    if old:
        return (
            f"{old[1]} requires Python {old[3]}, the image has {old[2]}; request a different"
            " version of it, or use a different image"
        )
    built = re.search(r"Failed (?:to build|building wheel for) (.+)", output)
    if built:
        return (
            f"{built[1]} is distributed as source, and its build failed: the image has no"
            " compiler; build a wheel for this Python elsewhere and pass its folder:"
            f" --find-links FOLDER. pip's error: {_last_error(output)}"
        )
    return f"pip failed: {_last_error(output)}"


def _conflict(lines: Sequence[str], image: Mapping[str, str]) -> str:
    """`netket 3.23 requires jax<0.11, the image has jax 0.12.0.1`"""
    wanted, given = [], {}
    for line in map(str.strip, lines):
        if found := _GIVEN.match(line):
            given[normalize_name(found[1])] = found[2]
        elif found := _ASKED.match(line):
            wanted.append(("you request", found[1]))
        elif found := _DEPENDS.match(line):
            wanted.append((f"{found[1]} {found[2]} requires", found[3]))
    conflict = listed((f"{who} {what}" for who, what in wanted), between="; ")
    if not given:
        return f"the requirements conflict: {conflict}; request different versions"
    names = {found[0] for _, what in wanted if (found := _NAME.match(what))}
    has = [f"{name} {version}" for name, version in given.items()]
    has += [
        f"{normalize_name(name)} {image[normalize_name(name)]}"
        for name in sorted(names)
        if normalize_name(name) in image and normalize_name(name) not in given
    ]
    return (
        f"{conflict}; the image has {', '.join(has)}, which is never replaced;"
        " request a different version of the package, or use an image that fits it"
        " (module avail jax-sif)"
    )


def _missing(what: str, output: str, python: str) -> str:
    versions = output.partition("(from versions: ")[2].partition(")")[0]
    known = versions.split(", ")
    if known in ([""], ["none"]):
        return (
            f"there is no package {what!r} for {python} in pip's index or folder; check its"
            " name"
        )
    some = ", ".join(known[-MAX_NAMED:])
    return f"there is no {what!r} for {python}; the newest available: {some}"


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [x.removeprefix("ERROR: ") for x in lines if x.startswith("ERROR: ")]
    return (errors or lines or ["nothing"])[-1]
