"""The baseline: speeds of healthy runs, by hardware and topology."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import tomllib
from msgspec import Meta

from jaxsif.bandwidth import hardware
from jaxsif.bandwidth.collectives import COLLECTIVES, DTYPES
from jaxsif.core.errors import UsageError
from jaxsif.core.text import format_size, format_table, printable
from jaxsif.core.verdict_file import StepVerdict

SCHEMA = "jax-sif/baseline/1"

_HEADER = """\
# Speeds of healthy runs; written by `jax-sif baseline add`, read by
# `jax-sif verify --baseline`.
# Values of `runs` are busbw in GB/s, one a run; the expected value is their median.
"""
# Older runs are dropped.
_MAX_RUNS = 50


@dataclass(frozen=True)
class Key:
    """What was measured, and on which hardware."""

    hardware: str
    topology: str
    collective: str
    dtype: str
    size_bytes: int


@dataclass(frozen=True)
class Baseline:
    """busbw in GB/s of every known run, by what was measured; `name` is its file."""

    name: str = ""
    runs: Mapping[Key, tuple[float, ...]] = field(default_factory=dict)

    def expected_gb_per_s(self, key: Key) -> float | None:
        """The median of the runs; None if there are none."""
        return statistics.median(self.runs[key]) if key in self.runs else None

    def has_entry(self, hardware_name: str, topology: str) -> bool:
        """Whether there is any run of this hardware and topology."""
        return any(
            key.hardware == hardware_name and key.topology == topology
            for key in self.runs
        )


class _Entry(msgspec.Struct, frozen=True):
    """One [[known]] table of the file."""

    hardware: str
    topology: str
    collective: str
    dtype: str
    size_bytes: int
    runs: Annotated[list[Annotated[float, Meta(gt=0)]], Meta(min_length=1)]

    def __post_init__(self) -> None:
        for value, known in ((self.collective, COLLECTIVES), (self.dtype, DTYPES)):
            if value not in known:
                raise ValueError(f"{value!r} is not one of {', '.join(known)}")

    @property
    def key(self) -> Key:
        return Key(
            self.hardware, self.topology, self.collective, self.dtype, self.size_bytes
        )


class _File(msgspec.Struct, frozen=True):
    schema: Literal["jax-sif/baseline/1"]
    known: list[_Entry] = []


def parse(text: str, name: str) -> Baseline:
    """Parse a baseline file. Raises UsageError that names the mistake."""
    try:
        content = msgspec.convert(tomllib.loads(text), _File)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{name} is not a baseline: {error}; jax-sif baseline add writes such files"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{name} is not TOML: {error}; jax-sif baseline add writes such files"
        ) from error
    return Baseline(name, {entry.key: tuple(entry.runs) for entry in content.known})


def render(baseline: Baseline) -> str:
    """Format the file, in an order that changes little from run to run."""
    parts = [_HEADER, f'schema = "{SCHEMA}"\n']
    for key in sorted(baseline.runs, key=lambda k: tuple(vars(k).values())):
        runs = ", ".join(f"{run:.5g}" for run in baseline.runs[key])
        parts.append(
            "\n[[known]]\n"
            f"hardware = {_toml_string(key.hardware)}\n"
            f"topology = {_toml_string(key.topology)}\n"
            f"collective = {_toml_string(key.collective)}\n"
            f"dtype = {_toml_string(key.dtype)}\n"
            f"size_bytes = {key.size_bytes}  # {format_size(key.size_bytes)}\n"
            f"runs = [{runs}]\n"
        )
    return "".join(parts)


def _toml_string(text: str) -> str:
    """Quote as a basic TOML string; a driver's name may hold any character."""
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def with_run_added(baseline: Baseline, verdict: StepVerdict, run_id: str) -> Baseline:
    """Return the baseline with one more run: a verdict that `jax-sif verify` wrote.

    Raises UsageError if the run did not pass, measured nothing or had wrong elements.
    """
    if verdict.verdict != "PASS":
        raise UsageError(
            f"{run_id}: the verdict is {verdict.verdict!r}, expected 'PASS'; add"
            " only runs that are known to be good"
        )
    if not verdict.bandwidth:
        raise UsageError(
            f"{run_id}: no bandwidth was measured there; run jobs/bandwidth.slurm and"
            " write its verdict with jax-sif verify --verdict-file FILE"
        )
    nodes = hardware.nodes({rank.rank: rank for rank in verdict.ranks})
    name = hardware.hardware_name(nodes)
    label = verdict.topology.label
    runs = dict(baseline.runs)
    for figure in verdict.bandwidth:
        key = Key(name, label, figure.collective, figure.dtype, figure.size_bytes)
        # A single device sends nothing, so there is no speed.
        if figure.bus_gb_per_s > 0:
            runs[key] = (*runs.get(key, ()), figure.bus_gb_per_s)[-_MAX_RUNS:]
    return Baseline(baseline.name, runs)


def table(baseline: Baseline) -> str:
    """Format the baseline as text, one line per value."""
    rows = [
        ("hardware", "topology", "collective", "type", "size", "busbw", "range", "runs")
    ]
    for key, runs in sorted(
        baseline.runs.items(), key=lambda item: tuple(vars(item[0]).values())
    ):
        rows.append(
            (
                key.hardware,
                key.topology,
                key.collective,
                key.dtype,
                format_size(key.size_bytes),
                f"{statistics.median(runs):.4g} GB/s",
                f"{min(runs):.4g} to {max(runs):.4g}",
                str(len(runs)),
            )
        )
    return "\n".join([*format_table(rows), ""])
