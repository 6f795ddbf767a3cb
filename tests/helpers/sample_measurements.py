"""Sample measurements: the ranks' records of links and speeds, for tests of the verdict."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

from sample_records import G8N2P8, healthy, make_record, records

from jaxsif.bandwidth.baseline import Baseline
from jaxsif.bandwidth.collectives import bus_factor
from jaxsif.core.history import JobState, RankHistory
from jaxsif.core.records import Record
from jaxsif.core.topology import Topology
from jaxsif.verdict.verdict import Verdict, judge

H100 = "NVIDIA H100 80GB HBM3"
GIB = 2**30


def time_us(collective: str, size_bytes: int, busbw: float, devices: int) -> float:
    """How long one collective takes at a busbw in GB/s."""
    return size_bytes * bus_factor(collective, devices) / busbw / 1e3


def measured(
    busbw: float,
    collective: str = "all-reduce",
    dtype: str = "f32",
    size_bytes: int = GIB,
    topology: Topology = G8N2P8,
    wrong: dict[int, int] | None = None,
    slow: dict[int, float] | None = None,
    trials: tuple[float, ...] = (0.99, 1.0, 1.0, 1.01, 1.3),
) -> list[Record]:
    """A result as every rank reports it. `wrong` elements; `slow`: by rank, how many
    times its own work takes; `trials` relative to the median."""
    time = time_us(collective, size_bytes, busbw, topology.devices)
    return [
        make_record(
            rank,
            "bandwidth",
            _node(rank, topology),
            collective=collective,
            dtype=dtype,
            size_bytes=size_bytes,
            count=size_bytes // 4,
            repetitions=4,
            times_us=[time * x for x in trials],
            local_us=[100.0 * (slow or {}).get(rank, 1.0)] * 5,
            compile_s=0.1,
            wrong_elements=(wrong or {}).get(rank, 0),
            devices=topology.devices,
        )
        for rank in range(topology.processes)
    ]


def card(
    number: int,
    gb_per_s: float = 50.0,
    kind: str = "infiniband",
    is_active: bool = True,
) -> dict[str, Any]:
    return {
        "name": f"mlx5_{number}:1",
        "kind": kind,
        "gb_per_s": gb_per_s,
        "is_active": is_active,
    }


def fabrics(
    topology: Topology = G8N2P8,
    gpu: str | None = H100,
    gpus: int = 4,
    nvlink: float | None = 450.0,
    cards: list[dict[str, Any]] | None = None,
    **by_node: list[dict[str, Any]],
) -> list[Record]:
    """Each node's record of its links; `node2=[...]` gives one other cards."""
    usual = [card(n) for n in range(4)] if cards is None else cards
    return [
        make_record(
            index * topology.processes_per_node,
            "fabric",
            f"node{index + 1}",
            gpu=gpu,
            gpus=gpus,
            nvlink_gb_per_s=nvlink,
            nics=by_node.get(f"node{index + 1}", usual),
        )
        for index in range(topology.nodes)
    ]


def by_rank(measurements: list[Record]) -> dict[int, RankHistory]:
    """The ranks that report these measurements."""
    return {
        record.rank: RankHistory(record.rank, record.node, measurements=[record])
        for record in measurements
    }


def verdict_on(
    *measurements: list[Record],
    topology: Topology = G8N2P8,
    baseline: Baseline | None = None,
    is_strict: bool = False,
    without: tuple[int, str] | None = None,
) -> Verdict:
    """The verdict on a healthy job with these measurements; `without` a rank's phase."""
    job = healthy(topology)
    if without:
        del job[without[0]][without[1]]
    job_state = JobState()
    *usual, last = records(job)
    for record in [*usual, *(r for records_ in measurements for r in records_), last]:
        job_state.add(record)
    (verdict,) = judge(job_state, topology, baseline=baseline, is_strict=is_strict)
    return verdict


def _node(rank: int, topology: Topology) -> str:
    return f"node{topology.node_index(rank) + 1}"
