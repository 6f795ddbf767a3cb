"""What a file of packages says of itself: its packages, and the image that it was made for; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec

from jaxsif.core import strict_json

SCHEMA = 1

# In the file's top folder: this description, and a copy of the image's packages.txt,
# whose first line the image's entry compares with its own.
DESCRIPTION = "env.json"
IMAGE = "image.txt"
_MOST_TEXT = 4 << 20


@dataclass(frozen=True)
class Image:
    """An image by its packages. Another `key`: other packages, Python or processor."""

    key: str
    name: str
    versions: Mapping[str, str]


# What indexes allow; another name could be an escape sequence to a terminal.
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
_Version = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.!+_-]{1,200}$")]
_Sum = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z:+/=_-]{1,200}$")]


@dataclass(frozen=True)
class Package:
    """`sha256` is that of the wheel or source archive, None for what was a folder;
    `is_asked`: a person has named it, and not another package."""

    name: _Name
    version: _Version
    sha256: _Sum | None
    is_asked: bool


@dataclass(frozen=True)
class Manifest:
    """What a file says. `content` is a checksum of every installed file."""

    image: Image
    packages: tuple[Package, ...]
    content: str


class _Schema(msgspec.Struct):
    schema: int


class _Facts(_Schema):
    """What DESCRIPTION holds."""

    content: _Sum
    packages: tuple[Package, ...]


def parse_image(text: str) -> Image:
    """Of the image's packages.txt. Raises ValueError for any other text."""
    first, *lines = text.splitlines() or [""]
    found = re.fullmatch(r"# ([0-9a-f]{16}) (.+)", first)
    if found is None or not first.isprintable():
        raise ValueError(f"the first line is {first[:80]!r}")
    for line in lines:
        is_pair = re.fullmatch(r"[A-Za-z0-9._-]{1,200}==[^\s=]\S{0,200}", line)
        if not is_pair or not line.isprintable():
            raise ValueError(f"no package and version: {line[:80]!r}")
    pairs = (line.split("==", 1) for line in lines)
    return Image(found[1], found[2], {name: version for name, version in pairs})


def encode(packages: tuple[Package, ...], content: str) -> str:
    """The text of DESCRIPTION."""
    facts = {
        "schema": SCHEMA,
        "content": content,
        "packages": [asdict(package) for package in packages],
    }
    return strict_json.encode(facts)


def decode(description: str, image: str) -> Manifest:
    """From the texts of DESCRIPTION and IMAGE. Raises ValueError for others."""
    if max(len(description), len(image)) > _MOST_TEXT:
        raise ValueError(f"more than {_MOST_TEXT >> 20} MiB of description")
    try:
        schema = msgspec.json.decode(description, type=_Schema).schema
        if schema != SCHEMA:
            raise ValueError(f"its schema is {schema!r}, expected {SCHEMA}")
        facts = msgspec.json.decode(description, type=_Facts)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return Manifest(parse_image(image), facts.packages, facts.content)


def normal(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def frozen(made: Manifest) -> Iterator[str]:
    """The lines of a requirements file that makes the same again."""
    yield f"# On top of {made.image.name}; jax-sif env create NEW.sqsh -r THIS_FILE"
    # pip wants checksums of all packages or of none, and a folder has none.
    has_all = all(package.sha256 for package in made.packages)
    for package in made.packages:
        line = f"{package.name}=={package.version}"
        if has_all:
            line += f" --hash=sha256:{package.sha256}"
        elif package.sha256 is None:
            line = f"# {line} was a folder; name it again beside this file"
        yield line


def differences(theirs: Image, ours: Image) -> list[str]:
    """What the image `theirs` has otherwise than `ours`, as `jax 0.11.0, here 0.12.0`."""
    if theirs.key == ours.key:
        return []
    names = sorted({*theirs.versions, *ours.versions})
    found = [
        f"{name} {theirs.versions.get(name, 'none')},"
        f" here {ours.versions.get(name, 'none')}"
        for name in names
        if theirs.versions.get(name) != ours.versions.get(name)
    ]
    # Neither the Python nor the processor is a package.
    return found or [f"{theirs.name}, here {ours.name}"]
