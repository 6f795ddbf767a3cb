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
from pathlib import Path
from typing import Any, NoReturn

from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.image import IMAGE_PACKAGES, PACKAGES_DIR
from jaxsif.core.text import MAX_NAMED, listed
from jaxsif.overlay import manifest, squashfs
from jaxsif.overlay.manifest import Image, Manifest, Package, normalize_name

# The image's packages as constraints for pip (tools/image_manifest.py).
IMAGE_PACKAGES_FILE = Path(IMAGE_PACKAGES)


def read_image() -> Image:
    """The image that this runs in. Raises KitError outside an image."""
    path = IMAGE_PACKAGES_FILE
    try:
        return manifest.parse_image(path.read_text())
    except (OSError, ValueError) as error:
        raise KitError(
            f"cannot read the image's packages from {str(path)!r} ({error}); this"
            " command works in an image only: load the module and run its jax-sif"
        ) from error


def create(
    target: Path, pip_args: Sequence[str], *, is_replaced: bool = False
) -> Manifest:
    """Write the overlay file atomically, or raise and leave nothing behind.

    Args:
      pip_args: options of `pip install`, then requirements.
      is_replaced: whether an existing file is replaced.
    """
    image = read_image()
    _check_target(target, is_replaced)
    with _exit_on_signals(), _staging() as (staging, mask):
        root = staging / "root"
        root.mkdir()
        with _timed("packages"):
            packages = _install(pip_args, image, staging, root)
        with _timed("byte code"):
            _compile(root)
        digest = _digest(root)
        (root / manifest.MANIFEST).write_text(manifest.encode(packages, digest))
        shutil.copyfile(IMAGE_PACKAGES_FILE, root / manifest.IMAGE)
        with _timed("one file"):
            mode = 0o666 & ~mask
            squashfs.write(root, target, is_replaced=is_replaced, mode=mode)
    return Manifest(image, packages, digest)


def _check_target(target: Path, is_replaced: bool) -> None:
    """Fail early, before minutes are spent on the packages."""
    directory = target.parent
    if not directory.is_dir():
        raise UsageError(
            f"the container sees no directory {str(directory)!r}; create it, or choose"
            " another"
        )
    if not os.access(directory, os.W_OK):
        raise UsageError(
            f"no permission to write into {str(directory)!r}; choose another directory"
        )
    if target.exists() and not target.is_file():
        raise UsageError(f"{str(target)!r} is not a file; choose another name")
    if target.exists() and not is_replaced:
        raise squashfs.target_exists_error(target)
    if Path(PACKAGES_DIR, manifest.IMAGE).exists():
        raise UsageError(
            "an overlay is mounted already, and its packages would count as the"
            " image's; unset JAX_SIF_PACKAGES"
        )


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Clean up when the job is cancelled or the terminal closed."""

    def exit_on_signal(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    previous = [signal.signal(number, exit_on_signal) for number in numbers]
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


@contextmanager
def _staging() -> Iterator[tuple[Path, int]]:
    """A world-readable directory for the content, and the user's umask for the file."""
    mask = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="jax-sif-packages-") as name:
            yield Path(name), mask
    finally:
        os.umask(mask)


@contextmanager
def _timed(stage: str) -> Iterator[None]:
    """Print how long a stage took."""
    start_s = time.monotonic()
    yield
    print(f"{time.monotonic() - start_s:8.1f} s  {stage}", file=sys.stderr, flush=True)


