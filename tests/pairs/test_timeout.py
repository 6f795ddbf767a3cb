"""PartnerTimeout with a partner: it lasts while the partner responds, and reports before it ends the rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import Identity
from jaxsif.pairs import timeout
from jaxsif.pairs.timeout import PartnerTimeout, partner_timeout

FACTS = {"round": 2, "partner": 3, "partner_node": "node4", "size_bytes": 8}


class RecordingReporter:
    """The part of a reporter that is used."""

    identity = Identity("box.7.0.0", 1, 4, 0, "node2", "")

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []

    def write(self, phase: str, *, is_flushed: bool, **facts: Any) -> None:
        assert not is_flushed
        self.records.append((phase, facts))


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeout, "_FLUSH_DELAY_S", 0.0)


def test_a_partner_that_does_not_respond_is_reported_before_the_rank_ends(capfd):
    reporter, ended = RecordingReporter(), threading.Event()
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    with PartnerTimeout(reporter, 0.05, FACTS, end):
        assert ended.wait(10)

    outcome = {"times_us": [], "wrong": 0, "timed_out": True}
    assert [("pair", {**FACTS, **outcome})] == reporter.records
    assert [1] == statuses


def test_there_is_no_timeout_while_the_partner_responds():
    reporter = RecordingReporter()
    statuses: list[int] = []
    with PartnerTimeout(reporter, 1.0, FACTS, statuses.append) as waiting:
        for _ in range(12):
            time.sleep(0.1)
            waiting.reset()

    assert ([], []) == (reporter.records, statuses)


def test_there_is_no_timeout_after_the_block_has_ended():
    reporter = RecordingReporter()
    statuses: list[int] = []
    with PartnerTimeout(reporter, 0.1, FACTS, statuses.append):
        pass
    time.sleep(0.3)

    assert ([], []) == (reporter.records, statuses)


@pytest.mark.parametrize("seconds", [0.0, -3.0, 3601.0, float("nan"), float("inf")])
def test_no_time_to_answer_and_no_end_of_it_are_refused(seconds):
    with pytest.raises(UsageError, match=r"--answer-within is .* from 1 to 3600"):
        partner_timeout(seconds)


def test_a_second_and_an_hour_are_taken():
    assert [1.0, 3600.0] == [partner_timeout(1.0), partner_timeout(3600.0)]
