"""Wrong sums, and peers that are not this run's; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from jaxsif.core.evidence import Finding, StepEvidence
from jaxsif.core.history import RankHistory
from jaxsif.core.naming import ranks_of, where
from jaxsif.core.records import PHASES


def foreign_peers(case: StepEvidence) -> Iterator[Finding]:
    """A peer contributed what no rank of this run can have contributed."""
    witnesses = [s for s in case.histories.values() if s.fact("identity", "foreign")]
    if not witnesses:
        return
    accusers = Counter(
        rank
        for history in witnesses
        for rank in {slot[0] for slot in history.fact("identity", "slots")}
    )
    # A rank that computes wrongly also accuses the others, alone against many.
    slow_nodes = {rank for rank, n in accusers.items() if n == max(accusers.values())}
    peers = [
        case.histories.get(r, RankHistory(r, "unknown")) for r in sorted(slow_nodes)
    ]
    yield Finding(
        "foreign-peer",
        f"{where(witnesses)}: the all-reduce holds a contribution that is not this"
        f" run's in the place of {where(peers)}",
        "another step or job answers in that rank's place (do two steps share"
        " JAX_COORDINATOR_PORT?), or its device computes wrongly; do not trust results",
        tuple(sorted(slow_nodes)),
    )


def wrong_sums(case: StepEvidence) -> Iterator[Finding]:
    """The all-reduce of ones gave another number than there are devices."""
    by_sum: dict[float, list[RankHistory]] = defaultdict(list)
    for history in case.histories.values():
        got = history.fact("allreduce", "got")
        if got is not None and (
            got != case.topology.devices or history.fact("allreduce", "wrong")
        ):
            by_sum[got].append(history)
    for got, group in by_sum.items():
        yield Finding(
            "wrong-sum",
            f"{where(group)}: the all-reduce of ones gave {got:g},"
            f" {case.topology.devices} expected",
            "do not trust results of this allocation; see which ranks are foreign or"
            " missing",
            ranks_of(group),
        )


def peers_not_verified(case: StepEvidence) -> Iterator[Finding]:
    """A rank finished without the one measurement that proves who its peers were."""
    silent = [
        s
        for s in case.histories.values()
        if s.is_done and "identity" not in s.told and not s.fact("connected", "has_met")
    ]
    if silent:
        yield Finding(
            "peers-not-verified",
            f"{where(silent)} finished without verifying its peers",
            "let the program call prove_identity() as diag/allreduce.py does",
            ranks_of(silent),
            is_failure=False,
        )


def records_lost(case: StepEvidence) -> Iterator[Finding]:
    """A rank finished, and a record that the other ranks have written did not arrive."""
    finished = [history for history in case.histories.values() if history.is_done]
    results = {history.rank: _results(history) for history in finished}
    written = set().union(*results.values())
    silent = [history for history in finished if results[history.rank] != written]
    if silent:
        lost = sorted(set().union(*(written - results[s.rank] for s in silent)))
        yield Finding(
            "record-lost",
            f"{where(silent)}: no record of {', '.join(lost[:4])}, which other ranks"
            " have written",
            "see whether a line of the output above is damaged; run the job again",
            ranks_of(silent),
            is_failure=False,
        )


def _results(history: RankHistory) -> set[str]:
    """The phases, and the measurements, that every rank of a group reports."""
    # A finding of its own speaks of the devices.
    phases = {p for p in PHASES if p in history.told and p != "devices"}
    measured = {
        f"{r['collective']} {r['dtype']} at {r['size_bytes']} bytes"
        for r in history.measured
        if r["phase"] == "bandwidth" and r.keys() >= _POINT
    }
    return phases | measured


_POINT = {"collective", "dtype", "size_bytes"}
