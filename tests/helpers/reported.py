"""Verdict files with measurements: a pass, a failure, and big ones."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
from sample_records import VERSIONS, Job, fields_of, healthy, make_record, records

from jaxsif.bandwidth.hardware import Expectation
from jaxsif.bandwidth.results import BandwidthResults, RatedPoint, points
from jaxsif.core import verdict_file
from jaxsif.core.history import JobState, RankHistory
from jaxsif.core.records import Record
from jaxsif.core.strict_json import encode
from jaxsif.core.topology import Topology, parse_topology
from jaxsif.core.verdict_file import SCHEMA, RankReport, StepVerdict
from jaxsif.pairs.results import node_pairs, pair_results
from jaxsif.verdict.render import step_verdict
from jaxsif.verdict.verdict import Verdict, judge

G8N2P8 = parse_topology("G8N2p8")
MIB = 1 << 20

# Times of a start as a real job's; sample_records.py gives every phase the same.
_ELAPSED_S = {
    "started": 0.9,
    "connected": 2.6,
    "devices": 2.9,
    "allreduce": 4.3,
    "identity": 4.6,
    "done": 9.8,
}
_BEGAN_S = 1_795_646_400.0


def passed(topology: Topology = G8N2P8) -> dict[str, Any]:
    """A healthy step with bandwidths and pairs; 2 nodes of 4 ranks by default."""
    return document(_verdict(_job(topology), topology))


def failed(topology: Topology = G8N2P8) -> dict[str, Any]:
    """Rank 5 on node2 is foreign, sums wrongly, and its node is slow with all others."""
    job = _job(topology)
    for phases in job.values():
        phases["identity"].update(foreign_count=1, foreign_slots=[[5, 0]])
    job[5]["allreduce"].update(sum=9.0, wrong_elements=1)
    del job[6]["done"], job[6]["identity"]
    verdict = _verdict(job, topology, slow_node="node2")
    verdict["findings"].append(
        {
            "kind": "node-slow",
            "text": "node2 exchanges at 0.31 of the median pair bandwidth",
            "remedy": "submit with --exclude=node2, and inform the operators",
            "ranks": [r["rank"] for r in verdict["ranks"] if r["node"] == "node2"],
            "is_warning": False,
            "is_failure": True,
        }
    )
    return document(verdict)


def missing(topology: Topology = G8N2P8) -> dict[str, Any]:
    """Rank 3 never came, and nothing was measured."""
    job = _job(topology)
    del job[3]
    return document(_judged(job, topology))


def silent() -> dict[str, Any]:
    """No rank reported anything."""
    return document(as_json(judge(JobState(), G8N2P8)[0]))


def as_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as in the file."""
    content: dict[str, Any] = json.loads(
        encode(msgspec.to_builtins(step_verdict(verdict, VERSIONS)))
    )
    return content


def document(*verdicts: dict[str, Any]) -> dict[str, Any]:
    """As the file holds them, through JSON."""
    content = {"schema": SCHEMA, "verdicts": verdicts}
    read: dict[str, Any] = json.loads(json.dumps(content))
    return read


def _job(topology: Topology) -> Job:
    job = healthy(topology)
    noise = random.Random(7)
    for rank, phases in job.items():
        late_s = 0.02 * (rank % 4) + noise.random() * 0.15
        for phase, record in phases.items():
            record["time"] = round(_BEGAN_S + _ELAPSED_S[phase] + late_s, 3)
            record["step"] = "minicluster.7.0.0"
        phases["started"].update(
            program="all reduce.py 1a2b3c4d",
            process_start=_BEGAN_S + 0.05 * noise.random(),
            entry_start=_BEGAN_S + 0.4 + late_s / 2,
        )
        phases["connected"]["preflight_done"] = round(_BEGAN_S + 1.1 + late_s, 3)
        phases["connected"]["jax_imported"] = round(_BEGAN_S + 1.9 + late_s, 3)
    return job


def _judged(job: dict[int, Any], topology: Topology) -> dict[str, Any]:
    job_state = JobState()
    for record in records(job):
        job_state.add(record)
    return as_json(judge(job_state, topology)[0])


def _verdict(
    job: dict[int, Any], topology: Topology, slow_node: str = ""
) -> dict[str, Any]:
    """Judged without what was measured, which is put in afterwards: what the judge
    thinks of these figures is no matter of the report's tests."""
    verdict = _judged(job, topology)
    noise = random.Random(11)
    nodes = [f"node{i + 1}" for i in range(topology.nodes)]
    for rank in verdict["ranks"]:
        pairs = _pairs(rank, nodes, topology, slow_node, noise)
        measurements = [*_node_records(rank, topology)]
        measurements += _bandwidths(rank, topology, slow_node, noise)
        measurements += pairs
        rank["measurements"] = [fields_of(record) for record in measurements]
    return with_figures(verdict, topology)


