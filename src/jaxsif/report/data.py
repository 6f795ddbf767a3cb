"""The data of a report: timelines, environment and heat map, from a verdict."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from jaxsif.core.evidence import Finding
from jaxsif.core.records import (
    DEADLINE_EXCEEDED,
    FAILED,
    PHASES,
    TERMINATED,
    FabricRecord,
    TransportRecord,
)
from jaxsif.core.text import (
    MAX_NODES_IN_REPORT,
    format_gb_per_s,
    format_ranks,
    format_ranks_and_nodes,
)
from jaxsif.core.verdict_file import (
    BandwidthFigure,
    NodePair,
    NodePairs,
    RankReport,
    StepVerdict,
)

# A milestone begins and ends intervals. Most are the records of phases.
Milestone = str

PROCESS_START, ENTRY_START = "process_start", "entry_start"
PREFLIGHT_DONE, JAX_IMPORTED = "preflight_done", "jax_imported"
STARTED, CONNECTED, DEVICES, ALL_REDUCED, IDENTIFIED, DONE = PHASES
FINAL: tuple[Milestone, ...] = (FAILED, DEADLINE_EXCEEDED, TERMINATED)

MILESTONES = (
    PROCESS_START,
    ENTRY_START,
    STARTED,
    PREFLIGHT_DONE,
    JAX_IMPORTED,
    CONNECTED,
    DEVICES,
    ALL_REDUCED,
    IDENTIFIED,
    DONE,
)

# Labels of the intervals, by the milestone at their end.
LABELS = {
    ENTRY_START: "process and image start",
    STARTED: "entry point and Python start",
    PREFLIGHT_DONE: "preflight checks",
    JAX_IMPORTED: "import jax",
    CONNECTED: "join the group",
    DEVICES: "find the devices",
    ALL_REDUCED: "first all-reduce: compile and run",
    IDENTIFIED: "verify the peers",
    DONE: "rest of the program",
}
_ENDED = "until the end"

# Why an interval is unknown, by the missing milestone.
_UNKNOWN = {
    PROCESS_START: "when the process began: /proc is hidden",
    ENTRY_START: "when the image was open: the image's entry point was not used",
    JAX_IMPORTED: "when JAX was imported: initialize_distributed() was not called",
    ALL_REDUCED: "the program reported no all-reduce",
}
_PROPERTIES: tuple[tuple[str, Callable[[RankReport], str | None]], ...] = (
    ("image", lambda r: r.started.image if r.started else None),
    ("program's checksum", lambda r: r.started.program if r.started else None),
    ("JAX", lambda r: r.connected.jax if r.connected else None),
    ("jaxlib", lambda r: r.connected.jaxlib if r.connected else None),
    ("NCCL", lambda r: r.devices.nccl if r.devices else None),
    ("platform requested", lambda r: r.started.platform if r.started else None),
    ("platform", lambda r: r.devices.backend if r.devices else None),
    ("network declared", lambda r: r.started.network if r.started else None),
)
# A heat map of more nodes than this shows groups of neighbours.
MAX_CELLS = 128


@dataclass(frozen=True)
class Interval:
    """An interval of a rank, in seconds after the first record of its node."""

    label: str
    begin_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return max(self.end_s - self.begin_s, 0.0)


@dataclass(frozen=True)
class RankTimeline:
    """The intervals of one rank, in order."""

    rank: RankReport
    intervals: tuple[Interval, ...]

    @property
    def end_s(self) -> float:
        return self.intervals[-1].end_s if self.intervals else 0.0


@dataclass(frozen=True)
class IntervalSummary:
    """An interval over all ranks that reported it."""

    label: str
    ranks: int
    median_s: float
    longest_s: float
    slowest: RankReport


def timelines(verdict: StepVerdict) -> list[RankTimeline]:
    """The timeline of every rank.

    Times are relative to the first record of the rank's node, since clocks of nodes may
    differ by more than a start takes.
    """
    zeros: dict[str, float] = {}
    for rank in verdict.ranks:
        for time_s in _times(rank).values():
            zeros[rank.node] = min(zeros.get(rank.node, time_s), time_s)
    return [RankTimeline(rank, _intervals(rank, zeros)) for rank in verdict.ranks]


def startup_breakdown(found: Sequence[RankTimeline]) -> list[IntervalSummary]:
    """All reported intervals, in order."""
    parts = []
    for label in (*LABELS.values(), _ENDED):
        lengths = [
            (interval.length_s, timeline.rank)
            for timeline in found
            for interval in timeline.intervals
            if interval.label == label
        ]
        if lengths:
            longest_s, slowest = max(lengths, key=lambda length: length[0])
            median_s = median(length for length, _ in lengths)
            summary = IntervalSummary(label, len(lengths), median_s, longest_s, slowest)
            parts.append(summary)
    return parts


def unknown_times(verdict: StepVerdict) -> list[str]:
    """What is unknown about the start, and why; empty without ranks."""
    marks: set[Milestone] = set()
    for rank in verdict.ranks:
        marks |= _times(rank).keys()
    if not marks:
        return []
    notes = [why for mark, why in _UNKNOWN.items() if mark not in marks]
    return [*notes, "compiling and running are one interval"]


def select_ranks(
    found: Sequence[RankTimeline], named_ranks: Container[int], limit: int
) -> list[RankTimeline]:
    """Select at most `limit` ranks: those named by findings, then the last to end."""
    by_priority = sorted(
        found, key=lambda line: (line.rank.rank not in named_ranks, -line.end_s)
    )
    return sorted(by_priority[:limit], key=lambda line: line.rank.rank)


def _intervals(rank: RankReport, zeros: dict[str, float]) -> tuple[Interval, ...]:
    times = sorted(_times(rank).items(), key=lambda mark: mark[1])
    zero = zeros.get(rank.node, 0.0)
    return tuple(
        Interval(LABELS.get(mark, _ENDED), begin_s - zero, end_s - zero)
        for (_, begin_s), (mark, end_s) in zip(times, times[1:], strict=False)
    )


def _times(rank: RankReport) -> dict[Milestone, float]:
    """The known milestones, in order."""
    times: dict[Milestone, float | None] = {**rank.times_s}
    if rank.started is not None:
        times[PROCESS_START] = rank.started.process_start
        times[ENTRY_START] = rank.started.entry_start
    if rank.connected is not None:
        times[PREFLIGHT_DONE] = rank.connected.preflight_done
        times[JAX_IMPORTED] = rank.connected.jax_imported
    return {
        mark: time_s
        for mark in (*MILESTONES, *FINAL)
        if (time_s := times.get(mark)) is not None
    }


@dataclass(frozen=True)
class Property:
    """A property, and the ranks or nodes that have it; empty means all."""

    name: str
    value: str
    location: str = ""


def properties(verdict: StepVerdict) -> list[Property]:
    """Hardware and software of the ranks, one property per value."""
    found: list[Property] = []
    for name, value_of in (*_PROPERTIES, ("devices", _device_kinds)):
        by_value: dict[str, list[int]] = defaultdict(list)
        for rank in verdict.ranks:
            if (value := value_of(rank)) is not None:
                by_value[value].append(rank.rank)
        ranks = {value: format_ranks(ranks) for value, ranks in by_value.items()}
        found += _properties(name, ranks)
    fabrics = {
        r.node: _describe(fabric) for r, fabric in verdict.measured(FabricRecord)
    }
    transports = {r.node: t.summary for r, t in verdict.measured(TransportRecord)}
    for name, of_node in (("fabric", fabrics), ("transport in use", transports)):
        nodes: dict[str, list[str]] = defaultdict(list)
        for node, value in of_node.items():
            nodes[value].append(node)
        found += _properties(name, {v: ", ".join(names) for v, names in nodes.items()})
    return found


def _properties(name: str, locations: Mapping[str, str]) -> Iterator[Property]:
    """One per value; the only value of all ranks has no location."""
    for value, location in locations.items():
        yield Property(name, value, location if len(locations) > 1 else "")


def _device_kinds(rank: RankReport) -> str:
    if rank.devices is None:
        return "unknown"
    kinds = [device.kind for device in rank.devices.local_devices]
    # A long list does not fit into a record; the missing devices are equal.
    if len(set(kinds)) == 1:
        return f"{rank.devices.local_count} x {kinds[0]}"
    counts = (f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
    return ", ".join(counts) or "unknown"


def _describe(fabric: FabricRecord) -> str:
    """The GPUs and network cards of a node, the active ones first."""
    parts = [f"{fabric.gpus} x {fabric.gpu}" if fabric.gpu else "no GPU"]
    if fabric.nvlink_gb_per_s:
        parts.append(f"NVLink {format_gb_per_s(fabric.nvlink_gb_per_s)}")
    for nic in sorted(fabric.nics, key=lambda nic: not nic.is_active):
        speed = f" {format_gb_per_s(nic.gb_per_s)}" if nic.gb_per_s else ""
        state = "" if nic.is_active else " (not active)"
        parts.append(f"{nic.kind} {nic.name}{speed}{state}")
    return ", ".join(parts)


def headlines(found: Iterable[BandwidthFigure]) -> list[BandwidthFigure]:
    """For each collective and type the rated figure, or that of the largest size."""
    series: dict[tuple[str, str], list[BandwidthFigure]] = defaultdict(list)
    for figure in found:
        series[figure.collective, figure.dtype].append(figure)
    return [rated(of) or of[-1] for of in series.values()]


def rated(figures: Sequence[BandwidthFigure]) -> BandwidthFigure | None:
    """The figure of the largest size with an expected value; None if there is none."""
    expected = (f for f in reversed(figures) if f.expected_bus_gb_per_s is not None)
    return next(expected, None)


@dataclass(frozen=True)
class HeatMap:
    """The slowest pair for each two nodes, or for each two groups of neighbours."""

    groups: tuple[tuple[str, ...], ...]
    slowest: tuple[tuple[NodePair | None, ...], ...]

    @property
    def nodes_per_cell(self) -> int:
        return max(map(len, self.groups), default=1)


def heat_map(found: NodePairs, limit: int = MAX_CELLS) -> HeatMap:
    """The map with at most `limit` rows."""
    nodes = [node.node for node in found.nodes]
    width = -(-len(nodes) // limit) if nodes else 1
    row_of = {node: i // width for i, node in enumerate(nodes)}
    count = -(-len(nodes) // width)
    rows: list[list[NodePair | None]] = [[None] * count for _ in range(count)]
    # The slowest come first, and the first of a cell stays.
    for pair in found.pairs:
        a, b = (row_of[node] for node in pair.nodes)
        if rows[a][b] is None:
            rows[a][b] = rows[b][a] = pair
    groups = [tuple(nodes[i * width : (i + 1) * width]) for i in range(count)]
    return HeatMap(tuple(groups), tuple(tuple(row) for row in rows))


def named_by(finding: Finding, verdict: StepVerdict) -> str:
    """The ranks and nodes that a finding names; empty if none."""
    nodes = verdict.named_ranks
    placed = [(rank, nodes[rank]) for rank in finding.ranks]
    return format_ranks_and_nodes(placed, MAX_NODES_IN_REPORT) if placed else ""
