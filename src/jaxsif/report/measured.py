"""What the ranks have measured, as typed values; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from jaxsif.core.errors import UsageError
from jaxsif.report.document import Rank, Verdict


class Bandwidth(msgspec.Struct, frozen=True):
    """One rank's times of a collective; `size_bytes` is nccl-tests' size."""

    collective: str
    dtype: str
    size_bytes: int
    times_us: tuple[float, ...]
    devices: int
    count: int | None = None
    chained: int | None = None
    compile_s: float | None = None
    wrong: int = 0


class Pair(msgspec.Struct, frozen=True):
    """One rank's times of an exchange with a rank of another node."""

    partner: int
    partner_node: str
    size_bytes: int
    times_us: tuple[float, ...] = ()
    round: int = 0
    kind: str = ""
    wrong: int = 0
    timed_out: bool = False
    # The switch above the rank's node, "" where Slurm tells none.
    place: str | None = None


class Nic(msgspec.Struct, frozen=True):
    """A network card of a node."""

    name: str
    kind: str
    gb_per_s: float | None = None
    is_active: bool = True


class Fabric(msgspec.Struct, frozen=True):
    """What connects a node's GPUs, and the node with others."""

    gpu: str | None = None
    gpus: int = 0
    nvlink_gb_per_s: float | None = None
    nics: tuple[Nic, ...] = ()


class Transport(msgspec.Struct, frozen=True):
    """The network that a node's collectives really used."""

    words: str
    by: str = ""


T = TypeVar("T", bound=msgspec.Struct)


def told(verdict: Verdict, phase: str, kind: type[T]) -> Iterator[tuple[Rank, T]]:
    """Every record of a measured phase with its rank, in the order of telling.

    Raises UsageError for a record that is not as the schema says.
    """
    for rank in verdict.ranks:
        for record in rank.measured:
            if record.get("phase") == phase:
                yield rank, _converted(record, kind, rank)


def _converted(record: object, kind: type[T], rank: Rank) -> T:
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"a {kind.__name__.lower()} record of rank {rank.rank} on {rank.node} is not"
            f" as the schema says: {error}; judge the job's output again with jax-sif"
            " verify --verdict-file FILE"
        ) from error
