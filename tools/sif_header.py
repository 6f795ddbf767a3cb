"""Sets times and id in a SIF's header, to make builds reproducible; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

# The format's fixed places (SIF 1); its header and its table of descriptors are packed.
_MAGIC, _MAGIC_AT = b"SIF_MAGIC\0" + b"01\0", 32
_IDENTITY_AT, _TIMES_AT, _COUNT_AT, _TABLE_AT = 48, 64, 88, 96
_DESCRIPTOR_BYTES, _DESCRIPTOR_TIMES_AT = 585, 41


class NoSifError(ValueError):
    """The file is none, or of another version of the format."""


def settle(image: Path, time_s: int) -> None:
    """Sets the time at which it was made and changed, and an identity by its content.

    Images that differ must not have the same: bin/image.sh takes a file of the header
    that it knows, and of another content, for a damaged one.
    """
    times = struct.pack("<qq", time_s, time_s)
    with image.open("r+b") as file:
        if _read(file, _MAGIC_AT, len(_MAGIC)) != _MAGIC:
            raise NoSifError(f"{str(image)!r} is no SIF of version 1")
        (count,) = struct.unpack("<q", _read(file, _COUNT_AT, 8))
        (table,) = struct.unpack("<q", _read(file, _TABLE_AT, 8))
        for index in range(count):
            at = table + index * _DESCRIPTOR_BYTES
            if any(_read(file, at, 5)):
                _write(file, at + _DESCRIPTOR_TIMES_AT, times)
        _write(file, _TIMES_AT, times)
        _write(file, _IDENTITY_AT, _digest(file, _TIMES_AT)[:16])


def _digest(file: BinaryIO, start: int) -> bytes:
    found = hashlib.sha256()
    file.seek(start)
    while piece := file.read(1 << 20):
        found.update(piece)
    return found.digest()


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _write(file: BinaryIO, at: int, content: bytes) -> None:
    file.seek(at)
    file.write(content)
