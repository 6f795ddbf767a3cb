"""Records are one line each, and corrupt ones are noticed."""
# SPDX-License-Identifier: Apache-2.0

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_records import fields_of, make_record

from jaxsif.core.record_lines import (
    MARKER_BYTES,
    MAX_RECORD_BYTES,
    CorruptRecord,
    MismatchedRecord,
    decode,
    encode,
    encode_fields,
)
from jaxsif.core.records import LocalDevice, Record


def _decode(line: str | bytes) -> Record:
    line = line.encode() if isinstance(line, str) else line
    return decode(line, line.index(MARKER_BYTES))


@given(st.text(max_size=200))
def test_any_text_travels_in_one_line_and_arrives_printable(text):
    problem = {"kind": text, "text": text, "remedy": text, "ranks": []}
    line = encode(make_record(3, "failed", error=text, problems=[problem]))

    record = _decode(line)
    assert line.count("\n") == 1
    assert record.error.isprintable()
    assert len(text) == len(record.error)
    assert record.error == record.problems[0].remedy
    if text.isprintable():
        assert text == record.error


def test_a_record_behind_other_text_is_found():
    line = "5: half a line " + encode(make_record(5, "done"))

    assert _decode(line).rank == 5


@given(st.integers(min_value=9, max_value=90), st.binary(min_size=1, max_size=1))
def test_one_changed_byte_is_damage(position, byte):
    line = encode(make_record(3, "started", nodes="node[1-2]")).encode()
    changed = line[:position] + byte + line[position + 1 :]
    assume(changed != line)

    with pytest.raises(CorruptRecord):
        _decode(changed)


@given(st.integers(min_value=1, max_value=80))
def test_a_cut_record_is_damage(cut):
    line = encode(make_record(3, "started", nodes="node[1-2]"))

    with pytest.raises(CorruptRecord):
        _decode(line[: len(line) - 1 - cut])


@pytest.mark.parametrize("name", ["rank", "step", "phase", "node", "time"])
def test_a_record_without_a_common_field_is_corrupt(name):
    fields = fields_of(make_record(3, "done"))
    del fields[name]

    with pytest.raises(MismatchedRecord):
        _decode(encode_fields(fields))


TEXTS = st.text(max_size=3000) | st.text("\u00fc\U0001f4a5", max_size=3000)
FACTS = st.dictionaries(
    st.sampled_from(["error", "nodes", "local", "problems", "apart"]),
    TEXTS
    | st.lists(st.integers() | st.none(), max_size=2000)
    | st.lists(
        st.fixed_dictionaries({"text": TEXTS, "ranks": st.lists(st.integers())}),
        max_size=20,
    ),
)


@given(FACTS)
def test_a_record_of_any_size_goes_out_in_one_piece_of_a_pipe(facts):
    fields = {**fields_of(make_record(3, "failed")), **facts}
    line = encode_fields(fields)

    assert len(line.encode()) <= MAX_RECORD_BYTES
    assert line == encode_fields(fields)
    shown = json.loads(line.partition("{")[1] + line.partition("{")[2])
    assert (3, "failed", "node1") == tuple(shown[n] for n in ("rank", "phase", "node"))


@pytest.mark.parametrize("error", ["x" * 5000, "\u00fc" * 700, "\U0001f4a5" * 700])
def test_a_long_text_keeps_its_beginning_and_is_marked_as_cut(error):
    got = _decode(encode(make_record(0, "failed", error=error))).error

    assert got.endswith(" [...]")
    assert error.startswith(got.removesuffix(" [...]"))
    assert len(got) > 100


def test_of_a_long_list_the_first_are_shown_and_the_rest_are_counted():
    devices = [{"id": i, "kind": "cpu", "uuid": None} for i in range(128)]

    record = _decode(
        encode(make_record(0, "devices", local_devices=devices, local_count=128))
    )

    shown = record.local_devices
    assert [LocalDevice(**device) for device in devices[: len(shown)]] == shown
    assert {"local_devices": 128 - len(shown)} == record.left_out
    assert 128 == record.local_count


def test_a_list_of_nodes_is_whole_or_left_out():
    nodes = "nid[" + ",".join(f"{n:06d}" for n in range(0, 1800, 3)) + "]"

    record = _decode(encode(make_record(0, "started", nodes=nodes, processes=600)))

    assert (None, 600) == (record.nodes, record.processes)


def test_troubles_of_full_length_all_arrive():
    problem = {"kind": "k", "text": "t" * 333, "remedy": "r" * 333, "ranks": [9] * 20}

    record = _decode(encode(make_record(0, "failed", problems=[problem] * 5)))

    assert ["k"] * 5 == [t.kind for t in record.problems]


def test_a_step_whose_name_alone_is_too_long_is_refused():
    with pytest.raises(ValueError, match="at most 4096 fit"):
        encode(replace(make_record(0, "done"), step="x" * 5000))
