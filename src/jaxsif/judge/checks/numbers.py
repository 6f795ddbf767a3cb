"""Wrong sums, and peers that are not this run's; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from jaxsif.judge.board import Story
from jaxsif.judge.case import Case, Finding
from jaxsif.judge.naming import numbers_of, where


def identity_foreign(case: Case) -> Iterator[Finding]:
    """A peer contributed what no rank of this run can have contributed."""
    witnesses = [s for s in case.stories.values() if s.fact("identity", "foreign")]
    if not witnesses:
        return
    accusers = Counter(
        rank
        for story in witnesses
        for rank in {slot[0] for slot in story.fact("identity", "slots")}
    )
    # A rank that computes wrongly also accuses the others, alone against many.
    accused = {rank for rank, n in accusers.items() if n == max(accusers.values())}
    peers = [case.stories.get(r, Story(r, "unknown")) for r in sorted(accused)]
    yield Finding(
        "foreign-identity",
        f"{where(witnesses)}: the all-reduce holds a contribution that is not this"
        f" run's in the place of {where(peers)}",
        "another step or job answers in that rank's place (do two steps share"
        " JAX_COORDINATOR_PORT?), or its device computes wrongly; do not trust results",
        tuple(sorted(accused)),
    )


def sums_wrong(case: Case) -> Iterator[Finding]:
    """The all-reduce of ones gave another number than there are devices."""
    by_sum: dict[float, list[Story]] = defaultdict(list)
    for story in case.stories.values():
        got = story.fact("allreduce", "got")
        if got is not None and (
            got != case.topology.devices or story.fact("allreduce", "wrong")
        ):
            by_sum[got].append(story)
    for got, group in by_sum.items():
        yield Finding(
            "wrong-sum",
            f"{where(group)}: the all-reduce of ones gave {got:g},"
            f" {case.topology.devices} expected",
            "do not trust results of this allocation; see which ranks are foreign or"
            " missing",
            numbers_of(group),
        )


def identity_unproven(case: Case) -> Iterator[Finding]:
    """A rank finished without the one measurement that proves who its peers were."""
    silent = [
        s
        for s in case.stories.values()
        if s.is_done and "identity" not in s.told and not s.fact("connected", "has_met")
    ]
    if silent:
        yield Finding(
            "identity-unproven",
            f"{where(silent)} finished without proving its peers",
            "let the program call prove_identity() as diag/allreduce.py does",
            numbers_of(silent),
            is_failure=False,
        )
