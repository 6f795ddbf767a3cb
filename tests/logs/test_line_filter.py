"""The line filter: no line with a trigger is lost, however the output is cut, and memory does not grow."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from jaxsif.logs.line_filter import MAX_LINE_BYTES, LineFilter

TRIGGERS = (b"error", b"fatal")
PIECE = b"step 17 | loss 2.7 | 1184 tokens/s\n" * 1000


def _taken(pieces: list[bytes]) -> tuple[list[tuple[bytes, int]], int]:
    taken: list[tuple[bytes, int]] = []
    line_filter = LineFilter(
        TRIGGERS, lambda line, number: taken.append((line, number)) or False
    )
    for piece in pieces:
        line_filter.feed(piece)
    line_filter.close()
    return taken, line_filter.lines


def test_lines_with_a_trigger_are_taken_with_their_numbers():
    taken, lines = _taken([b"one\nan error\n\nfatal error\nlast error"])

    assert taken == [(b"an error", 2), (b"fatal error", 4), (b"last error", 5)]
    assert lines == 5


def test_what_a_progress_bar_wrote_over_is_a_line_of_its_own():
    taken, lines = _taken([b"one\n 10 %\r 20 %error here\r 30 %\ntwo error\r\n"])

    assert taken == [(b" 20 %error here", 2), (b"two error", 3)]
    assert lines == 3


LINES = st.sampled_from(
    [b"", b"plain", b"an error", b"fatal\rerror", b"x" * 50, b"\x00\xff error \xfe"]
)


@given(st.lists(LINES), st.lists(st.integers(min_value=0, max_value=300)))
def test_it_does_not_matter_where_the_output_is_cut(lines, cuts):
    text = b"".join(line + b"\n" for line in lines)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]

    assert _taken([text]) == _taken(pieces)


@given(st.lists(LINES))
def test_lines_and_pieces_are_filtered_alike(lines):
    taken: list[tuple[bytes, int]] = []
    line_filter = LineFilter(
        TRIGGERS, lambda line, number: taken.append((line, number)) or False
    )
    for line in lines:
        line_filter.feed_line(line)

    assert (taken, line_filter.lines) == _taken([line + b"\n" for line in lines])


def test_the_next_line_is_taken_if_it_is_needed():
    taken: list[bytes] = []

    def take(line: bytes, number: int) -> bool:
        taken.append(line)
        return line.startswith(b"error")

    line_filter = LineFilter(TRIGGERS, take)
    line_filter.feed(b"a\nerror\nb\nc\nerror")
    line_filter.feed(b"\n")
    line_filter.feed_line(b"d\n")
    line_filter.feed_line(b"e\n")

    assert taken == [b"error", b"b", b"error", b"d"]
    assert line_filter.lines == 7


def test_only_the_front_of_a_long_line_is_read():
    long = b"error " + b"x" * 100_000
    taken, _ = _taken([long + b"\nanother error\n"])

    assert [(long[:MAX_LINE_BYTES], 1), (b"another error", 2)] == taken


def test_a_line_of_many_megabytes_takes_no_memory():
    line_filter = LineFilter(TRIGGERS, lambda line, number: False)
    tracemalloc.start()
    for _ in range(400):
        line_filter.feed(b"x" * 50_000)
    line_filter.close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert line_filter.lines == 1
    assert peak < 1_000_000


def test_fifty_megabytes_take_no_memory():
    taken: list[int] = []
    line_filter = LineFilter(
        TRIGGERS, lambda line, number: taken.append(number) or False
    )
    tracemalloc.start()
    for _ in range(1500):
        line_filter.feed(PIECE)
    line_filter.feed(b"an error\n")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken == [1_500_001]
    assert peak < 1_000_000
