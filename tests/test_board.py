"""The board: what each rank has said, in memory that grows with ranks alone."""
# SPDX-License-Identifier: Apache-2.0

import tracemalloc

from stories import tell

from jaxsif.core.history import Board


def test_a_later_restart_replaces_the_earlier_run():
    board = Board()
    board.add({**tell(0, "started"), "step": "box.7.0.0"})
    board.add({**tell(1, "started"), "step": "box.7.0.0"})
    board.add({**tell(0, "started"), "step": "box.7.0.1"})
    board.add({**tell(1, "done"), "step": "box.7.0.0"})

    assert {s: list(r) for s, r in board.steps.items()} == {"box.7.0": [0]}
    assert (board.count["started"], board.count["done"]) == (1, 0)


def test_two_steps_are_kept_apart():
    board = Board()
    board.add({**tell(0, "started"), "step": "box.7.0.0"})
    board.add({**tell(0, "started"), "step": "box.7.1.0"})

    assert list(board.steps) == ["box.7.0", "box.7.1"]


def test_memory_grows_with_ranks_not_with_records():
    board = Board()
    for rank in range(100):
        board.add(tell(rank, "started"))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(200):
        for rank in range(100):
            board.add(tell(rank, "started"))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 200_000


def test_all_that_a_rank_measured_is_kept_and_is_no_phase():
    board = Board()
    board.add(tell(0, "started"))
    for size in (8, 16):
        board.add(tell(0, "bandwidth", size_bytes=size))

    story = board.steps["box.7.0"][0]
    assert [8, 16] == [record["size_bytes"] for record in story.measured]
    assert "started" == story.phase
    assert 0 == board.count["bandwidth"]
