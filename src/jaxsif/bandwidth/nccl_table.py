"""Formats results as nccl-tests does, byte for byte, for existing parsers."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jaxsif.bandwidth.collectives import (
    COLLECTIVES,
    DTYPES,
    algorithm_gb_per_s,
    bus_gb_per_s,
)
from jaxsif.core.text import format_size

# nccl-tests: src/util.cu, writeResultHeader and writeBenchmarkLine... Only the columns
# of out-of-place: whether XLA works in place is its own choice.
_WIDTHS = (10, 12, 8, 6, 6, 7, 6, 6, 6)
_COLUMNS = (
    "size",
    "count",
    "type",
    "redop",
    "root",
    "time",
    "algbw",
    "busbw",
    "#wrong",
)
_UNITS = ("(B)", "(elements)", "", "", "", "(us)", "(GB/s)", "(GB/s)", "")


@dataclass(frozen=True)
class TableRow:
    """One size: the time of one collective, mean of the ranks, median of the trials."""

    collective: str
    dtype: str
    size_bytes: int
    count: int
    time_us: float
    wrong: int
    devices: int
    # The interquartile range of the trials, relative to their median.
    spread: float = 0.0

    @property
    def bus_gb_per_s(self) -> float:
        return bus_gb_per_s(
            self.collective, self.size_bytes, self.time_us, self.devices
        )

    def text(self) -> str:
        kind = COLLECTIVES[self.collective]
        first = (
            f"{self.size_bytes:12d}  {self.count:12d}  {DTYPES[self.dtype][0]:>8}"
            f"  {kind.redop:>6}  {kind.root:6d}"
        )
        speed = algorithm_gb_per_s(self.size_bytes, self.time_us)
        return (
            f"{first}  {_format_fitting(self.time_us, 7)}  {_format_fitting(speed, 6)}"
            f"  {_format_fitting(self.bus_gb_per_s, 6)}  {self.wrong:>6g}"
        )


def _format_fitting(value: float, width: int) -> str:
    """Format with as many decimals as fit, like getFloatStr of nccl-tests."""
    digits = len(str(int(value))) if value >= 1 else 0
    decimals = 2 if digits < width - 2 else 1 if digits < width - 1 else 0
    text = f"{value:{width}.{decimals}f}"
    return text if len(text) <= width else f"{value:{width}.1e}"


def preamble(trials: int, budget_s: float, devices: int, processes: int) -> list[str]:
    """The lines before the first table: what is measured, and how."""
    return [
        f"# jax-sif bandwidth: {devices} devices in {processes} processes,"
        f" {trials} trials of each size, time budget {budget_s:g} s",
        "# time: median of the trials, each the mean of the ranks; many collectives in"
        " one program, every element checked in every trial",
    ]


def header(collective: str, dtype: str) -> list[str]:
    """Title and columns of one table."""
    pad = " " * (2 + sum(_WIDTHS[:5]) + 2 * 4)
    return [
        "#",
        f"# Collective test starting: {COLLECTIVES[collective].program}"
        f" ({collective}, {dtype})",
        "#",
        f"#{pad[1:]}           out-of-place",
        _line(_COLUMNS),
        _line(_UNITS),
    ]


def _line(cells: Iterable[str]) -> str:
    padded = [f"{w:>{n}}" for w, n in zip(cells, _WIDTHS, strict=True)]
    return f"# {'  '.join(padded)}".rstrip()


def footer(rows: Sequence[TableRow], collective: str) -> list[str]:
    """The summary as in nccl-tests, and the speed at the largest size."""
    if not rows:
        return []
    bad = sum(row.wrong > 0 for row in rows)
    mean = statistics.fmean(row.bus_gb_per_s for row in rows)
    largest = rows[-1]
    return [
        f"# {'Out of bounds values':<20} : {bad} {'FAILED' if bad else 'OK'}",
        f"# {'Avg bus bandwidth':<20} : {mean:g} ",
        f"# {'At the largest size':<20} : {largest.bus_gb_per_s:.4g} GB/s busbw,"
        f" {format_size(largest.size_bytes)}, the middle half of the trials within"
        f" {100 * largest.spread:.0f} %",
        "#",
        f"# Collective test concluded: {COLLECTIVES[collective].program}",
    ]
