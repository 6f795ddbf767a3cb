"""Read the files of `jax-sif verify --verdict-file`, or say why they are invalid."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from jaxsif.bandwidth.figures import Figure
from jaxsif.core.errors import UsageError
from jaxsif.core.records import Record
from jaxsif.pairs.figures import NodePairs

SCHEMA = "jax-sif/verdict/1"
SCHEMA_FILE = Path(__file__).parent / "verdict-1.schema.json"

_FAMILY = "jax-sif/verdict/"

# Fields that are not named here are those of a later jax-sif, and no error: within a
# schema's number fields are added, and none changes or goes.
T = TypeVar("T", bound=msgspec.Struct)


class Topology(msgspec.Struct, frozen=True):
    """What was asked for."""

    label: str
    nodes: int
    processes: int
    devices: int


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong: what and where, what to do, and which ranks it names."""

    kind: str
    text: str
    remedy: str
    ranks: tuple[int, ...] = ()
    is_warning: bool = False
    is_failure: bool = True


class Rank(msgspec.Struct, frozen=True):
    """One rank: the last record of each phase it told, and all that it measured."""

    rank: int
    node: str
    phase: str
    told: dict[str, Record]
    measured: tuple[Record, ...] = ()

    def fact(self, phase: str, name: str) -> Any:
        """A fact of a phase; None when the rank never told it."""
        return self.told.get(phase, {}).get(name)

    def time_s(self, phase: str) -> float | None:
        """When it told a phase, by its node's clock."""
        time_s = self.fact(phase, "time")
        return float(time_s) if isinstance(time_s, (int, float)) else None


class Verdict(msgspec.Struct, frozen=True):
    """On one step."""

    step: str
    topology: Topology
    status: Literal[0, 1, 3]
    verdict: Literal["PASS", "FAIL", "COULD NOT TELL"]
    summary: str
    findings: tuple[Finding, ...]
    ranks: tuple[Rank, ...]
    # None in the file of an earlier jax-sif, which has no figures.
    bandwidth: tuple[Figure, ...] | None = None
    # None too where no pair of nodes was measured.
    pairs: NodePairs | None = None

    @property
    def name(self) -> str:
        """The step, or a word for it where nobody named one."""
        return self.step or "unnamed step"

    @property
    def program(self) -> str:
        """The file that the ranks ran, told as `train.py 1a2b3c4d`; a dash if none did."""
        told = (rank.fact("started", "program") for rank in self.ranks)
        return next((str(p).rpartition(" ")[0] for p in told if p), "-")

    @property
    def slow_nodes(self) -> dict[int, str]:
        """The node of every rank that a finding names, as far as it is known."""
        nodes = {rank.rank: rank.node for rank in self.ranks}
        named = sorted({rank for f in self.findings for rank in f.ranks})
        return {rank: nodes.get(rank, "unknown node") for rank in named}

    @property
    def began_s(self) -> float | None:
        """The earliest time that any rank told."""
        times = [rank.time_s(phase) for rank in self.ranks for phase in rank.told]
        return min((time for time in times if time is not None), default=None)


class _Head(msgspec.Struct):
    schema: str | None = None


class _Document(msgspec.Struct):
    schema: str
    verdicts: tuple[Verdict, ...]


def read(path: Path) -> tuple[Verdict, ...]:
    """The verdicts in a file. Raises UsageError with what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the verdict {str(path)!r}: {error.strerror}; give the file that"
            " jax-sif verify --verdict-file FILE wrote"
        ) from error
    return parse(content, str(path))


def parse(content: bytes, name: str) -> tuple[Verdict, ...]:
    """The verdicts in a text, which is called `name` where something is wrong."""
    _check_schema(_decode(content, _Head, name).schema, name)
    return _decode(content, _Document, name).verdicts


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
            f"{name!r} has the schema {schema!r}, and this jax-sif reads {SCHEMA!r}; make"
            " the report with the jax-sif of the job's image: singularity exec"
            " $JAX_IMAGE jax-sif report"
        )
    raise UsageError(
        f"{name!r} has the schema {schema!r}, expected {SCHEMA!r}; give the file that"
        " jax-sif verify --verdict-file FILE wrote"
    )
