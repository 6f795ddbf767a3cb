"""Render a verdict as text, and as what the verdict file holds."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict

from jaxsif.core.errors import PASS
from jaxsif.core.evidence import finding_lines, rank_table
from jaxsif.core.history import Histories
from jaxsif.core.image import Versions
from jaxsif.core.records import REQUEUE_REQUEST
from jaxsif.core.text import MAX_NODES_IN_LINE, listed, plural
from jaxsif.core.verdict_file import (
    ExpectedBandwidth,
    RankReport,
    RequestedTopology,
    StepVerdict,
)
from jaxsif.pairs.results import node_pairs
from jaxsif.transport.checks import summary as transport_summary
from jaxsif.verdict.verdict import WORDS, Verdict


def text(verdict: Verdict) -> str:
    """The table of ranks, the findings, and the verdict as the last line."""
    lines = rank_table(list(verdict.histories.values()), _named_ranks(verdict))
    pairs = verdict.pairs
    lines += [pairs.summary()] if pairs and pairs.outcomes else []
    lines += finding_lines(verdict.findings)
    transport = transport_summary(verdict.histories)
    lines += [transport] if transport else []
    lines.append(f"{WORDS[verdict.status]}  {summary(verdict)}")
    return "\n".join(lines) + "\n"


def summary(verdict: Verdict) -> str:
    """The reason for the verdict, in one line."""
    if verdict.status != PASS:
        return f"{verdict.topology.label}: {verdict.findings[0].text}"
    topology = verdict.topology
    nodes = list(dict.fromkeys(history.node for history in verdict.histories.values()))
    first = next(iter(verdict.histories.values()))
    platform = first.devices.backend if first.devices else None
    stand_in = "" if platform == "gpu" else ", no GPU"
    headline = verdict.bandwidth.headline() if verdict.bandwidth else ""
    devices = f" {plural(topology.devices, f'{platform} device')}{stand_in},"
    return (
        f"{topology.label}:{_warnings(verdict)}"
        f" {plural(topology.processes, 'process', 'es')} on"
        f" {plural(len(nodes), 'node')}"
        f" ({listed(nodes, MAX_NODES_IN_LINE)}),{devices if platform else ''} every"
        " rank verified its peers,"
        f"{f' {headline},' if headline else ''}"
        f" {_seconds(verdict.histories):.1f} s{_requeue_note(verdict.histories)}"
    )


def _requeue_note(histories: Histories) -> str:
    """A note if a program requests that its job be requeued."""
    return (
        ", requeue requested"
        if any(REQUEUE_REQUEST in history.phases for history in histories.values())
        else ""
    )


def _warnings(verdict: Verdict) -> str:
    count = len(verdict.findings)
    return f" {plural(count, 'warning')} above," if count else ""


def step_verdict(verdict: Verdict, verified_by: Versions) -> StepVerdict:
    """The verdict as in the verdict file, with the versions of who formed it."""
    topology, bandwidth = verdict.topology, verdict.bandwidth
    return StepVerdict(
        step=verdict.step,
        topology=RequestedTopology(
            topology.label, topology.nodes, topology.processes, topology.devices
        ),
        status=verdict.status,  # type: ignore[arg-type]
        verdict=WORDS[verdict.status],
        summary=summary(verdict),
        findings=verdict.findings,
        expected=tuple(
            ExpectedBandwidth(
                rated.point.collective,
                rated.point.dtype,
                rated.point.size_bytes,
                rated.expectation.gb_per_s,
                rated.expectation.source,
            )
            for rated in (bandwidth.rated if bandwidth else ())
            if rated.expectation is not None
        ),
        bandwidth=bandwidth.figures(verdict.histories) if bandwidth else (),
        pairs=node_pairs(verdict.pairs),
        ranks=tuple(
            RankReport(s.rank, s.node, s.phase, s.phases, tuple(s.measurements))
            for s in verdict.histories.values()
        ),
        verified_by=verified_by,
    )


def _named_ranks(verdict: Verdict) -> set[int]:
    return {rank for finding in verdict.findings for rank in finding.ranks}


def _seconds(histories: Histories) -> float:
    """Time from first to last record, per node: two nodes' clocks may disagree."""
    times: dict[str, list[float]] = defaultdict(list)
    for history in histories.values():
        times[history.node] += [record.time for record in history.phases.values()]
    return max(max(of_node) - min(of_node) for of_node in times.values())
