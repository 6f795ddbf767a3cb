"""PartnerTimeout with a partner: it lasts as long as there are answers, and its end is told before the rank's."""
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


class Voice:
    """The part of a reporter that is used."""

    identity = Identity("box.7.0.0", 1, 4, 0, "node2", "")

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def write(self, phase: str, *, is_flushed: bool, **facts: Any) -> None:
        assert not is_flushed
        self.told.append((phase, facts))


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeout, "_FLUSH_DELAY_S", 0.0)


def test_a_partner_that_does_not_answer_is_told_before_the_rank_ends(capfd):
    voice, ended = Voice(), threading.Event()
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    with PartnerTimeout(voice, 0.05, FACTS, end):
        assert ended.wait(10)

    silence = {"times_us": [], "wrong": 0, "timed_out": True}
    assert [("pair", {**FACTS, **silence})] == voice.told
    assert [1] == statuses


def test_as_long_as_answers_come_nobody_gives_up():
    voice = Voice()
    statuses: list[int] = []
    with PartnerTimeout(voice, 1.0, FACTS, statuses.append) as waiting:
        for _ in range(12):
            time.sleep(0.1)
            waiting.heard()

    assert ([], []) == (voice.told, statuses)


def test_after_the_last_answer_nobody_waits_any_more():
    voice = Voice()
    statuses: list[int] = []
    with PartnerTimeout(voice, 0.1, FACTS, statuses.append):
        pass
    time.sleep(0.3)

    assert ([], []) == (voice.told, statuses)


@pytest.mark.parametrize("seconds", [0.0, -3.0, 3601.0, float("nan"), float("inf")])
def test_no_time_to_answer_and_no_end_of_it_are_refused(seconds):
    with pytest.raises(UsageError, match=r"--answer-within is .* from 1 to 3600"):
        partner_timeout(seconds)


def test_a_second_and_an_hour_are_taken():
    assert [1.0, 3600.0] == [partner_timeout(1.0), partner_timeout(3600.0)]
