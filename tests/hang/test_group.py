"""A hang of a group is found from its ranks' reports, and the right rank is named."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.hang import activity
from jaxsif.hang.group import Hang, Standstill, find_hang, program_line

JAX = "/opt/venv/lib/python3.13/site-packages/jax/_src/array.py:631 in _value"
STEP, CHECKPOINT, LOG = "train.py:57 in <module>", "save.py:9 in save", "log.py:3 in f"


def still(
    line: str = STEP,
    state: str = activity.BLOCKED,
    waits_in: str | None = "futex_do_wait",
    since_s: float = 0.0,
) -> Standstill:
    return Standstill(since_s, state, (JAX, line), waits_in)


@pytest.mark.parametrize(
    "odd",
    [
        still(CHECKPOINT, activity.SPINNING, None),
        still(CHECKPOINT, activity.IDLE, "hrtimer_nanosleep"),
        still(CHECKPOINT, activity.BLOCKED, "hrtimer_nanosleep"),
        still(CHECKPOINT, activity.BLOCKED, "wait_for_partner"),
        still(CHECKPOINT, activity.STOPPED, "do_signal_stop"),
        still(CHECKPOINT, activity.HOLDS_GIL, None),
        # At the line where the others wait: what it does there is not waiting.
        still(STEP, activity.STOPPED, "do_signal_stop"),
    ],
)
def test_a_rank_that_does_not_wait_is_named(odd):
    group = {0: still(), 1: still(), 2: odd, 3: still(LOG)}

    assert Hang((2,), STEP, 30, is_certain=True) == find_hang(group, 20, 30)


def test_among_waiting_ranks_the_fewest_are_named():
    group = {0: still(LOG), 1: still(), 2: still(), 3: still()}

    assert Hang((0,), STEP, 30) == find_hang(group, 20, 30)


def test_ranks_at_one_line_are_no_cause():
    group = dict.fromkeys(range(4), still())

    assert Hang((), STEP, 30) == find_hang(group, 20, 30)


def test_ranks_that_all_sleep_wait_for_none_of_them():
    group = dict.fromkeys(range(4), still(waits_in="hrtimer_nanosleep"))

    assert Hang((), STEP, 30) == find_hang(group, 20, 30)


@pytest.mark.parametrize(
    "group",
    [
        {0: still(), 1: None},
        # Since too short a time.
        {0: still(), 1: still(LOG, since_s=11)},
        # All run now and then: slow steps.
        {0: still(state=activity.IDLE), 1: still(LOG, state=activity.IDLE)},
        {},
    ],
)
def test_a_group_that_may_go_on_does_not_hang(group):
    assert find_hang(group, 20, 30) is None


def test_the_line_is_the_innermost_of_the_program():
    assert STEP == program_line((JAX, STEP, "main.py:1 in <module>"))
    assert JAX == program_line((JAX,))
