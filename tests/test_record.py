"""Records: one line each, and damage is noticed."""
# SPDX-License-Identifier: Apache-2.0

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stories import tell

from jaxsif.contract.record import MARKER_BYTES, DamagedRecord, decode, encode


def _decode(line: str | bytes) -> dict:
    line = line.encode() if isinstance(line, str) else line
    return decode(line, line.index(MARKER_BYTES))


@given(st.text(max_size=200))
def test_any_text_travels_in_one_line(text):
    line = encode(tell(3, "failed", error=text))

    assert line.count("\n") == 1
    assert text == _decode(line)["error"]


def test_a_record_behind_other_text_is_found():
    line = "5: half a line " + encode(tell(5, "done"))

    assert _decode(line)["rank"] == 5


@given(st.integers(min_value=9, max_value=90), st.binary(min_size=1, max_size=1))
def test_one_changed_byte_is_damage(position, byte):
    line = encode(tell(3, "started", nodes="node[1-2]")).encode()
    changed = line[:position] + byte + line[position + 1 :]
    assume(changed != line)

    with pytest.raises(DamagedRecord):
        _decode(changed)


@given(st.integers(min_value=1, max_value=80))
def test_a_cut_record_is_damage(cut):
    line = encode(tell(3, "started", nodes="node[1-2]"))

    with pytest.raises(DamagedRecord):
        _decode(line[: len(line) - 1 - cut])


@pytest.mark.parametrize("name", ["rank", "step", "phase", "node", "time"])
def test_a_record_that_does_not_say_who_speaks_is_damage(name):
    record = tell(3, "done")
    del record[name]

    with pytest.raises(DamagedRecord, match="no rank"):
        _decode(encode(record))


def test_a_record_that_a_pipe_would_split_is_refused():
    with pytest.raises(ValueError, match="at most 4096 fit"):
        encode(tell(0, "failed", error="x" * 5000))
