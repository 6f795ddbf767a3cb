"""All samples as tidy CSV: one row per rank, measurement and trial."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from jaxsif.bandwidth import collectives
from jaxsif.report.document import Verdict
from jaxsif.report.measured import Bandwidth, Pair, told

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


def as_csv(verdicts: Iterable[Verdict]) -> str:
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


def rows(verdict: Verdict) -> Iterator[Row]:
    """The phases' times, then bandwidths, then pairs."""
    yield from _phases(verdict)
    yield from _bandwidths(verdict)
    yield from _pairs(verdict)


def _phases(verdict: Verdict) -> Iterator[Row]:
    """Times of the phases, in microseconds after the first of the rank's node."""
    zeros: dict[str, float] = {}
    for rank in verdict.ranks:
        for phase in rank.told:
            if (time_s := rank.time_s(phase)) is not None:
                zeros[rank.node] = min(zeros.get(rank.node, time_s), time_s)
    for rank in verdict.ranks:
        for phase in rank.told:
            if (time_s := rank.time_s(phase)) is not None:
                time_us = round((time_s - zeros[rank.node]) * 1e6)
                yield {
                    **_who(verdict, rank.rank, rank.node),
                    "measurement": f"phase {phase}",
                    "time_us": time_us,
                }


def _bandwidths(verdict: Verdict) -> Iterator[Row]:
    for rank, result in told(verdict, "bandwidth", Bandwidth):
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
                "wrong": result.wrong,
            }


def _pairs(verdict: Verdict) -> Iterator[Row]:
    for rank, pair in told(verdict, "pair", Pair):
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
                "wrong": pair.wrong,
                "timed_out": int(pair.timed_out),
            }


def _who(verdict: Verdict, rank: int, node: str) -> Row:
    return {
        "step": verdict.step,
        "topology": verdict.topology.label,
        "rank": rank,
        "node": node,
    }


def _gb_per_s(size_bytes: int, time_us: float) -> float | None:
    return collectives.algorithm_gb_per_s(size_bytes, time_us) if time_us > 0 else None


def _bus_factor(result: Bandwidth) -> float:
    """1 for a collective of a later jax-sif."""
    known = result.collective in collectives.COLLECTIVES
    return collectives.bus_factor(result.collective, result.devices) if known else 1.0


def _rounded(speed: float | None) -> float | None:
    return None if speed is None else float(f"{speed:.6g}")