def _install(
    pip_args: Sequence[str], image: Image, staging: Path, root: Path
) -> tuple[Package, ...]:
    report = staging / "report.json"
    # pip builds in TMPDIR, which is removed even if pip is killed.
    done = subprocess.run(
        _pip_command(root, report, pip_args),
        env={**os.environ, "TMPDIR": str(staging)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise KitError(explain_pip_error(done.stdout, image.versions, image.name))
    packages = tuple(_installed(json.loads(report.read_text())))
    if not packages:
        raise UsageError(
            "the image has all of these packages already; no overlay is needed"
        )
    duplicates = [p.name for p in packages if p.name in image.versions]
    if duplicates:
        raise KitError(
            f"pip installed {', '.join(duplicates)} again, which the image has; request"
            " it by name, not by a URL or file"
        )
    return packages


def _pip_command(root: Path, report: Path, pip_args: Sequence[str]) -> list[str]:
    """With --target, pip would install the image's packages again."""
    return [
        # Isolated from PYTHONPATH and the user's site-packages.
        *(sys.executable, "-I", "-m", "pip", "install"),
        *("--prefix", str(root), "--constraint", str(IMAGE_PACKAGES_FILE)),
        *("--report", str(report), "--no-user", "--no-compile", "--prefer-binary"),
        *("--no-warn-script-location", "--disable-pip-version-check"),
        *("--progress-bar", "off", "--no-input", *pip_args),
    ]


def _installed(report: Mapping[str, Any]) -> Iterator[Package]:
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


def _compile(root: Path) -> None:
    """Compile byte code like the image's: read-only, so independent of file times."""
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
_REQUESTED = re.compile(r"The user requested (?!\(constraint\))(.+)")
_CONSTRAINT = re.compile(r"The user requested \(constraint\) (\S+?)==(\S+)")
_NAME = re.compile(r"[A-Za-z0-9._-]+")

_NO_NETWORK = re.compile(r"connection broken by|Could not fetch URL|Max retries")


def explain_pip_error(output: str, image: Mapping[str, str], python: str) -> str:
    """Explain pip's output. `image`: the versions of the image's packages."""
    conflict = _CONFLICT.search(output)
    if conflict:
        return _explain_conflict(conflict[1].splitlines(), image)
    if "No space left" in output or "Disk quota exceeded" in output:
        return (
            "the disk of TMPDIR is full; choose a directory with more space:"
            " TMPDIR=/scratch/me jax-sif packages create ..."
        )
    missing = re.search(r"No matching distribution found for (.+)", output)
    if missing and _NO_NETWORK.search(output):
        return (
            f"cannot reach the package index for {missing[1]!r}; run this on a node"
            " with network (a login node), or with wheels: --no-index --find-links"
            " DIRECTORY"
        )
    if missing:
        return _explain_missing(missing[1], output, python)
    old = re.search(
        r"Package '(.{1,200})' requires a different Python: (\S{1,60}) not in"
        r" '(.{1,200})'",
        output,
    )
    if old:
        return (
            f"{old[1]} requires Python {old[3]}, the image has {old[2]}; request a"
            " different version of it, or use a different image"
        )
    built = re.search(r"Failed (?:to build|building wheel for) (.+)", output)
    if built:
        return (
            f"{built[1]} is distributed as source, and its build failed: the image has"
            " no compiler; build a wheel for this Python elsewhere and pass its"
            f" directory: --find-links DIRECTORY. pip's error: {_last_error(output)}"
        )
    return f"pip failed: {_last_error(output)}"


def _explain_conflict(lines: Sequence[str], image: Mapping[str, str]) -> str:
    """`netket 3.23 requires jax<0.11, the image has jax 0.12.0.1`"""
    requirements: list[tuple[str, str]] = []
    pinned: dict[str, str] = {}
    for line in map(str.strip, lines):
        if match := _CONSTRAINT.match(line):
            pinned[normalize_name(match[1])] = match[2]
        elif match := _REQUESTED.match(line):
            requirements.append(("you request", match[1]))
        elif match := _DEPENDS.match(line):
            requirements.append((f"{match[1]} {match[2]} requires", match[3]))
    conflict = listed((f"{who} {what}" for who, what in requirements), between="; ")
    if not pinned:
        return f"the requirements conflict: {conflict}; request different versions"
    for _, requirement in sorted(requirements, key=lambda pair: pair[1]):
        match = _NAME.match(requirement)
        name = normalize_name(match[0]) if match else ""
        if name in image:
            pinned.setdefault(name, image[name])
    versions = ", ".join(f"{name} {version}" for name, version in pinned.items())
    return (
        f"{conflict}; the image has {versions}, which is never replaced;"
        " request a different version of the package, or use an image that fits it"
        " (module avail jax-sif)"
    )


def _explain_missing(what: str, output: str, python: str) -> str:
    versions = output.partition("(from versions: ")[2].partition(")")[0]
    known = versions.split(", ")
    if known in ([""], ["none"]):
        return (
            f"there is no package {what!r} for {python} in pip's index or directory;"
            " check its name"
        )
    newest = ", ".join(known[-MAX_NAMED:])
    return f"there is no {what!r} for {python}; the newest available: {newest}"


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [x.removeprefix("ERROR: ") for x in lines if x.startswith("ERROR: ")]
    return (errors or lines or ["nothing"])[-1]
