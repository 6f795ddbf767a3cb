"""The stream: other lines pass unchanged, records are taken, however it was cut."""
# SPDX-License-Identifier: Apache-2.0

from hypothesis import given
from hypothesis import strategies as st
from sample_records import make_record

from jaxsif.core.record_lines import NO_KEY, encode
from jaxsif.verdict.stream import Stream

RECORD = encode(make_record(1, "done")).encode()


def _feed(pieces: list[bytes]) -> tuple[bytes, list[dict], int]:
    taken: list[dict] = []
    stream = Stream(taken.append, lambda line, is_launchers: None, [NO_KEY])
    shown = b"".join([stream.feed(piece) for piece in pieces]) + stream.close()
    return shown, taken, stream.damaged


@given(st.lists(st.binary(max_size=40).filter(lambda b: b"@jaxsif2 " not in b)))
def test_output_without_records_passes_unchanged(pieces):
    if b"@jaxsif2 " in b"".join(pieces):
        return

    assert (b"".join(pieces), [], 0) == _feed(pieces)


@given(st.lists(st.integers(min_value=0, max_value=400), max_size=12))
def test_it_does_not_matter_where_the_output_is_cut(cuts):
    text = b"one\n" + RECORD + b"two\n3: " + RECORD + b"half" + RECORD + b"last"
    edges = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]

    shown, taken, damaged = _feed(pieces)

    # A label that came apart from its record may already have been shown.
    assert shown.replace(b"3: ", b"") == b"one\ntwo\nhalflast"
    assert (len(taken), damaged) == (3, 0)


def test_a_progress_bar_without_a_newline_is_shown_at_once():
    stream = Stream(lambda record: None, lambda line, is_launchers: None)

    assert stream.feed(b"\r 50 %") == b"\r 50 %"


def test_the_label_of_srun_goes_with_its_record():
    assert (lambda s, t, d: (s, len(t)))(*_feed([b"3: text\n3: " + RECORD])) == (
        b"3: text\n",
        1,
    )


def test_a_record_without_its_newline_at_the_end_still_counts():
    assert (lambda s, t, d: (s, len(t)))(*_feed([RECORD[:-1]])) == (b"", 1)


def test_a_record_cut_by_another_line_is_counted_as_damaged():
    shown, taken, damaged = _feed([RECORD[:30] + b"\n" + RECORD])

    assert (shown, len(taken), damaged) == (b"", 1, 1)


def test_an_endless_line_does_not_fill_the_memory():
    stream = Stream(lambda record: None, lambda line, is_launchers: None)

    shown = sum(len(stream.feed(b"@jaxsif2 " + b"x" * 1000)) for _ in range(1000))

    assert shown > 900_000
    assert len(stream.close()) < 20_000


@given(st.lists(st.integers(min_value=0, max_value=120), max_size=8))
def test_lines_of_srun_are_passed_on_and_shown_wherever_they_were_cut(cuts):
    text = b"a\nsrun: error: node2: task 7: Killed\nnot srun: error: x\n"
    edges = [0, *sorted(cuts), len(text)]
    arrival: list[str] = []
    stream = Stream(lambda record: None, lambda line, _: arrival.append(line))

    shown = b"".join(
        stream.feed(text[a:b]) for a, b in zip(edges, edges[1:], strict=False)
    )

    assert text == shown + stream.close()
    assert ["srun: error: node2: task 7: Killed\n"] == arrival
