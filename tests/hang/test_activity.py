"""Whether a rank makes progress, from two samples of its process."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import pytest

from jaxsif.hang import activity
from jaxsif.hang.page import Position

BEFORE = activity.Sample(
    time_s=100.0,
    position=Position(99.5, 1, ("train.py:57 in <module>",)),
    switches=1000,
    main_cpu_s=9.0,
    children_cpu_s=5.0,
    io_bytes=10**9,
    rss_bytes=10**9,
    state="S",
    threads={7: (5000, 40.0)},
)


def after(stack: tuple[str, ...] = BEFORE.position.stack, **changes) -> str | None:
    """How the rank stands still 1 s later."""
    beat_s = changes.pop("beat_s", 100.5)
    is_loop = changes.pop("is_loop", False)
    before = replace(BEFORE, position=replace(BEFORE.position, is_loop=is_loop))
    has_gpus = changes.pop("has_gpus", False)
    position = Position(beat_s, 1, stack, is_loop, sampler=9)
    now = replace(BEFORE, time_s=101.0, position=position, **changes)
    return activity.stillness(before, now, has_gpus=has_gpus)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, activity.BLOCKED),
        ({"switches": 1001}, activity.IDLE),
        ({"main_cpu_s": 10.0, "is_loop": True}, activity.SPINNING),
        ({"beat_s": 95.0, "state": "T"}, activity.STOPPED),
        ({"beat_s": 95.0, "state": "D"}, activity.DISK_WAIT),
        (
            {"beat_s": 95.0, "state": "R", "main_cpu_s": 10.0},
            activity.HOLDS_GIL,
        ),
        # NCCL's threads are busy while they wait.
        ({"threads": {7: (5001, 41.0)}, "has_gpus": True}, activity.BLOCKED),
        # Threads that wait for the interpreter's lock, and the one that looks.
        ({"threads": {7: (5200, 40.0)}, "beat_s": 90.0}, activity.HOLDS_GIL),
        ({"threads": {7: (5000, 40.0), 9: (5200, 40.0)}}, activity.BLOCKED),
        # A thread of gloo's looks 100 times a second whether something has come.
        ({"threads": {7: (5100, 40.01)}}, activity.BLOCKED),
    ],
)
def test_a_rank_stands_still(changes, state):
    assert state == after(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        # In a call of C that lets other threads run.
        {"main_cpu_s": 10.0},
        {"io_bytes": BEFORE.io_bytes + 10**6},
        {"rss_bytes": BEFORE.rss_bytes + 10**7},
        # Python's pickle holds the interpreter while it works.
        {"rss_bytes": BEFORE.rss_bytes + 10**7, "beat_s": 90.0, "state": "R"},
        {"children_cpu_s": 5.5},
        # On a busy machine they do not come to run.
        {"has_running_child": True},
        {"state": "R"},
        {"threads": {7: (5001, 41.0)}},
        {"threads": {7: (5050, 41.0)}, "has_gpus": True},
        # It sends a file.
        {"threads": {7: (5400, 40.01)}, "has_gpus": True},
        {"threads": {7: (5000, 40.0), 8: (3, 1.0)}},
        # A debugger.
        {"beat_s": 90.0, "state": "t"},
        {"stack": ("/usr/lib/python3.13/pdb.py:300 in interaction",)},
        {"stack": ("/x/jax/_src/compiler.py:362 in backend_compile_and_load",)},
    ],
)
def test_a_rank_that_works_is_not_still(changes):
    assert after(**changes) is None
