"""The manifest of an overlay: its packages, and whether it suits an image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from jaxsif.core import strict_json
from jaxsif.core.errors import Problem
from jaxsif.core.image import ANY_IMAGE_VARIABLE
from jaxsif.core.text import listed
from jaxsif.overlay import squashfs

SCHEMA = 1

# At the top of the file: the manifest, and a copy of the image's packages.txt, whose
# first line is compared by the image's entry point.
MANIFEST = "packages.json"
IMAGE = "image.txt"
_MAX_CHARS = 4 << 20


@dataclass(frozen=True)
class Image:
    """An image. `key` identifies its packages, Python version and processor."""

    key: str
    name: str
    versions: Mapping[str, str]


# The characters that indexes allow; others could form terminal escape sequences.
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
_Version = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.!+_-]{1,200}$")]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z:+/=_-]{1,200}$")]


@dataclass(frozen=True)
class Package:
    """An installed package.

    `sha256` is that of the wheel or source archive, None if it was a directory;
    `is_requested`: installed explicitly, not as a dependency.
    """

    name: _Name
    version: _Version
    sha256: _Digest | None
    is_requested: bool


@dataclass(frozen=True)
class Manifest:
    """The manifest of a file. `digest` is one of all installed files."""

    image: Image
    packages: tuple[Package, ...]
    digest: str


class _Schema(msgspec.Struct):
    schema: int


class _Facts(_Schema):
    """The content of MANIFEST."""

    digest: _Digest
    packages: tuple[Package, ...]


def parse_image(text: str) -> Image:
    """Parse the image's packages.txt. Raises ValueError if it is malformed."""
    first, *lines = text.splitlines() or [""]
    match = re.fullmatch(r"# ([0-9a-f]{16}) (.+)", first)
    if match is None or not first.isprintable():
        raise ValueError(f"the first line is {first[:80]!r}")
    for line in lines:
        is_pair = re.fullmatch(r"[A-Za-z0-9._-]{1,200}==[^\s=]\S{0,200}", line)
        if not is_pair or not line.isprintable():
            raise ValueError(f"not a package and version: {line[:80]!r}")
    pairs = (line.split("==", 1) for line in lines)
    return Image(match[1], match[2], {name: version for name, version in pairs})


def encode(packages: tuple[Package, ...], digest: str) -> str:
    """The text of MANIFEST."""
    facts = {
        "schema": SCHEMA,
        "digest": digest,
        "packages": [asdict(package) for package in packages],
    }
    return strict_json.encode(facts)


def decode(description: str, image: str) -> Manifest:
    """Decode the texts of MANIFEST and IMAGE. Raises ValueError if malformed."""
    if max(len(description), len(image)) > _MAX_CHARS:
        raise ValueError(f"its description has more than {_MAX_CHARS >> 20} MiB")
    try:
        schema = msgspec.json.decode(description, type=_Schema).schema
        if schema != SCHEMA:
            raise ValueError(f"its schema is {schema!r}, expected {SCHEMA}")
        facts = msgspec.json.decode(description, type=_Facts)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return Manifest(parse_image(image), facts.packages, facts.digest)


def normalize_name(name: str) -> str:
    """Normalize a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements_lines(manifest: Manifest) -> Iterator[str]:
    """The lines of a requirements file that recreates the overlay."""
    usage = "jax-sif packages create NEW.sqsh -r THIS_FILE"
    yield f"# On top of {manifest.image.name}; {usage}"
    # pip requires checksums for all packages or none, and a directory has none.
    has_all = all(package.sha256 for package in manifest.packages)
    for package in manifest.packages:
        line = f"{package.name}=={package.version}"
        if has_all:
            line += f" --hash=sha256:{package.sha256}"
        elif package.sha256 is None:
            line = f"# {line} was a directory; pass it in addition to this file"
        yield line


def differences(other: Image, own: Image) -> list[str]:
    """How an image differs from this one, for example `jax 0.11.0, here 0.12.0`."""
    if other.key == own.key:
        return []
    names = sorted({*other.versions, *own.versions})
    different = [
        f"{name} {other.versions.get(name, 'none')},"
        f" here {own.versions.get(name, 'none')}"
        for name in names
        if other.versions.get(name) != own.versions.get(name)
    ]
    # Only the Python version or the processor differs.
    return different or [f"{other.name}, here {own.name}"]


# The requirements of a package, and the platform it was built for.
_METADATA = (
    "lib/*/site-packages/*.dist-info/METADATA",
    "lib/*/site-packages/*.dist-info/WHEEL",
)


def read(file: Path) -> Manifest:
    """The manifest of the file. Raises UsageError or KitError."""
    description, image = squashfs.read(file, (MANIFEST, IMAGE))
    try:
        return decode(description, image)
    except ValueError as error:
        raise squashfs.foreign_file_error(file, str(error)) from error


def incompatibilities(
    made_for: Image, image: Image, *, is_any_image: bool
) -> Iterator[Problem]:
    """Why packages that were made for a different image may not work on this one."""
    if is_any_image or made_for.key == image.key:
        return
    different = differences(made_for, image)
    yield Problem(
        "packages-incompatible",
        f"the packages were made for {made_for.name}, but this image is"
        f" {image.name}: {listed(different, between='; ')}",
        "create them again on this image: jax-sif packages freeze OLD.sqsh > mine.txt;"
        " jax-sif packages create NEW.sqsh -r mine.txt; or use them anyway:"
        f" {ANY_IMAGE_VARIABLE}=1",
    )


def unmet_requirements(file: Path) -> list[str]:
    """The output of `pip check` on this image, such as `netket 3.23 requires ...`."""
    with tempfile.TemporaryDirectory(prefix="jax-sif-packages-") as scratch:
        root = Path(scratch, "root")
        squashfs.extract(file, root, _METADATA)
        paths = [str(path) for path in root.glob("lib/*/site-packages")]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if not done.returncode:
        return []
    return (done.stdout + done.stderr).strip().splitlines()
