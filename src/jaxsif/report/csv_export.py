"""All samples as tidy CSV: one row per rank, measurement and trial."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from jaxsif.bandwidth import collectives
from jaxsif.core.records import BandwidthRecord, PairRecord
from jaxsif.core.verdict_file import StepVerdict

COLUMNS = (
    "step",
    "topology",
    "rank",
    "node",
    "measurement",
    "collective",
    "dtype",
    "size_bytes",
    "devices",
    "partner_rank",
    "partner_node",
    "round",
    "trial",
    "time_us",
    "alg_gb_per_s",
    "bus_gb_per_s",
    "wrong",
    "timed_out",
)

Row = dict[str, object]
# Negative numbers are not affected: they are not strings.
_FORMULA = ("=", "+", "-", "@")


def as_csv(verdicts: Iterable[StepVerdict]) -> str:
    """CSV (RFC 4180) with a header; fields that do not apply are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for verdict in verdicts:
        writer.writerows(
            {name: _cell(value) for name, value in row.items()} for row in rows(verdict)
        )
    return text.getvalue()


def _cell(value: object) -> object:
    """Escape text that a spreadsheet would read as a formula."""
    is_formula = isinstance(value, str) and value.lstrip().startswith(_FORMULA)
    return f"'{value}" if is_formula else value


def rows(verdict: StepVerdict) -> Iterator[Row]:
    """The phases' times, then bandwidths, then pairs."""
    yield from _phases(verdict)
    yield from _bandwidths(verdict)
    yield from _pairs(verdict)


def _phases(verdict: StepVerdict) -> Iterator[Row]:
    """Times of the phases, in microseconds after the first of the rank's node."""
    zeros: dict[str, float] = {}
    for rank in verdict.ranks:
        for time_s in rank.times_s.values():
            zeros[rank.node] = min(zeros.get(rank.node, time_s), time_s)
    for rank in verdict.ranks:
        for phase, time_s in rank.times_s.items():
            yield {
                **_who(verdict, rank.rank, rank.node),
                "measurement": f"phase {phase}",
                "time_us": round((time_s - zeros[rank.node]) * 1e6),
            }


def _bandwidths(verdict: StepVerdict) -> Iterator[Row]:
    for rank, result in verdict.measured(BandwidthRecord):
        factor = _bus_factor(result)
        for trial, time_us in enumerate(result.times_us):
            speed = _gb_per_s(result.size_bytes, time_us)
            yield {
                **_who(verdict, rank.rank, rank.node),
                "measurement": "bandwidth",
                "collective": result.collective,
                "dtype": result.dtype,
                "size_bytes": result.size_bytes,
                "devices": result.devices,
                "trial": trial,
                "time_us": time_us,
                "alg_gb_per_s": _rounded(speed),
                "bus_gb_per_s": _rounded(speed and speed * factor),
                "wrong": result.wrong_elements,
            }


def _pairs(verdict: StepVerdict) -> Iterator[Row]:
    for rank, pair in verdict.measured(PairRecord):
        # One row without a time for an exchange that timed out.
        for trial, time_us in enumerate(pair.times_us or (None,)):
            speed = None if time_us is None else _gb_per_s(pair.size_bytes, time_us)
            yield {
                **_who(verdict, rank.rank, rank.node),
                "measurement": f"pair {pair.kind}".strip(),
                "size_bytes": pair.size_bytes,
                "partner_rank": pair.partner,
                "partner_node": pair.partner_node,
                "round": pair.round,
                "trial": trial,
                "time_us": time_us,
                "alg_gb_per_s": _rounded(speed),
                "wrong": pair.wrong_elements,
                "timed_out": int(pair.timed_out),
            }


def _who(verdict: StepVerdict, rank: int, node: str) -> Row:
    return {
        "step": verdict.step,
        "topology": verdict.topology.label,
        "rank": rank,
        "node": node,
    }


def _gb_per_s(size_bytes: int, time_us: float) -> float | None:
    return collectives.algorithm_gb_per_s(size_bytes, time_us) if time_us > 0 else None


def _bus_factor(result: BandwidthRecord) -> float:
    """1 for a collective of a later jax-sif."""
    known = result.collective in collectives.COLLECTIVES
    return collectives.bus_factor(result.collective, result.devices) if known else 1.0


def _rounded(speed: float | None) -> float | None:
    return None if speed is None else float(f"{speed:.6g}")
