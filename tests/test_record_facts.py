"""Records whose facts are not of their types, and lines that name more ranks than there are."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zlib

import pytest
from stories import G8N2P8, healthy, records, tell

from jaxsif.contract.hostlist import MOST_NAMES
from jaxsif.contract.record import MARKER, DamagedRecord, Record, decode, encode
from jaxsif.contract.topology import MOST_PROCESSES
from jaxsif.judge.board import Board
from jaxsif.judge.facts import checked
from jaxsif.judge.verdict import judge


def decoded(record: Record) -> Record:
    return checked(decode(encode(record).encode(), 0))


@pytest.mark.parametrize("record", records(healthy()))
def test_the_records_of_a_healthy_job_are_whole(record):
    assert decoded(record) == record


@pytest.mark.parametrize(
    ("phase", "name", "value"),
    [
        ("connected", "jaxlib", ["1.0"]),
        ("devices", "local", 3),
        ("devices", "local", ["GPU-1"]),
        ("identity", "slots", [[]]),
        ("allreduce", "got", "8"),
        ("allreduce", "got", 10**400),
        ("started", "processes", "8"),
        ("started", "rank", MOST_PROCESSES),
        ("started", "rank", -1),
        ("started", "rank", True),
        ("started", "time", float("nan")),
        ("started", "node", "n" * 300),
        ("done", "step", "box.7.0." + "9" * 300),
    ],
)
def test_a_fact_of_another_type_makes_a_damaged_record(phase, name, value):
    with pytest.raises(DamagedRecord):
        decoded({**healthy()[3][phase], name: value})


@pytest.mark.parametrize(
    ("phase", "name"),
    [
        *(("allreduce", name) for name in ("got", "wrong")),
        *(("identity", name) for name in ("foreign", "slots")),
        *(("devices", name) for name in ("backend", "local", "total")),
        *(("connected", name) for name in ("process_index", "process_count")),
        ("started", "processes"),
    ],
)
def test_a_record_that_lacks_what_is_judged_is_damaged(phase, name):
    record = healthy()[3][phase]
    del record[name]
    with pytest.raises(DamagedRecord):
        decoded(record)


def test_what_is_no_number_is_a_result_like_any_other():
    record = decoded({**healthy()[3]["allreduce"], "got": float("nan")})

    assert record["got"] != record["got"]


def test_a_phase_of_another_version_may_hold_anything():
    assert decoded(tell(0, "slept", well={"very": [None]}))["phase"] == "slept"


@pytest.mark.parametrize("text", [b"[" * 4000, b'{"rank":' + b"9" * 4000 + b"}"])
def test_what_no_rank_writes_is_damaged(text):
    line = MARKER.encode() + b"%08x " % zlib.crc32(text) + text
    with pytest.raises(DamagedRecord):
        decode(line, 0)


def test_half_a_character_is_replaced():
    record = decoded(tell(0, "failed", error="no file 'a\udce4'"))

    assert record["error"].encode()


@pytest.mark.parametrize(
    "ranks", ["0-999999," * 200 + "5", "0-262143", "8", "9" * 5000, "0-" + "9" * 30]
)
def test_an_end_of_ranks_that_the_job_cannot_have_is_not_believed(ranks):
    board = Board()
    for record in records(healthy()):
        board.add(record)
    for _ in range(3):
        board.hear(f"srun: error: node1: tasks {ranks}: Killed")

    (verdict,) = judge(board, G8N2P8)

    assert len(board.ended) <= MOST_NAMES
    assert verdict.status == 0


def test_ends_of_many_ranks_in_many_lines_have_a_bound_in_all():
    board = Board()
    for first in range(100):
        board.hear(f"srun: error: node1: tasks {first}-200000: Killed")

    endings = {id(e): e for e in board.ended.values()}
    assert sum(len(e.ranks) for e in endings.values()) <= 4 * MOST_NAMES


class Counted(tuple):
    """Ranks that count how often all of them are looked at."""

    looks = 0

    def __hash__(self) -> int:
        Counted.looks += 1
        return super().__hash__()


def test_the_verdict_on_an_end_does_not_look_at_all_ranks_for_each_of_them():
    board = Board()
    board.hear("srun: error: node1: tasks 0-7: Killed")
    (ending,) = set(board.ended.values())
    object.__setattr__(ending, "ranks", Counted(ending.ranks))

    (verdict,) = judge(board, G8N2P8)

    assert verdict.findings[0].ranks == tuple(range(8))
    assert Counted.looks < 8
