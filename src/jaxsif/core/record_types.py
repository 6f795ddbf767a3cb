"""The facts that a record of each phase holds, and their types."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from jaxsif.core.records import CorruptRecord, Record
from jaxsif.core.topology import MAX_PROCESSES

Rank = Annotated[int, Meta(ge=0, lt=MAX_PROCESSES)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
Limit = Annotated[int, Meta(gt=0, le=1024)]
# Neither NaN nor infinity, and no more than what arithmetic on it bears.
Number = Annotated[float, Meta(ge=-1e18, le=1e18)]


class _Any(Struct):
    """What every record has; a phase that is not known here has nothing more."""

    rank: Rank
    step: Annotated[str, Meta(pattern=r"^(.*\.)?[^.]{0,18}$", max_length=512)]
    node: Annotated[str, Meta(max_length=255)]
    time: Number
    phase: Annotated[str, Meta(max_length=64)]


class _Started(_Any, kw_only=True):
    processes: Count
    local_rank: Rank | None = None
    nodes: str | None = None
    topology: str | None = None
    platform: str | None = None
    network: str | None = None
    image: str | None = None
    packages: str | None = None
    program: str | None = None
    may_miss: Annotated[list[Limit], Meta(min_length=2, max_length=2)] | None = None
    began: Number | None = None
    entered: Number | None = None


class _Connected(_Any, kw_only=True):
    process_index: Rank
    process_count: Count
    jax: str | None = None
    jaxlib: str | None = None
    has_met: bool = False
    checked: Number | None = None
    imported: Number | None = None


class _Device(Struct):
    id: int | None = None
    kind: str | None = None
    uuid: str | None = None


class _Devices(_Any, kw_only=True):
    backend: str
    local: list[_Device]
    total: Count
    nccl: str | None = None


class _Allreduce(_Any, kw_only=True):
    # A device that computes wrongly may give any number, and what is none.
    got: float
    wrong: Count
    expected: Count | None = None


class _Identity(_Any, kw_only=True):
    foreign: Count
    slots: list[Annotated[list[Count], Meta(min_length=1)]]


class _Trouble(Struct):
    kind: str
    text: str
    remedy: str
    ranks: list[Rank] | None = None


class _Troubled(_Any, kw_only=True):
    error: str | None = None
    problems: list[_Trouble] | None = None


class _Place(Struct):
    count: Count
    place: str
    ranks: list[Rank]


class _Waiting(_Any, kw_only=True):
    for_s: Number
    line: str | None = None
    missing: str | None = None
    where: str | None = None
    apart: list[_Place] | None = None


class _Bandwidth(_Any, kw_only=True):
    collective: str
    dtype: str
    size_bytes: Count
    devices: Count
    times_us: list[Number]
    wrong: Count
    local_us: list[Number] | None = None
    count: Count | None = None
    chained: Count | None = None
    compile_s: Number | None = None


class _Pair(_Any, kw_only=True):
    round: Count
    partner: Rank
    partner_node: str
    size_bytes: Count
    times_us: list[Number]
    timed_out: bool
    wrong: Count = 0
    kind: str | None = None
    place: str | None = None
    chained: Count | None = None


class _Nic(Struct):
    gb_per_s: Number
    is_active: bool
    name: str | None = None
    kind: str | None = None


class _Fabric(_Any, kw_only=True):
    nics: list[_Nic]
    gpu: str | None = None
    gpus: Count | None = None
    nvlink_gb_per_s: Number | None = None


class _Transport(_Any, kw_only=True):
    kind: str
    words: str
    by: str | None = None
    within: str | None = None
    gpudirect: bool | None = None
    why: list[str] | None = None


class _Speed(_Any, kw_only=True):
    items: Number
    seconds: Number
    unit: str


_FACTS: dict[str, type[_Any]] = {
    "started": _Started,
    "connected": _Connected,
    "devices": _Devices,
    "allreduce": _Allreduce,
    "identity": _Identity,
    "failed": _Troubled,
    "warnings": _Troubled,
    "waiting": _Waiting,
    "stuck": _Waiting,
    "terminated": _Waiting,
    "bandwidth": _Bandwidth,
    "pair": _Pair,
    "fabric": _Fabric,
    "transport": _Transport,
    "speed": _Speed,
}


def checked(record: Record) -> Record:
    """The record itself.

    Raises CorruptRecord where a fact is missing that is judged, or is of another type.
    """
    try:
        msgspec.convert(record, _FACTS.get(record["phase"], _Any))
    except msgspec.ValidationError as error:
        raise CorruptRecord(str(error)) from error
    return record
