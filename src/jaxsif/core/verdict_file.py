"""The verdict file: what `jax-sif verify` writes and reports read."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from jaxsif.core.errors import UsageError
from jaxsif.core.evidence import Finding
from jaxsif.core.image import Versions
from jaxsif.core.records import Measurement, PhaseRecord, RankNumber, RecordT, Reported

Schema = Literal["jax-sif/verdict/1"]
SCHEMA: Schema = "jax-sif/verdict/1"
_FAMILY = "jax-sif/verdict/"

T = TypeVar("T", bound=Struct)


class RequestedTopology(Struct, frozen=True):
    """What was requested."""

    label: Annotated[
        str, Meta(description="Such as `G8N2p8`: devices, nodes, processes.")
    ]
    nodes: int
    processes: int
    devices: int


class ExpectedBandwidth(Struct, frozen=True):
    """The expected bus bandwidth of a collective at one size."""

    collective: str
    dtype: str
    size_bytes: int
    bus_gb_per_s: float
    source: str


class BandwidthFigure(Struct, frozen=True):
    """A collective at one size.

    `time_us` is nccl-tests': the mean of the ranks in each trial, the median of these
    over the trials. The fastest and the slowest are single ranks, by their own medians.
    What was expected, its source and `ratio`, measured by expected, are there where the
    verdict rated this size.
    """

    collective: str
    dtype: str
    size_bytes: int
    devices: int
    ranks: int
    time_us: float
    alg_gb_per_s: float
    bus_gb_per_s: float
    slowest_bus_gb_per_s: float
    fastest_bus_gb_per_s: float
    slowest_rank: int
    slowest_node: str
    wrong: int = 0
    expected_bus_gb_per_s: float | None = None
    ratio: float | None = None
    source: str = ""


class NodePair(Struct, frozen=True):
    """Two nodes, at the largest size that their devices exchanged.

    `gb_per_s` is from one node to the other, and as much back at the same time; None
    if no exchange finished. `ratio` is to the healthy pairs of the same kind: those
    below one switch, or those across. `ranks` are those that were slowest.
    """

    nodes: tuple[str, str]
    size_bytes: int
    gb_per_s: float | None = None
    ratio: float | None = None
    trials: int = 0
    wrong: int = 0
    timed_out: bool = False
    ranks: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        return " and ".join(self.nodes)


class PairNode(Struct, frozen=True):
    """One node by its pairs; `ratio` leaves out other slow nodes and slow links."""

    node: str
    switch: str = ""
    pairs: int = 0
    timed_out: int = 0
    ratio: float | None = None
    slowest_gb_per_s: float | None = None
    median_gb_per_s: float | None = None


class SlowPart(Struct, frozen=True):
    """A slow node, link of two nodes, uplink, or path between two switches."""

    kind: str
    nodes: tuple[str, ...]
    ratio: float
    switches: tuple[str, ...] = ()
    is_failure: bool = True


class NodePairs(Struct, frozen=True):
    """All pairs of a step, the slowest first; the nodes by switch, then by rank."""

    nodes: tuple[PairNode, ...] = ()
    pairs: tuple[NodePair, ...] = ()
    median_gb_per_s: float | None = None
    spread: float = 0.0
    # More than half of the nodes are slow: the fault is not in single nodes.
    is_cluster_wide: bool = False
    slow: tuple[SlowPart, ...] = ()

    def of_node(self, node: str) -> list[NodePair]:
        return [pair for pair in self.pairs if node in pair.nodes]


class RankReport(Struct, Reported, frozen=True):
    """One rank: the last record of each phase, and all its measurements."""

    rank: RankNumber
    node: str
    phase: Annotated[str, Meta(description="The last phase reached, or `unknown`.")]
    phases: Annotated[
        dict[str, PhaseRecord], Meta(description="The last record of each phase.")
    ]
    measurements: Annotated[
        tuple[Measurement, ...], Meta(description="In order of arrival.")
    ]

    @property
    def times_s(self) -> dict[str, float]:
        """The time of each phase, by the node's clock."""
        return {phase: record.time for phase, record in self.phases.items()}


