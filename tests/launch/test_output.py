"""The queues of the output: no line is lost, mixed or changed, even if binary."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import tempfile

from hypothesis import given
from hypothesis import strategies as st

from jaxsif.core.record_lines import encode
from jaxsif.launch.output import MAX_LINE_BYTES, Relay, Sink, label


class Written(Sink):
    """A sink into a file that is read again."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed when it is read)
        super().__init__(self._file.fileno())

    def everything(self) -> bytes:
        while not self.is_empty:
            self.write_available()
        with self._file:
            self._file.seek(0)
            return self._file.read()


def feed(relay: Relay, *pieces: bytes) -> None:
    for piece in pieces:
        relay.feed(piece)


def test_a_line_waits_for_its_end_and_is_not_mixed_with_anothers():
    sink = Written()
    one, two = Relay(sink), Relay(sink)

    feed(one, b"first ")
    feed(two, b"second\n")
    feed(one, b"one\n")

    assert b"second\nfirst one\n" == sink.everything()


def test_an_unfinished_last_line_is_completed_when_another_follows():
    sink = Written()
    one, two = Relay(sink), Relay(sink)

    feed(one, b"no end")
    one.close()
    feed(two, b"next\n")

    assert b"no end\nnext\n" == sink.everything()


def test_of_one_writer_alone_nothing_is_completed():
    sink = Written()
    one = Relay(sink)

    feed(one, b"\x89PNG\r\n", b"\x00\xff no end")
    one.close()

    assert b"\x89PNG\r\n\x00\xff no end" == sink.everything()


def test_a_carriage_return_ends_a_line_so_that_a_progress_bar_is_seen():
    sink = Written()
    one = Relay(sink)

    feed(one, b"10%\r", b"20%\r", b"windows\r", b"\n")

    assert b"10%\r20%\rwindows\r\n" == sink.everything()


def test_an_endless_line_is_passed_on_in_pieces_and_takes_no_memory():
    sink = Written()
    one, two = Relay(sink), Relay(sink)
    piece = b"x" * 65536

    feed(one, *[piece] * 40)
    feed(two, b"line\n")
    feed(one, b"end\n")

    content = sink.everything()
    assert 40 * 65536 == content.count(b"x")
    assert b"\nline\n" in content
    assert content.endswith(b"xend\n") and 40 * 65536 > 2 * MAX_LINE_BYTES


def test_each_line_has_its_label_once_however_it_was_cut():
    sink = Written()
    one, two = Relay(sink, b"0 n| "), Relay(sink, b"1 n| ")

    feed(one, b"a\nb", b"b\n\nc")
    feed(two, b"d\n")
    one.close()

    assert b"0 n| a\n0 n| bb\n0 n| \n1 n| d\n0 n| c" == sink.everything()


def test_a_long_line_that_is_passed_on_in_pieces_has_one_label():
    sink = Written()
    one = Relay(sink, b"0 n| ")

    feed(one, b"x" * (MAX_LINE_BYTES + 1), b"y\n")

    assert 1 == sink.everything().count(b"0 n| ")


def test_records_are_for_a_judge_and_may_be_hidden_from_people():
    record = encode({"phase": "done", "rank": 1}).encode()
    shown, hidden = Written(), Written()

    feed(Relay(shown), b"a\n" + record + b"b\n")
    feed(Relay(hidden, b"1 n| ", True), b"a\n" + record + b"b\n", record)

    assert b"a\n" + record + b"b\n" == shown.everything()
    assert b"1 n| a\n1 n| b\n" == hidden.everything()


def test_a_label_is_aligned_and_coloured_only_where_it_may_be():
    assert b" 3 node2| " == label(3, "node2", 2, can_erase=False, has_colour=False)
    assert b"\x1b[K3 node2| " == label(3, "node2", 1, can_erase=True, has_colour=False)
    assert b"\x1b[K\x1b[35m3 node2|\x1b[0m " == label(
        3, "node2", 1, can_erase=True, has_colour=True
    )
    assert label(0, "n", 1, True, True)[:9] != label(1, "n", 1, True, True)[:9]


def test_a_sink_is_full_before_it_takes_much_memory():
    sink = Written()
    sink.put(None, b"x" * 2_000_000)

    assert sink.is_full

    assert 2_000_000 == len(sink.everything())


def test_what_is_not_read_is_swallowed():
    sink = Written()
    sink.put(None, b"before\n")
    sink.close_broken()
    sink.put(None, b"after\n")

    assert b"" == sink.everything()


LINES = st.lists(
    st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")),
    max_size=8,
)


@given(st.lists(LINES, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_however_pieces_come_each_writers_lines_arrive_whole_and_in_order(
    texts, random
):
    sink = Written()
    marked = [
        b"".join(b"%d:%s\n" % (i, line) for line in lines)
        for i, lines in enumerate(texts)
    ]
    relays = [Relay(sink) for _ in marked]
    rest = list(marked)
    while any(rest):
        i = random.choice([i for i, text in enumerate(rest) if text])
        cut = random.randint(1, len(rest[i]))
        relays[i].feed(rest[i][:cut])
        rest[i] = rest[i][cut:]

    lines = sink.everything().splitlines(keepends=True)

    assert marked == [
        b"".join(line for line in lines if line.startswith(b"%d:" % i))
        for i in range(len(marked))
    ]
