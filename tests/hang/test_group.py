"""A hang of a group is found from its ranks' reports, and the right rank is named."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec.structs import replace as replace_record
from sample_records import samples

from jaxsif.hang import activity
from jaxsif.hang.group import (
    Hang,
    Standstill,
    Standstills,
    find_hang,
    format_stacks,
    program_line,
)

JAX = "/opt/venv/lib/python3.13/site-packages/jax/_src/array.py:631 in _value"
QUEUE = "/usr/lib/python3.13/queue.py:171 in get"
JOIN = "/usr/lib/python3.13/threading.py:1094 in join"
STEP, CHECKPOINT, LOG = "train.py:57 in <module>", "save.py:9 in save", "log.py:3 in f"


def still(
    line: str = STEP,
    state: str = activity.BLOCKED,
    waits_in: str | None = "futex_do_wait",
    since_s: float = 0.0,
) -> Standstill:
    return Standstill(since_s, state, (JAX, line), waits_in, is_alone=True)


@pytest.mark.parametrize(
    "odd",
    [
        still(CHECKPOINT, activity.SPINNING, None),
        still(CHECKPOINT, activity.BLOCKED, "hrtimer_nanosleep"),
        still(CHECKPOINT, activity.BLOCKED, "wait_for_partner"),
        still(CHECKPOINT, activity.STOPPED, "do_signal_stop"),
        still(CHECKPOINT, activity.HOLDS_GIL, None),
        # Its data loader is dead.
        replace(still(CHECKPOINT), stack=(QUEUE, CHECKPOINT)),
        # At the line where the others wait: what it does there is not waiting.
        still(STEP, activity.STOPPED, "do_signal_stop"),
    ],
)
def test_a_rank_that_does_not_wait_is_named(odd):
    group = {0: still(), 1: still(), 2: odd, 3: still(LOG)}

    assert Hang((2,), STEP, 30, is_certain=True) == find_hang(group, 20, 30)


@pytest.mark.parametrize(
    "odd",
    [
        # It polls for a file.
        still(CHECKPOINT, activity.IDLE, "hrtimer_nanosleep"),
        # An idle server, and a person who is asked.
        still(CHECKPOINT, activity.BLOCKED, "inet_csk_accept"),
        still(CHECKPOINT, activity.BLOCKED, "do_epoll_wait"),
        still(CHECKPOINT, activity.BLOCKED, "wait_woken"),
        # A child that waits for another job, and what one prints.
        still(CHECKPOINT, activity.BLOCKED, "do_wait"),
        still(CHECKPOINT, activity.BLOCKED, "pipe_read"),
        # Another process, the network, file systems, a file that is to come.
        still(CHECKPOINT, activity.BLOCKED, "unix_stream_read_generic"),
        still(CHECKPOINT, activity.BLOCKED, "sk_wait_data"),
        still(CHECKPOINT, activity.BLOCKED, "rpc_wait_bit_killable"),
        still(CHECKPOINT, activity.BLOCKED, "ptlrpc_set_wait"),
        still(CHECKPOINT, activity.BLOCKED, "locks_lock_inode_wait"),
        still(CHECKPOINT, activity.BLOCKED, "inotify_read"),
        still(CHECKPOINT, activity.BLOCKED, "a_function_to_come"),
        still(CHECKPOINT, activity.DISK_WAIT, "folio_wait_bit"),
        still(CHECKPOINT, activity.HOLDS_GIL, "sk_wait_data"),
        still(CHECKPOINT, activity.HOLDS_GIL, activity.UNKNOWN_CALL),
        # Another thread may wait for any of these.
        replace(still(CHECKPOINT), stack=(QUEUE, CHECKPOINT), is_alone=False),
        replace(still(CHECKPOINT, activity.SPINNING, None), is_alone=False),
    ],
)
def test_a_rank_that_waits_for_something_outside_is_a_warning(odd):
    group = {0: still(), 1: still(), 2: odd, 3: still(LOG)}

    assert Hang((2,), STEP, 30) == find_hang(group, 20, 30)


def test_among_waiting_ranks_the_fewest_are_named():
    group = {0: still(LOG), 1: still(), 2: still(), 3: still()}

    assert Hang((0,), STEP, 30, is_certain=True) == find_hang(group, 20, 30)


@pytest.mark.parametrize(
    "changes",
    [
        # A call of C may wait as JAX does, for a store of files far away.
        {"stack": (CHECKPOINT,)},
        {"is_alone": False},
        {"waits_in": activity.UNKNOWN_CALL},
    ],
)
def test_who_waits_as_jax_does_but_perhaps_for_something_outside_is_a_warning(changes):
    odd = replace(still(CHECKPOINT), **changes)

    assert Hang((2,), STEP, 30) == find_hang({0: still(), 1: still(), 2: odd}, 20, 30)
    # Nor is the one certain that waits for it.
    late = {0: still(), 1: odd, 2: odd}
    assert Hang((0,), CHECKPOINT, 30) == find_hang(late, 20, 30)


def test_of_two_waiting_ranks_the_one_outside_jax_is_named():
    lock = replace(still(LOG), stack=(LOG,))

    assert Hang((1,), STEP, 30) == find_hang({0: still(), 1: lock}, 20, 30)
    assert find_hang({0: still(), 1: still(LOG)}, 20, 30).ranks == (0, 1)


@pytest.mark.parametrize(
    "group",
    [
        dict.fromkeys(range(4), still()),
        # None waits for another one: all sleep, or join their threads.
        {
            0: still(waits_in="hrtimer_nanosleep"),
            1: replace(still(), stack=(JOIN, LOG)),
        },
    ],
)
def test_without_a_rank_that_others_wait_for_there_is_a_warning_later(group):
    assert find_hang(group, 20, 119) is None
    hang = find_hang(group, 20, 120)
    assert hang is not None
    assert (hang.ranks, hang.is_certain) == ((), False)


@pytest.mark.parametrize(
    "group",
    [
        {0: still(), 1: None},
        # Since too short a time.
        {0: still(), 1: still(LOG, since_s=11)},
        # All run now and then: slow steps.
        {0: still(state=activity.IDLE), 1: still(LOG, state=activity.IDLE)},
        # The others train in slow steps; one waits for their end.
        {0: still(LOG), 1: still(state=activity.IDLE), 2: still(state=activity.IDLE)},
        {},
    ],
)
def test_a_group_that_may_go_on_does_not_hang(group):
    assert find_hang(group, 20, 30) is None


def test_what_a_rank_reported_before_it_was_killed_does_not_count():
    """As of a step that was killed, while the next one runs in the same job."""
    standstills = Standstills()
    for rank in range(2):
        record = replace_record(
            samples(rank)["stalled"], stalled_s=300.0, stack=[str(rank)]
        )
        standstills.add(record, now_s=1000)

    assert standstills.find_hang(2, 100, now_s=1020) is not None
    assert standstills.find_hang(2, 100, now_s=1100) is None


def test_the_line_is_the_innermost_of_the_program():
    assert STEP == program_line((JAX, STEP, "main.py:1 in <module>"))
    assert JAX == program_line((JAX,))


def test_equal_stacks_are_one_and_the_odd_ones_first():
    group = {**dict.fromkeys(range(7), still()), 7: still(LOG, activity.SPINNING)}

    text = format_stacks(group)

    assert text.index(LOG) < text.index(STEP)
    assert text.count(STEP) == 1
