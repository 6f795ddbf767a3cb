"""Records of every kind, and those whose fields are missing or of other types."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy
import math
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reported import as_json
from sample_records import (
    G8N2P8,
    POSITIONS,
    Fields,
    all_fields,
    fields_of,
    healthy,
    make_record,
    records,
    samples,
)

from jaxsif.core import strict_json
from jaxsif.core.history import JobState
from jaxsif.core.hostlist import MAX_NAMES
from jaxsif.core.record_lines import (
    MARKER,
    CorruptRecord,
    MismatchedRecord,
    decode,
    encode,
    encode_fields,
)
from jaxsif.core.records import Record
from jaxsif.core.topology import MAX_PROCESSES
from jaxsif.verdict import render
from jaxsif.verdict.stream import Stream
from jaxsif.verdict.verdict import judge


def decoded(fields: Fields) -> Record:
    return decode(encode_fields(fields).encode(), 0)


@pytest.mark.parametrize("record", samples().values(), ids=samples())
def test_a_record_of_every_kind_arrives_as_it_was_written(record):
    assert decode(encode(record).encode(), 0) == record


@pytest.mark.parametrize(
    ("phase", "name", "value"),
    [
        ("connected", "jaxlib", ["1.0"]),
        ("devices", "local_devices", 3),
        ("devices", "local_devices", ["GPU-1"]),
        ("identity", "foreign_slots", [[]]),
        ("allreduce", "sum", "8"),
        ("allreduce", "sum", 10**400),
        ("started", "processes", "8"),
        ("started", "rank", MAX_PROCESSES),
        ("started", "rank", -1),
        ("started", "rank", True),
        ("started", "time", float("nan")),
        ("started", "node", "n" * 300),
        ("done", "step", "box.7.0." + "9" * 300),
        ("done", "phase", "slept"),
        ("speed", "seconds", 0.0),
    ],
)
def test_a_field_of_another_type_makes_a_corrupt_record(phase, name, value):
    with pytest.raises(MismatchedRecord):
        decoded({**fields_of(samples()[phase]), name: value})


def test_an_unknown_field_is_ignored():
    record = samples()["done"]

    assert decoded({**fields_of(record), "mood": {"very": [None]}}) == record


def test_what_is_no_number_is_a_result_like_any_other():
    record = decoded({**fields_of(samples()["allreduce"]), "sum": float("nan")})

    assert record.value != record.value


@pytest.mark.parametrize("text", [b"[" * 4000, b'{"rank":' + b"9" * 4000 + b"}"])
def test_what_no_rank_writes_is_damaged(text):
    line = MARKER.encode() + b"%08x " % zlib.crc32(text) + text
    with pytest.raises(CorruptRecord):
        decode(line, 0)


def test_half_a_character_is_replaced():
    fields = {**fields_of(samples()["failed"]), "error": "no file 'a\udce4'"}

    assert decoded(fields).error.encode()


@pytest.mark.parametrize(
    "ranks", ["0-999999," * 200 + "5", "0-262143", "8", "9" * 5000, "0-" + "9" * 30]
)
def test_an_end_of_ranks_that_the_job_cannot_have_is_not_believed(ranks):
    job_state = JobState()
    for record in records(healthy()):
        job_state.add(record)
    for _ in range(3):
        job_state.add_line(f"srun: error: node1: tasks {ranks}: Killed")

    (verdict,) = judge(job_state, G8N2P8)

    assert len(job_state.ended) <= MAX_NAMES
    assert verdict.status == 0


def test_ends_of_many_ranks_in_many_lines_have_a_bound_in_all():
    job_state = JobState()
    for first in range(100):
        job_state.add_line(f"srun: error: node1: tasks {first}-200000: Killed")

    endings = {id(e): e for e in job_state.ended.values()}
    assert sum(len(e.ranks) for e in endings.values()) <= 2 * MAX_NAMES


class Counted(tuple):
    """Ranks that count how often all of them are looked at."""

    looks = 0

    def __hash__(self) -> int:
        Counted.looks += 1
        return super().__hash__()


def test_the_verdict_on_an_end_does_not_look_at_all_ranks_for_each_of_them():
    job_state = JobState()
    job_state.add_line("srun: error: node1: tasks 0-7: Killed")
    (ending,) = set(job_state.ended.values())
    object.__setattr__(ending, "ranks", Counted(ending.ranks))

    (verdict,) = judge(job_state, G8N2P8)

    assert verdict.findings[0].ranks == tuple(range(8))
    assert Counted.looks < 8


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([math.nan, math.inf, 1e308, -1, 0, 10**30, 10**400, "", "\x1b[2J"]),
    st.recursive(
        st.text(max_size=8) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)


def _measured(rank: int = 3) -> Fields:
    return fields_of(make_record(rank, "bandwidth"))


PROBLEM = {"kind": "a", "text": "b", "remedy": "c", "ranks": [1]}
EXTRA = [
    *map(fields_of, samples().values()),
    fields_of(make_record(3, "failed", problems=[PROBLEM])),
    fields_of(make_record(3, "failed", error="ValueError: x")),
    fields_of(make_record(3, "deadline_exceeded", desynchronized=POSITIONS)),
]


def status_of(reported: list[Fields]) -> int:
    """The status of the verdict, which is also shown in every form."""
    job_state = JobState()
    stream = Stream(job_state.add, job_state.add_line)
    for fields in reported:
        try:
            stream.feed(encode_fields(fields).encode())
        except ValueError:
            # Too long for a record, or for a number: no rank can write it.
            stream.feed(b"@jaxsif1 00000000 \n")
    stream.close()
    (verdict, *_) = judge(
        job_state, G8N2P8, stream.damaged, mismatched=stream.mismatched
    )
    assert render.text(verdict)
    strict_json.encode(as_json(verdict))
    return verdict.status


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_field_of_any_record_however_odd_ends_the_judge(data):
    reported = [
        *all_fields(healthy()),
        *data.draw(st.lists(st.sampled_from(EXTRA), max_size=2)),
    ]
    index = data.draw(st.integers(0, len(reported) - 1))
    changed = copy.deepcopy(reported[index])
    name = data.draw(st.sampled_from([*changed, "other"]))
    if data.draw(st.booleans()):
        changed[name] = data.draw(ODD)
    else:
        changed.pop(name, None)
    reported[index] = changed

    assert status_of(reported) in (0, 1, 3)


FAULTS = [
    ("allreduce", {"sum": 9.0, "wrong_elements": 1}),
    ("identity", {"foreign_count": 1, "foreign_slots": [[5, 0]]}),
    ("connected", {"process_count": 4}),
    ("connected", {"process_index": 5}),
    ("devices", {"total": 4}),
    ("devices", {"backend": "cpu"}),
    ("started", {"processes": 4}),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FAULTS), st.data())
def test_no_odd_or_lost_field_turns_a_failure_into_a_pass(fault, data):
    phase, facts = fault
    job = healthy()
    job[3][phase].update(facts)
    assert status_of(all_fields(job)) == 1
    record = job[3][phase]
    name = data.draw(st.sampled_from([*facts]))
    how = data.draw(st.sampled_from(["odd", "field", "record"]))
    if how == "odd":
        # A number of the right type may be the right one.
        record[name] = data.draw(ODD.filter(lambda v: isinstance(v, (str, list, dict))))
    elif how == "field":
        del record[name]
    else:
        del job[3][phase]

    assert status_of(all_fields(job)) != 0


def test_a_result_that_only_one_rank_lacks_is_not_a_pass():
    measured = [_measured(rank) for rank in range(8)]

    assert status_of([*all_fields(healthy()), *measured]) == 0
    assert status_of([*all_fields(healthy()), *measured[:-1]]) == 3


@pytest.mark.parametrize("phase", ["started", "connected", "allreduce", "identity"])
def test_a_record_that_only_one_rank_lacks_is_not_a_pass(phase):
    job = healthy()
    del job[3][phase]

    assert status_of(all_fields(job)) != 0
