"""A healthy job's records, to be spoiled by the tests that use them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

from jaxsif.core.records import Record, encode
from jaxsif.core.topology import Topology, parse_topology

G8N2P8 = parse_topology("G8N2p8")


def make_record(rank: int, phase: str, node: str = "node1", **facts: Any) -> Record:
    """One record as a rank would make it."""
    return {
        "phase": phase,
        "rank": rank,
        "step": "box.7.0.0",
        "node": node,
        "time": 100.0 + rank,
        **facts,
    }


def healthy(topology: Topology = G8N2P8) -> dict[int, dict[str, Record]]:
    """rank -> phase -> record, of a job in which nothing is wrong."""
    return {rank: _rank(rank, topology) for rank in range(topology.processes)}


def _rank(rank: int, topology: Topology) -> dict[str, Record]:
    node = f"node{topology.node_index(rank) + 1}"
    first = rank * topology.devices_per_process
    local = [
        {"id": i, "kind": "A100", "uuid": f"GPU-{i}"}
        for i in range(first, first + topology.devices_per_process)
    ]
    nodes = f"node[1-{topology.nodes}]"
    facts: dict[str, dict[str, Any]] = {
        "started": {
            "processes": topology.processes,
            "local_rank": rank % topology.processes_per_node,
            "nodes": nodes,
            "topology": topology.label,
            "platform": "gpu",
            "image": "abc",
        },
        "connected": {
            "process_index": rank,
            "process_count": topology.processes,
            "jax": "1.0",
            "jaxlib": "1.0",
        },
        "devices": {
            "backend": "gpu",
            "local": local,
            "total": topology.devices,
            "nccl": "2.32.3",
        },
        "allreduce": {
            "expected": topology.devices,
            "got": topology.devices,
            "wrong": 0,
        },
        "identity": {"foreign": 0, "slots": []},
        "done": {},
    }
    return {phase: make_record(rank, phase, node, **f) for phase, f in facts.items()}


def records(job: dict[int, dict[str, Record]]) -> list[Record]:
    """All records of a job, phase by phase as the ranks reach them together."""
    phases = dict.fromkeys(phase for told in job.values() for phase in told)
    return [told[p] for p in phases for told in job.values() if p in told]


def output(job: dict[int, dict[str, Record]]) -> str:
    """A job's whole output, with a line for people before each record."""
    return "".join(
        f"rank {record['rank']} speaks\n" + encode(record) for record in records(job)
    )
