"""The attempts file: what `jax-sif recover` writes, and reports read."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from jaxsif.core.errors import UsageError

Schema = Literal["jax-sif/attempts/1"]
SCHEMA: Schema = "jax-sif/attempts/1"
SUFFIX = ".attempts.json"

Action = Literal["start", "done", "stop", "requeue"]


class Cause(Struct, frozen=True):
    """Why an attempt ended: the first finding of its verdict."""

    kind: Annotated[
        str, Meta(description="The finding's kind; empty if none is known.")
    ]
    text: str
    ranks: tuple[int, ...] = ()
    nodes: Annotated[
        tuple[str, ...], Meta(description="The nodes of these ranks, as far as known.")
    ] = ()
    error: Annotated[
        str, Meta(description="The exception's first line; empty if there was none.")
    ] = ""


class NodeLeftOut(Struct, frozen=True):
    """A node that no later attempt uses."""

    node: str
    reason: str


class Decision(Struct, frozen=True):
    """What follows from an attempt."""

    action: Action
    reason: str
    nodes: Annotated[
        tuple[str, ...], Meta(description="Of the next attempt, in Slurm's order.")
    ] = ()
    left_out: Annotated[
        tuple[NodeLeftOut, ...], Meta(description="Nodes left out from now on.")
    ] = ()
    pause_s: float = 0.0


class Attempt(Struct, frozen=True, kw_only=True):
    """One start of the program. Times are seconds since 1970, by the job's first node."""

    number: Annotated[int, Meta(ge=1, description="JAX_SIF_ATTEMPT of the program.")]
    nodes: tuple[str, ...]
    started: float
    ended: float
    status: Annotated[int, Meta(description="Exit status, as of the job.")]
    cause: Cause | None = None
    begun: Annotated[
        float | None, Meta(description="First record of a rank, by its clock.")
    ] = None
    first_done: Annotated[
        int | None, Meta(description="Steps done at its start; null if not reported.")
    ] = None
    last_done: Annotated[
        int | None, Meta(description="Steps done at its end, by the last report.")
    ] = None
    first_time: Annotated[
        float | None, Meta(description="Of the first report, by rank 0's clock.")
    ] = None
    last_time: Annotated[float | None, Meta(description="Of the last report.")] = None
    decision: Decision

    @property
    def detect_s(self) -> float | None:
        """From the last sign of progress to the verdict; None if unknown."""
        if self.last_time is None:
            return None
        return max(0.0, self.ended - self.last_time)

    @property
    def progress_s(self) -> float:
        """From the first report of progress to the last one."""
        if self.first_time is None or self.last_time is None:
            return 0.0
        return max(0.0, self.last_time - self.first_time)


class AttemptsFile(Struct, frozen=True, kw_only=True):
    """All attempts of a job. `goodput` is the share of the time from the first start to
    the last end in which steps advanced that no earlier attempt had done."""

    schema: Schema = SCHEMA
    kit: str
    job: str
    name: str
    topology: str
    devices: int
    spare_nodes: int
    max_restarts: int
    attempts: tuple[Attempt, ...]
    goodput: Annotated[
        float | None, Meta(description="0 to 1; null if no progress was reported.")
    ] = None
    device_hours_lost: Annotated[
        float | None, Meta(description="Devices of the topology times the lost hours.")
    ] = None

    @property
    def left_out(self) -> tuple[NodeLeftOut, ...]:
        """Every node that was left out, in order of time."""
        return tuple(n for a in self.attempts for n in a.decision.left_out)

    @property
    def elapsed_s(self) -> float:
        """From the first start to the last end."""
        if not self.attempts:
            return 0.0
        return max(0.0, self.attempts[-1].ended - self.attempts[0].started)


def restart_seconds(attempts: Sequence[Attempt]) -> list[float | None]:
    """For each attempt, from the end of the one before to its first report of progress.

    None for the first one, and where no progress was reported.
    """
    found: list[float | None] = []
    for before, attempt in zip([None, *attempts], attempts, strict=False):
        is_known = before is not None and attempt.first_time is not None
        found.append(
            max(0.0, attempt.first_time - before.ended)
            if is_known and before is not None and attempt.first_time is not None
            else None
        )
    return found


def useful_seconds(attempts: Sequence[Attempt]) -> float | None:
    """The time in which steps advanced for the first time; None without reports."""
    if all(attempt.last_done is None for attempt in attempts):
        return None
    useful_s, best = 0.0, 0
    for attempt in attempts:
        if attempt.first_done is None or attempt.last_done is None:
            continue
        done = attempt.last_done - attempt.first_done
        new = max(0, attempt.last_done - max(best, attempt.first_done))
        useful_s += attempt.progress_s * new / done if done > 0 else 0.0
        best = max(best, attempt.last_done)
    return useful_s


def with_totals(file: AttemptsFile) -> AttemptsFile:
    """The file with goodput and device hours lost, computed from its attempts."""
    useful_s, elapsed_s = useful_seconds(file.attempts), file.elapsed_s
    if useful_s is None or elapsed_s <= 0:
        return file
    lost_s = max(0.0, elapsed_s - useful_s)
    return msgspec.structs.replace(
        file,
        goodput=round(min(1.0, useful_s / elapsed_s), 4),
        device_hours_lost=round(file.devices * lost_s / 3600, 3),
    )


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:jax-sif:attempts:1",
        **msgspec.json.schema(AttemptsFile),
    }


def read(path: Path) -> AttemptsFile:
    """The file's content. Raises UsageError with what is wrong with it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=AttemptsFile)
    except OSError as error:
        raise UsageError(
            f"cannot read the attempts {str(path)!r}: {error.strerror}; give the"
            f" NAME-JOB{SUFFIX} of a job with restarts"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"{str(path)!r} is no file of attempts: {error}; give the"
            f" NAME-JOB{SUFFIX} of a job with restarts"
        ) from error
