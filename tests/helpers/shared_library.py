"""Makes small shared libraries of whole numbers, and of functions that return one, without a compiler."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping

# ELF for 64-bit machines (elf(5)): a header, two program headers, and one segment with
# what the dynamic loader needs to find a symbol.
_MACHINES = {"x86_64": 62, "aarch64": 183}
_HEADER_BYTES, _PROGRAM_BYTES, _SYMBOL_BYTES = 64, 56, 24
_PAGE = 0x10000
_LOAD, _DYNAMIC = 1, 2
_HASH, _STRINGS, _SYMBOLS, _STRINGS_BYTES, _SYMBOL_SIZE = 4, 5, 6, 10, 11
_GLOBAL_OBJECT = 1 << 4 | 1
_ANY_SECTION = 1


def shared_library(
    numbers: Mapping[str, int], functions: Mapping[str, int] | None = None
) -> bytes:
    """The file of a library with an `int` of each name.

    Args:
      functions: each `int f(void *, int *number)` with the number that it sets.

    Raises KeyError on machines other than x86_64 and aarch64.
    """
    functions = functions or {}
    # Each in a place of its own size, wherever that is.
    contents = {name: struct.pack("<iiii", n, 0, 0, 0) for name, n in numbers.items()}
    contents |= {name: _function(number) for name, number in functions.items()}
    return _library(contents)


def _function(number: int) -> bytes:
    """Stores a small number where the second argument points to, and returns 0."""
    if platform.machine() == "x86_64":
        # mov dword [rsi], number; xor eax, eax; ret
        return (b"\xc7\x06" + struct.pack("<i", number) + b"\x31\xc0\xc3").ljust(16)
    # mov w2, number; str w2, [x1]; mov w0, 0; ret
    return struct.pack(
        "<IIII", 0x52800002 | number << 5, 0xB9000022, 0x52800000, 0xD65F03C0
    )


def _library(numbers: Mapping[str, bytes]) -> bytes:
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in numbers)
    values = b"".join(numbers.values())
    count = len(numbers) + 1
    # One bucket, in which each symbol leads to the next: the loader walks them all.
    chain = [*range(2, count), 0] if numbers else []
    hashes = [1, count, 1 if numbers else 0, 0, *chain]
    place = _HEADER_BYTES + 2 * _PROGRAM_BYTES
    hash_at = place
    symbols_at = _aligned(hash_at + 4 * len(hashes))
    strings_at = symbols_at + _SYMBOL_BYTES * count
    values_at = _aligned(strings_at + len(strings))
    dynamic_at = _aligned(values_at + len(values))
    entries = [
        (_HASH, hash_at),
        (_STRINGS, strings_at),
        (_SYMBOLS, symbols_at),
        (_STRINGS_BYTES, len(strings)),
        (_SYMBOL_SIZE, _SYMBOL_BYTES),
        (0, 0),
    ]
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    size = dynamic_at + len(dynamic)
    content = bytearray(size)
    pieces = {
        0: _header(),
        _HEADER_BYTES: _program(_LOAD, 0, size)
        + _program(_DYNAMIC, dynamic_at, len(dynamic)),
        hash_at: struct.pack(f"<{len(hashes)}I", *hashes),
        symbols_at: _symbols(numbers, strings, values_at),
        strings_at: strings,
        values_at: values,
        dynamic_at: dynamic,
    }
    for at, piece in pieces.items():
        content[at : at + len(piece)] = piece
    return bytes(content)


def _aligned(place: int) -> int:
    return (place + 15) // 16 * 16


def _header() -> bytes:
    magic = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    shared_object, version = 3, 1
    machine = _MACHINES[platform.machine()]
    sizes = (_HEADER_BYTES, _PROGRAM_BYTES, 2, 64, 0, 0)
    return magic + struct.pack(
        "<HHIQQQI6H", shared_object, machine, version, 0, _HEADER_BYTES, 0, 0, *sizes
    )


def _program(kind: int, at: int, size: int) -> bytes:
    everything = 7
    alignment = _PAGE if kind == _LOAD else 8
    return struct.pack("<IIQQQQQQ", kind, everything, at, at, at, size, size, alignment)


def _symbols(numbers: Mapping[str, bytes], strings: bytes, values_at: int) -> bytes:
    table = bytes(_SYMBOL_BYTES)
    for index, name in enumerate(numbers):
        name_at = strings.index(b"\0" + name.encode() + b"\0") + 1
        table += struct.pack(
            "<IBBHQQ",
            name_at,
            _GLOBAL_OBJECT,
            0,
            _ANY_SECTION,
            values_at + 16 * index,
            16,
        )
    return table
