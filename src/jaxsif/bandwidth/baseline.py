"""The baseline: speeds of healthy runs, by hardware and topology."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tomllib

from jaxsif.bandwidth import hardware, results
from jaxsif.bandwidth.collectives import COLLECTIVES, DTYPES
from jaxsif.core.errors import UsageError
from jaxsif.core.text import format_size, format_table, printable
from jaxsif.core.verdict_file import StepVerdict

SCHEMA = "jax-sif/baseline/1"

_HEADER = """\
# Speeds of healthy runs; written by `jax-sif baseline add`, read by `jax-sif verify --baseline`.
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


def parse(text: str, name: str) -> Baseline:
    """Parse a baseline file. Raises UsageError that names the mistake."""
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{name} is not TOML: {error}; jax-sif baseline add writes such files"
        ) from error
    if content.get("schema") != SCHEMA:
        raise UsageError(
            f"{name} has the schema {content.get('schema')!r}, expected {SCHEMA!r}; is it"
            " a file that jax-sif baseline add has written?"
        )
    entries = content.get("known", [])
    if not isinstance(entries, list):
        raise UsageError(f"{name}: known is no list of tables; write [[known]]")
    return Baseline(name, dict(_entry(e, name, n) for n, e in enumerate(entries, 1)))


def _entry(entry: Any, name: str, number: int) -> tuple[Key, tuple[float, ...]]:
    where = f"{name}: [[known]] number {number}"
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {entry!r}, expected a table")
    for field_name, kind in (
        ("hardware", str),
        ("topology", str),
        ("collective", str),
        ("dtype", str),
        ("size_bytes", int),
        ("runs", list),
    ):
        if not isinstance(entry.get(field_name), kind):
            raise UsageError(
                f"{where}: {field_name} is {entry.get(field_name)!r}, expected"
                f" {'text' if kind is str else 'a number' if kind is int else 'a list'}"
            )
    for field_name, known in (("collective", COLLECTIVES), ("dtype", DTYPES)):
        if entry[field_name] not in known:
            raise UsageError(
                f"{where}: {field_name} is {entry[field_name]!r}; there are"
                f" {', '.join(known)}"
            )
    runs = entry["runs"]
    if not runs or not all(isinstance(r, (int, float)) and r > 0 for r in runs):
        raise UsageError(f"{where}: runs is {runs!r}, expected speeds above 0")
    key = Key(*(entry[n] for n in Key.__dataclass_fields__))
    return key, tuple(map(float, runs))


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
    """Return the baseline with one more run, a verdict of `jax-sif verify --verdict-file`.

    Raises UsageError if the run did not pass, measured nothing or had wrong elements.
    """
    if verdict.verdict != "PASS":
        raise UsageError(
            f"{run_id}: the verdict is {verdict.verdict!r}, expected 'PASS'; add"
            " only runs that are known to be good"
        )
    ranks = {rank.rank: rank for rank in verdict.ranks}
    found = results.points(ranks)
    if not found:
        raise UsageError(
            f"{run_id}: no bandwidth was measured there; run jobs/bandwidth.slurm and"
            " write its verdict with jax-sif verify --verdict-file FILE"
        )
    name = hardware.hardware_name(hardware.nodes(ranks))
    label = verdict.topology.label
    runs = dict(baseline.runs)
    for point in found:
        key = Key(name, label, point.collective, point.dtype, point.size_bytes)
        # A single device sends nothing, so there is no speed.
        if point.bus_gb_per_s > 0:
            runs[key] = (*runs.get(key, ()), point.bus_gb_per_s)[-_MAX_RUNS:]
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
