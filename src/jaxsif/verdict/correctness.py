"""Checks of all-reduce results and of the peers' identity."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from jaxsif.core.evidence import Finding, StepEvidence, ranks_of, where
from jaxsif.core.history import RankHistory
from jaxsif.core.records import (
    PHASES,
    AllReduceRecord,
    BandwidthRecord,
    IdentityRecord,
)


def foreign_peers(case: StepEvidence) -> Iterator[Finding]:
    """The all-reduce contains a value that no rank of this run contributes."""
    reporting_ranks = [
        s
        for s in case.histories.values()
        if (identity := s.last(IdentityRecord)) and identity.foreign_count
    ]
    if not reporting_ranks:
        return
    votes = Counter(
        rank
        for history in reporting_ranks
        if (identity := history.last(IdentityRecord))
        for rank in {slot[0] for slot in identity.foreign_slots}
    )
    # A rank that computes wrongly implicates all others; each has only its vote.
    implicated = {rank for rank, n in votes.items() if n == max(votes.values())}
    peers = [
        case.histories.get(r, RankHistory(r, "unknown")) for r in sorted(implicated)
    ]
    yield Finding(
        "foreign-peer",
        f"{where(reporting_ranks)}: the all-reduce contains a foreign contribution in"
        f" the slot of {where(peers)}",
        "another step or job answers instead of that rank (do two steps share"
        " JAX_COORDINATOR_PORT?), or its device computes wrongly; do not trust results",
        tuple(sorted(implicated)),
    )


def wrong_sums(case: StepEvidence) -> Iterator[Finding]:
    """The all-reduce of ones differs from the number of devices."""
    by_sum: dict[float, list[RankHistory]] = defaultdict(list)
    for history in case.histories.values():
        record = history.last(AllReduceRecord)
        if record is not None and (
            record.value != case.topology.devices or record.wrong_elements
        ):
            by_sum[record.value].append(history)
    for got, group in by_sum.items():
        yield Finding(
            "wrong-sum",
            f"{where(group)}: the all-reduce of ones gave {got:g},"
            f" {case.topology.devices} expected",
            "do not trust results from this allocation; check which ranks are foreign"
            " or missing",
            ranks_of(group),
        )


def peers_not_verified(case: StepEvidence) -> Iterator[Finding]:
    """A rank finished without verifying its peers' identity."""
    silent = [
        s
        for s in case.histories.values()
        if s.is_done
        and not s.last(IdentityRecord)
        and not (s.connected and s.connected.peers_verified)
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
    """A rank finished, but a record that the other ranks wrote did not arrive."""
    finished = [history for history in case.histories.values() if history.is_done]
    results = {history.rank: _results(history) for history in finished}
    written = set().union(*results.values())
    silent = [history for history in finished if results[history.rank] != written]
    if silent:
        lost = sorted(set().union(*(written - results[s.rank] for s in silent)))
        yield Finding(
            "record-lost",
            f"{where(silent)}: no record of {', '.join(lost[:4])}, which other ranks"
            " reported",
            "check the output above for a damaged line; run the job again",
            ranks_of(silent),
            is_failure=False,
        )


def _results(history: RankHistory) -> set[str]:
    """The phases and measurements that every rank of a group reports."""
    # devices_not_reported covers the devices.
    phases = {p for p in PHASES if p in history.phases and p != "devices"}
    measured = {
        f"{r.collective} {r.dtype} at {r.size_bytes} bytes"
        for r in history.measured(BandwidthRecord)
    }
    return phases | measured
