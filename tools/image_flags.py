"""Lists XLA's flags, so that jax-sif can name a wrong one; run by image_post.sh."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import mmap
import re
import sys
from collections.abc import Iterator
from pathlib import Path

KIT = Path("/opt/jax-sif")

# XLA cannot be asked: its own list (XLA_FLAGS=--help) is cut off after 78 flags. So
# every C string that may be a flag's name is taken, and some that are none.
NAME = re.compile(rb"xla_[a-z0-9_]*[a-z0-9](?=\0)")
# Names of files, as protobuf writes them, and lists of names without a gap.
_NO_FLAG = re.compile(r"_2[ef]|^.{200}")


def main(packages: Path) -> None:
    names = {name for library in libraries(packages) for name in flags(library)}
    (KIT / "xla_flags.txt").write_text("".join(f"{name}\n" for name in sorted(names)))


def libraries(packages: Path) -> Iterator[Path]:
    """jaxlib's own libraries and those of its plugins, which bring XLA once more."""
    for folder in ("jaxlib", "jax_plugins"):
        yield from sorted((packages / folder).rglob("*.so"))


def flags(library: Path) -> set[str]:
    """The names in one library; half a gigabyte takes half a second."""
    with (
        library.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        names = {match[0].decode() for match in NAME.finditer(content)}
    return {name for name in names if not _NO_FLAG.search(name)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