def with_figures(
    verdict: dict[str, Any], topology: Topology, rated_bytes: int | None = None
) -> dict[str, Any]:
    """The figures of what was measured, made by the judge's code; of all-reduce f32 the
    largest size is rated, or that of `rated_bytes`."""
    ranks = msgspec.convert(verdict["ranks"], list[RankReport])
    histories = {
        rank.rank: RankHistory(
            rank.rank, rank.node, rank.phases, measurements=list(rank.measurements)
        )
        for rank in ranks
    }
    source = "the slower of NVLink and 4 network cards, times 0.9"
    found = points(histories)
    of_test = [point for point in found if point.test == ("all-reduce", "f32")]
    if rated_bytes is not None:
        of_test = [point for point in of_test if point.size_bytes == rated_bytes]
    largest = sorted(of_test, key=lambda point: point.size_bytes)[-1:]
    rated = tuple(RatedPoint(point, Expectation(12.5, source)) for point in largest)
    measured = BandwidthResults(tuple(found), rated, ())
    pairs = node_pairs(pair_results(histories, topology.devices_per_node))
    verdict["bandwidth"] = msgspec.to_builtins(measured.figures(histories))
    verdict["pairs"] = msgspec.to_builtins(pairs)
    return verdict


def _node_records(rank: dict[str, Any], topology: Topology) -> Iterator[Record]:
    if rank["rank"] % topology.processes_per_node:
        return
    nic = {"kind": "infiniband", "gb_per_s": 25.0, "is_active": True}
    yield make_record(
        rank["rank"],
        "fabric",
        rank["node"],
        gpu="A100-SXM4-80GB",
        gpus=4,
        nvlink_gb_per_s=300.0,
        nics=[{"name": f"mlx5_{i}", **nic} for i in range(2)],
    )
    is_odd = rank["rank"] >= topology.processes_per_node
    yield make_record(
        rank["rank"],
        "transport",
        rank["node"],
        reported_by="nccl",
        kind="sockets" if is_odd else "infiniband",
        interfaces=["eth0"] if is_odd else ["mlx5_0", "mlx5_1"],
        count=1 if is_odd else 2,
        gpudirect=not is_odd,
        summary="sockets on eth0" if is_odd else "NVLink, InfiniBand x2, GPUDirect",
    )


def _bandwidths(
    rank: dict[str, Any], topology: Topology, slow_node: str, noise: random.Random
) -> Iterator[Record]:
    """A latency of 18 us and 12.9 GB/s of bus bandwidth, less on a slow node."""
    sizes = [8 * 4**i for i in range(14)]
    plans = [
        ("all-reduce", "f32", sizes, 1.75),
        ("all-gather", "f32", sizes[8:], 0.875),
    ]
    plans += [
        ("all-to-all", "f32", sizes[8:], 0.875),
        ("all-reduce", "bf16", sizes[8:], 1.75),
    ]
    for number, (collective, dtype, of_plan, factor) in enumerate(plans):
        for size_bytes in of_plan:
            slow = 1.7 if rank["node"] == slow_node else 1.0
            time_us = 18 + slow * factor * size_bytes / (12.9e3 * (1 - 0.13 * number))
            yield make_record(
                rank["rank"],
                "bandwidth",
                rank["node"],
                collective=collective,
                dtype=dtype,
                size_bytes=size_bytes,
                count=size_bytes // (2 if dtype == "bf16" else 4),
                repetitions=8,
                times_us=[round(time_us * noise.gauss(1.0, 0.02), 2) for _ in range(5)],
                compile_s=0.21,
                wrong_elements=3
                if slow_node and rank["rank"] == 5 and size_bytes == sizes[9]
                else 0,
                devices=topology.devices,
            )


def _pairs(
    rank: dict[str, Any],
    nodes: list[str],
    topology: Topology,
    slow_node: str,
    noise: random.Random,
) -> Iterator[Record]:
    """A full round robin by the circle; one exchange of the last pair never ends."""
    per_node = topology.processes_per_node
    own = nodes.index(rank["node"])
    for other, partner_node in enumerate(nodes):
        if other == own:
            continue
        is_slow = slow_node in (rank["node"], partner_node)
        never = (
            bool(slow_node) and len(nodes) > 2 and {own, other} == {0, len(nodes) - 1}
        )
        time_us = 4 * MIB / (3.3e3 if is_slow else 10.6e3)
        yield make_record(
            rank["rank"],
            "pair",
            rank["node"],
            round=(own + other) % len(nodes),
            kind="full",
            partner=other * per_node + rank["rank"] % per_node,
            partner_node=partner_node,
            size_bytes=4 * MIB,
            times_us=[]
            if never
            else [round(time_us * noise.gauss(1.0, 0.03), 2) for _ in range(5)],
            wrong_elements=0,
            timed_out=never,
        )


# A name as an enemy would choose it.
HOSTILE = '<b>"node"&\'\x1b[31m\\\u202e,=1\r\nx{y}'


def verdicts(*contents: dict[str, Any]) -> tuple[StepVerdict, ...]:
    return tuple(
        verdict
        for content in contents
        for verdict in verdict_file.parse(json.dumps(content).encode(), "job.json")
    )


def hostile() -> tuple[StepVerdict, ...]:
    """A failure whose every name and text comes from an enemy."""
    content = failed(parse_topology("G24N12p24"))
    text = json.dumps(content).replace("node2", json.dumps(HOSTILE)[1:-1])
    verdict = json.loads(text)
    for finding in verdict["verdicts"][0]["findings"]:
        finding["text"] += HOSTILE
        finding["remedy"] += HOSTILE
        finding["kind"] += HOSTILE
    verdict["verdicts"][0]["step"] = HOSTILE
    return verdicts(verdict)
