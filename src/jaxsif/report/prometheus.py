"""Verdicts as metrics for node_exporter's textfile collector."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from jaxsif.core.verdict_file import RankReport, StepVerdict
from jaxsif.html.markup import escape_invisible
from jaxsif.report.data import startup_breakdown, timelines

Labels = dict[str, str]

_GIGA = 1e9


@dataclass
class Metric:
    """A gauge with its samples; the name ends in its unit."""

    name: str
    help: str
    samples: list[tuple[Labels, float]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {_escaped_help(self.help)}"
        yield f"# TYPE {self.name} gauge"
        for labels, value in self.samples:
            yield f"{self.name}{_labels(labels)} {value!r}"


def as_prometheus(verdicts: Iterable[StepVerdict]) -> str:
    """The latest verdict of each cluster and topology, as gauges.

    Steps are no labels: every job would begin new series.
    """
    metrics: dict[str, Metric] = {}
    for where, verdict in _latest(verdicts).items():
        base = {"cluster": where[0], "topology": where[1]}
        for name, help_text, labels, value in _samples(verdict):
            metric = metrics.setdefault(name, Metric(name, help_text))
            metric.samples.append(({**base, **labels}, value))
    lines = [line for metric in metrics.values() for line in metric.lines()]
    return "".join(f"{line}\n" for line in lines)


Sample = tuple[str, str, Labels, float]


def _samples(verdict: StepVerdict) -> Iterator[Sample]:
    yield from _verdict_metrics(verdict)
    yield from _nodes(verdict)
    yield from _bandwidths(verdict)
    yield from _pairs(verdict)
    for part in startup_breakdown(timelines(verdict)):
        yield (
            "jaxsif_interval_seconds",
            "Longest time that a rank took from one phase to the next.",
            {"interval": part.label},
            part.longest_s,
        )


def _verdict_metrics(verdict: StepVerdict) -> Iterator[Sample]:
    yield (
        "jaxsif_verdict_status",
        "Exit status of jax-sif verify: 0 pass, 1 fail, 3 COULD NOT TELL.",
        {},
        float(verdict.status),
    )
    if verdict.start_time_s is not None:
        yield (
            "jaxsif_verdict_timestamp_seconds",
            "Time of the first record of the step, in seconds since 1970.",
            {},
            verdict.start_time_s,
        )
    for severity, is_warning in (("failure", False), ("warning", True)):
        count = sum(f.is_warning == is_warning for f in verdict.findings)
        yield (
            "jaxsif_findings",
            "Findings of the verdict.",
            {"severity": severity},
            float(count),
        )
    yield (
        "jaxsif_info",
        "Software of the first rank that reported it; always 1.",
        _software(verdict),
        1.0,
    )
    versions = msgspec.structs.asdict(verdict.verified_by)
    yield (
        "jaxsif_verify_info",
        "Versions of the jax-sif verify that formed the verdict; always 1.",
        {name: value or "" for name, value in versions.items()},
        1.0,
    )


def _software(verdict: StepVerdict) -> Labels:
    started = [rank.started for rank in verdict.ranks if rank.started]
    connected = [rank.connected for rank in verdict.ranks if rank.connected]
    devices = [rank.devices for rank in verdict.ranks if rank.devices]
    return {
        "image": _first(record.image for record in started),
        "jax": _first(record.jax for record in connected),
        "jaxlib": _first(record.jaxlib for record in connected),
        "nccl": _first(record.nccl for record in devices),
        "platform": _first(record.backend for record in devices),
    }


def _first(values: Iterable[str | None]) -> str:
    return next((value for value in values if value is not None), "")


def _nodes(verdict: StepVerdict) -> Iterator[Sample]:
    by_node: dict[str, list[RankReport]] = {}
    for rank in verdict.ranks:
        by_node.setdefault(rank.node, []).append(rank)
    slow_nodes = verdict.named_ranks
    for node, ranks in by_node.items():
        yield (
            "jaxsif_node_ranks_done",
            "Ranks of a node that reached the end of the program.",
            {"node": node},
            float(sum("done" in rank.phases for rank in ranks)),
        )
        yield (
            "jaxsif_node_ranks_named",
            "Ranks of a node that a finding names.",
            {"node": node},
            float(sum(rank.rank in slow_nodes for rank in ranks)),
        )


def _bandwidths(verdict: StepVerdict) -> Iterator[Sample]:
    for point in verdict.bandwidth:
        labels = {
            "collective": point.collective,
            "dtype": point.dtype,
            "size_bytes": str(point.size_bytes),
        }
        yield (
            "jaxsif_busbw_bytes_per_second",
            "Bus bandwidth as in nccl-tests: mean of the ranks, median of the trials.",
            labels,
            point.bus_gb_per_s * _GIGA,
        )
        yield (
            "jaxsif_collective_seconds",
            "Time of one collective, mean of the ranks, median of the trials.",
            labels,
            point.time_us / 1e6,
        )
        yield (
            "jaxsif_wrong_elements",
            "Wrong elements in the results of a collective, over all ranks.",
            labels,
            float(point.wrong),
        )
        if point.expected_bus_gb_per_s is not None:
            yield (
                "jaxsif_busbw_expected_bytes_per_second",
                "Expected bus bandwidth.",
                labels,
                point.expected_bus_gb_per_s * _GIGA,
            )


def _pairs(verdict: StepVerdict) -> Iterator[Sample]:
    """Per node, not per pair: a thousand nodes have half a million pairs."""
    for node in verdict.pairs.nodes if verdict.pairs else ():
        for which, speed in (
            ("slowest", node.slowest_gb_per_s),
            ("median", node.median_gb_per_s),
        ):
            if speed is not None:
                yield (
                    "jaxsif_node_pair_bytes_per_second",
                    "Bandwidth of a node's pairs with other nodes.",
                    {"node": node.node, "of_pairs": which},
                    speed * _GIGA,
                )
        yield (
            "jaxsif_node_pairs_timed_out",
            "Pairs of a node whose exchange timed out.",
            {"node": node.node},
            float(node.timed_out),
        )


def _latest(verdicts: Iterable[StepVerdict]) -> dict[tuple[str, str], StepVerdict]:
    found: dict[tuple[str, str], StepVerdict] = {}
    for verdict in sorted(verdicts, key=lambda v: v.start_time_s or 0.0):
        # A step is cluster.job.step, and the name of a cluster may contain dots.
        cluster = verdict.step.rsplit(".", 2)[0]
        found[cluster, verdict.topology.label] = verdict
    return found


def _labels(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return (
        escape_invisible(value)
        .replace("\\", r"\\")
        .replace('"', r"\"")
        .replace("\n", r"\n")
    )


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
