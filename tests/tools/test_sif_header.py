"""A SIF's header: times and identity are set, and nothing else."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import sif_header

TABLE = 4096


def sif(path: Path, seed: int) -> Path:
    """The head of a file as Apptainer 1.4 writes it, of a certain time and identity."""
    image = bytearray(8192)
    image[32:48] = b"SIF_MAGIC\x0001\x0002\x00"
    image[48:64] = bytes([seed]) * 16
    times = struct.pack("<qq", seed, seed)
    image[64:80] = times
    struct.pack_into("<qqq", image, 80, 1, 3, TABLE)
    for index in range(2):
        at = TABLE + 585 * index
        struct.pack_into("<iBIIIqqq", image, at, 16385, 1, index, 0, 0, 1, 2, 3)
        image[at + 41 : at + 57] = times
    path.write_bytes(image)
    return path


def test_two_builds_of_the_same_become_the_same_file(tmp_path: Path) -> None:
    one, other = (sif(tmp_path / str(seed), seed) for seed in (3, 4))

    for image in (one, other):
        sif_header.settle(image, 1790000000)

    assert one.read_bytes() == other.read_bytes()
    # A descriptor that is not used stays as it was.
    assert not any(one.read_bytes()[TABLE + 585 * 2 : TABLE + 585 * 3])


def test_another_image_has_another_identity(tmp_path: Path) -> None:
    one, other = (sif(tmp_path / str(seed), 3) for seed in (3, 4))
    with other.open("ab") as file:
        file.write(b"more")
    sif_header.settle(one, 1790000000)
    sif_header.settle(other, 1790000000)

    assert one.read_bytes()[48:64] != other.read_bytes()[48:64]


def test_what_is_no_sif_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "image.sif"
    other.write_bytes(b"hsqs" * 100)

    with pytest.raises(sif_header.NoSifError):
        sif_header.settle(other, 1790000000)

    assert other.read_bytes() == b"hsqs" * 100
