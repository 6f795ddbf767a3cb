"""Sample records: one of every kind, and those of a healthy job, to be changed by tests."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import msgspec

from jaxsif.core.image import Versions
from jaxsif.core.record_lines import encode_fields
from jaxsif.core.records import (
    PHASES,
    AllReduceRecord,
    BandwidthRecord,
    ConnectedRecord,
    DeadlineExceededRecord,
    DevicesRecord,
    DoneRecord,
    FabricRecord,
    FailedRecord,
    IdentityRecord,
    ImportingRecord,
    LocalDevice,
    MovingRecord,
    NicInfo,
    PairRecord,
    ProgressRecord,
    RanksAtPosition,
    Record,
    ReportedProblem,
    RequeueRecord,
    SpeedRecord,
    StalledRecord,
    Stamp,
    StartedRecord,
    TerminatedRecord,
    TransportRecord,
    WaitingRecord,
    WarningsRecord,
)
from jaxsif.core.topology import Topology, parse_topology

G8N2P8 = parse_topology("G8N2p8")

# The fields of one record.
Fields = dict[str, Any]
# rank -> phase -> record.
Job = dict[int, dict[str, Fields]]


# Of the process that verified.
VERSIONS = Versions("1.0", "jax-sif-0.12.0.1-cpu", "0.12.0.1")


def stamp(rank: int, node: str = "node1") -> Stamp:
    """The fields of every record."""
    return {"rank": rank, "step": "box.7.0.0", "node": node, "time": 100.0 + rank}


def samples(rank: int = 0, topology: Topology = G8N2P8) -> dict[str, Record]:
    """One record of every kind, as a healthy rank or one in difficulties writes it."""
    at = stamp(rank, f"node{topology.node_index(rank) + 1}")
    first = rank * topology.devices_per_process
    where = ("in allreduce", "train.py:42 in step")
    records: tuple[Record, ...] = (
        StartedRecord(
            **at,
            processes=topology.processes,
            local_rank=rank % topology.processes_per_node,
            nodes=f"node[1-{topology.nodes}]",
            topology=topology.label,
            platform="gpu",
            network=None,
            image="abc",
            packages=None,
            program=None,
            may_miss=None,
            process_start=None,
            entry_start=None,
        ),
        ConnectedRecord(
            **at,
            process_index=rank,
            process_count=topology.processes,
            jax="1.0",
            jaxlib="1.0",
            peers_verified=False,
            preflight_done=None,
            jax_imported=None,
        ),
        DevicesRecord(
            **at,
            backend="gpu",
            local_devices=[
                LocalDevice(i, "A100", f"GPU-{i}")
                for i in range(first, first + topology.devices_per_process)
            ],
            local_count=topology.devices_per_process,
            total=topology.devices,
            nccl="2.32.3",
        ),
        AllReduceRecord(
            **at,
            sum=float(topology.devices),
            wrong_elements=0,
            expected=topology.devices,
        ),
        IdentityRecord(**at, foreign_count=0, foreign_slots=[]),
        DoneRecord(**at),
        ImportingRecord(**at, is_over=True),
        FailedRecord(**at, error=None, problems=[]),
        WarningsRecord(**at, problems=[ReportedProblem("proxy", "text", "remedy", [])]),
        WaitingRecord(**at, waited_s=30.0, position=where[0], source_line=where[1]),
        DeadlineExceededRecord(
            **at,
            waited_s=120.0,
            position=where[0],
            source_line=where[1],
            missing_phase="done",
            desynchronized=[],
        ),
        TerminatedRecord(**at, waited_s=1.0, position=where[0], source_line=where[1]),
        StalledRecord(
            **at,
            state="blocked",
            stalled_s=300.0,
            stack=["train.py:42 in step", "train.py:9 in <module>"],
            waits_in="futex_do_wait",
            is_requested=False,
            is_alone=False,
        ),
        MovingRecord(**at),
        RequeueRecord(**at),
        FabricRecord(
            **at,
            gpu="A100-SXM4-80GB",
            gpus=4,
            nvlink_gb_per_s=300.0,
            nics=[NicInfo(f"mlx5_{i}", "infiniband", 25.0, True) for i in range(2)],
        ),
        BandwidthRecord(
            **at,
            collective="all-reduce",
            dtype="f32",
            size_bytes=4,
            count=1,
            devices=topology.devices,
            repetitions=8,
            times_us=[1.0],
            local_us=[],
            compile_s=0.21,
            wrong_elements=0,
        ),
        PairRecord(
            **at,
            round=0,
            kind="full",
            partner=(rank + topology.processes_per_node) % topology.processes,
            partner_node="node2",
            switch="",
            size_bytes=4,
            repetitions=1,
            times_us=[1.0],
            wrong_elements=0,
            timed_out=False,
        ),
        TransportRecord(
            **at,
            reported_by="nccl",
            kind="infiniband",
            summary="NVLink, InfiniBand x2, GPUDirect",
            interfaces=["mlx5_0", "mlx5_1"],
            count=2,
            gpudirect=True,
            intra_node="nvlink",
            inter_node="IB",
            version=None,
            algorithms=[],
            reasons=[],
        ),
        ProgressRecord(**at, done=2, first_done=0, first_time=at["time"]),
        SpeedRecord(**at, items=1.0, seconds=1.0, unit="steps"),
    )
    return {record.phase: record for record in records}


_SAMPLES = samples()
POSITIONS = [RanksAtPosition(7, "in allreduce", [1]), RanksAtPosition(1, "done", [3])]


def fields_of(record: Record) -> Fields:
    """The fields of a record, to be changed."""
    fields: Fields = msgspec.to_builtins(record)
    return fields


def make_record(rank: int, phase: str, node: str = "node1", **facts: Any) -> Record:
    """One record; fields that are not given are a healthy rank's."""
    base = fields_of(_SAMPLES[phase])
    unknown = facts.keys() - base.keys() - {"left_out"}
    assert not unknown, f"no fields of {phase}: {unknown}"
    return typed({**base, **stamp(rank, node), **facts})


def typed(fields: Fields | Record) -> Record:
    """The record with these fields."""
    return msgspec.convert(msgspec.to_builtins(fields), Record)


def healthy(topology: Topology = G8N2P8) -> Job:
    """rank -> phase -> the record's fields, of a job in which nothing is wrong."""
    return {rank: _healthy_rank(rank, topology) for rank in range(topology.processes)}


def _healthy_rank(rank: int, topology: Topology) -> dict[str, Fields]:
    of_kind = samples(rank, topology)
    return {phase: fields_of(of_kind[phase]) for phase in PHASES}


def all_fields(job: Job) -> list[Fields]:
    """Phase by phase as the ranks reach them together, whatever the tests changed."""
    phases = dict.fromkeys(phase for reported in job.values() for phase in reported)
    return [
        msgspec.to_builtins(reported[phase])
        for phase in phases
        for reported in job.values()
        if phase in reported
    ]


def records(job: Job) -> list[Record]:
    """All records of a job, phase by phase as the ranks reach them together."""
    return list(map(typed, all_fields(job)))


def output(job: Job) -> str:
    """A job's whole output, with a line for people before each record."""
    return "".join(
        f"rank {fields['rank']} speaks\n" + encode_fields(fields)
        for fields in all_fields(job)
    )