class StepVerdict(Struct, frozen=True):
    """The verdict on one step."""

    step: Annotated[
        str, Meta(description="`cluster.job.step`; empty if no rank reported.")
    ]
    topology: RequestedTopology
    status: Annotated[
        Literal[0, 1, 3], Meta(description="0 pass, 1 fail, 3 could not tell.")
    ]
    verdict: Literal["PASS", "FAIL", "COULD NOT TELL"]
    summary: Annotated[
        str, Meta(description="The verdict's line without its first word.")
    ]
    findings: Annotated[
        tuple[Finding, ...], Meta(description="Causes first, then consequences.")
    ]
    expected: tuple[ExpectedBandwidth, ...]
    bandwidth: tuple[BandwidthFigure, ...]
    pairs: Annotated[
        NodePairs | None, Meta(description="Null if no pair of nodes was measured.")
    ]
    ranks: Annotated[
        tuple[RankReport, ...], Meta(description="Every rank that reported.")
    ]
    verified_by: Annotated[
        Versions, Meta(description="Of the process that formed the verdict.")
    ]

    @property
    def name(self) -> str:
        """The step, or a description of it if unknown."""
        return self.step or "unnamed step"

    @property
    def program(self) -> str:
        """The program's file, of `train.py 1a2b3c4d`; a dash if unknown."""
        for rank in self.ranks:
            if rank.started and rank.started.program:
                return rank.started.program.rpartition(" ")[0]
        return "-"

    @property
    def named_ranks(self) -> dict[int, str]:
        """The node of every rank that a finding names, as far as known."""
        nodes = {rank.rank: rank.node for rank in self.ranks}
        named = sorted({rank for f in self.findings for rank in f.ranks})
        return {rank: nodes.get(rank, "unknown node") for rank in named}

    def measured(self, kind: type[RecordT]) -> Iterator[tuple[RankReport, RecordT]]:
        """Every measurement of a kind, with its rank."""
        return ((r, record) for r in self.ranks for record in r.measured(kind))

    @property
    def start_time_s(self) -> float | None:
        """The earliest time that a rank reported."""
        times = (time_s for rank in self.ranks for time_s in rank.times_s.values())
        return min(times, default=None)


class VerdictFile(Struct, frozen=True):
    """What `jax-sif verify` writes: the verdict on each step in the output."""

    schema: Schema
    verdicts: tuple[StepVerdict, ...]


class _Head(Struct):
    schema: str | None = None


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:jax-sif:verdict:1",
        **msgspec.json.schema(VerdictFile),
    }


def read(path: Path) -> tuple[StepVerdict, ...]:
    """The verdicts in a file. Raises UsageError with what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the verdict {str(path)!r}: {error.strerror}; give the file"
            " that jax-sif verify --verdict-file FILE wrote"
        ) from error
    return parse(content, str(path))


def parse(content: bytes, name: str) -> tuple[StepVerdict, ...]:
    """The verdicts in a text; errors name it `name`."""
    _check_schema(_decode(content, _Head, name).schema, name)
    return _decode(content, VerdictFile, name).verdicts


def _decode(content: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{name!r} is no verdict of jax-sif: {error}; give the file that jax-sif"
            " verify --verdict-file FILE wrote"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"{name!r} is not JSON: {error}; give the file that jax-sif verify"
            " --verdict-file FILE wrote, not the job's output"
        ) from error


def _check_schema(schema: str | None, name: str) -> None:
    if schema == SCHEMA:
        return
    if schema and schema.startswith(_FAMILY):
        raise UsageError(
            f"{name!r} has the schema {schema!r}, and this jax-sif reads {SCHEMA!r};"
            " make the report with the jax-sif of the job's image: singularity exec"
            " $JAX_IMAGE jax-sif report"
        )
    raise UsageError(
        f"{name!r} has the schema {schema!r}, expected {SCHEMA!r}; give the file that"
        " jax-sif verify --verdict-file FILE wrote"
    )
