"""Scanning a job's output: lines, ranks and nodes, memory, and output cut anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import tracemalloc

import pytest
from checkout import TESTS
from hypothesis import given
from hypothesis import strategies as st
from sample_records import make_record

from jaxsif.core.hostlist import expand
from jaxsif.core.record_lines import encode
from jaxsif.logs.error_lines import weight
from jaxsif.logs.scanner import (
    MAX_LINE_BYTES,
    LineFilter,
    LogScanner,
    parse_ranks,
    scan,
    strip_srun_label,
)

LOGS = TESTS / "logs"
FATAL = "Terminating process because the JAX distributed service detected fatal errors"
OUT_OF_MEMORY = (
    "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."
)
SEGFAULT = "srun: error: node2: task 5: Segmentation fault (core dumped)"
ABORTED = "srun: error: node1: tasks 0-3: Aborted (core dumped)"
TIME_LIMIT = "error: *** JOB 7 ON n1 CANCELLED AT 2025-11-21T11:15:00 DUE TO TIME LIMIT"
UNHEALTHY = (
    "E1121 04:28:50.7 3077 coordination_service.cc:1518] [59] Use error polling to"
    " propagate the following error to all tasks: UNAVAILABLE: The following tasks are"
    " unhealthy (stopped sending heartbeats):"
)


def _first(*lines: str):
    return scan(lines).causes[0]


def _corpus() -> list[list[str]]:
    """Log, first cause, ranks and nodes, by the table of tests/logs/README.md."""
    rows = (LOGS / "README.md").read_text().partition("|---|")[2].splitlines()[1:]
    return [
        [cell.strip(" `").replace("-", "", cell.strip(" `") == "-") for cell in cells]
        for row in rows
        if len(cells := row.strip("|").split("|")) == 4
    ]


CORPUS = _corpus()


@pytest.mark.parametrize("row", CORPUS, ids=lambda row: row[0])
def test_of_a_whole_log_the_first_cause_is_named_with_ranks_and_nodes(row):
    name, cause, ranks, nodes = row

    found = scan((LOGS / name).read_bytes().split(b"\n")).causes

    assert cause == (found[0].cause.id if found else "")
    assert tuple(map(int, expand(f"[{ranks}]" if ranks else ""))) == (
        found[0].ranks if found else ()
    )
    assert nodes == (", ".join(found[0].nodes) if found else "")


def test_every_log_of_the_folder_is_in_the_table():
    assert sorted(path.name for path in LOGS.glob("*.log")) == [r[0] for r in CORPUS]
    assert len(CORPUS) > 20


@pytest.mark.parametrize(
    ("line", "text", "ranks", "nodes"),
    [
        (
            SEGFAULT,
            "rank 5 on node2 crashed (segmentation fault)",
            (5,),
            ("node2",),
        ),
        (
            "srun: error: n7: tasks 0,4,15-17: Out Of Memory",
            "ranks 0, 4, 15-17 on n7 used more main memory than the job requested, and"
            " the kernel ended a process",
            (0, 4, 15, 16, 17),
            ("n7",),
        ),
        (
            "3: ModuleNotFoundError: No module named 'jax'",
            "rank 3: Python has no module 'jax': another Python runs than the one it is"
            " installed in",
            (3,),
            (),
        ),
        (
            "0: slurmstepd: error: *** STEP 9.0 ON n2 CANCELLED DUE TO TIME LIMIT ***",
            "the job reached its time limit",
            (),
            (),
        ),
        (
            "gpu3:88:157 [0] init.cc:738 NCCL WARN Duplicate GPU detected : rank 0 and"
            " rank 1 both on CUDA device 1000",
            "ranks 0-1 on gpu3: two processes use one GPU (1000)",
            (0, 1),
            ("gpu3",),
        ),
        (
            "Nov 21 09:20:10 gpu9 kernel: [1.5] NVRM: Xid (PCI:0000:b3:00): 79, pid=1",
            "gpu9: GPU 0000:b3:00 has fallen off the bus (Xid 79): a fault of the GPU, its"
            " power or its slot",
            (),
            ("gpu9",),
        ),
        (
            "RPC: /xla.coordination.CoordinationService/Heartbeat",
            "rank 0 stopped answering heartbeats, and runs the coordinator: stopped,"
            " overloaded, or cut off by a broken network",
            (0,),
            (),
        ),
        (
            f"{UNHEALTHY} 28 4",
            "ranks 4, 28 stopped sending heartbeats: dead, stopped, or cut off by a broken"
            " network",
            (4, 28),
            (),
        ),
    ],
)
def test_ranks_and_nodes_are_named(line, text, ranks, nodes):
    found = _first(line)

    assert (found.text, found.ranks, found.nodes) == (text, ranks, nodes)


def test_ranks_in_later_lines_are_named_despite_lines_of_others_between():
    lines = [f"0: {UNHEALTHY}", "2: step 17", "0: 5", "1: 7", "0: 3", "0: bye", "0: 9"]

    assert _first(*lines).ranks == (3, 5)


def test_a_pending_match_expires():
    talk = ["1: step 17"] * 10_000

    assert _first(f"0: {UNHEALTHY}", *talk, "0: 5").ranks == ()


def test_the_node_of_a_rank_is_read_from_srun_and_from_records():
    learned = scan(
        [
            f"3: {OUT_OF_MEMORY}",
            f"5: {OUT_OF_MEMORY}",
            SEGFAULT,
            encode(make_record(3, "started", "node7")),
        ]
    ).causes[0]

    assert learned.text.startswith("ranks 3 on node7, 5 on node2: ")
    assert learned.nodes == ("node7", "node2")


def test_a_cause_comes_before_a_symptom_and_a_symptom_before_a_note():
    note = "host:1:1 [0] NCCL INFO Using network Socket"

    found = scan([FATAL, note, SEGFAULT, OUT_OF_MEMORY]).recognised

    assert [r.role for r in found] == ["cause", "symptom", "note", "follows"]


def test_of_two_causes_the_earlier_is_the_first():
    assert _first(TIME_LIMIT, OUT_OF_MEMORY).cause.id == "slurm-time-limit"
    assert _first(OUT_OF_MEMORY, TIME_LIMIT).cause.id == "xla-out-of-memory"


def test_of_the_ranks_that_ended_only_the_first_count():
    found = scan([SEGFAULT, ABORTED, SEGFAULT.replace("task 5", "task 6")])

    assert [(r.cause.id, r.role, r.ranks) for r in found.recognised] == [
        ("slurm-task-segfault", "symptom", (5,)),
        ("slurm-task-aborted", "follows", (0, 1, 2, 3)),
    ]
    assert found.recognised[0].count == 2


def test_an_exception_is_named_by_its_last_line_and_its_rank():
    found = _first(
        "1: Traceback (most recent call last):",
        "1:   File 'train.py', line 3, in <module>",
        "0: step 17",
        "1:     raise ValueError('no')",
        "1: my.package.BadShardError: shard 17 is bad",
    )

    assert found.text == (
        "rank 1: the program ended in an exception: my.package.BadShardError: shard 17"
        " is bad"
    )
    assert found.line.number == 5


def test_an_exception_with_a_cause_of_its_own_is_no_exception_of_the_program():
    found = scan(["Traceback (most recent call last):", "  x", OUT_OF_MEMORY])

    assert [r.cause.id for r in found.recognised] == ["xla-out-of-memory"]


def test_a_traceback_that_is_cut_off_is_no_cause():
    assert scan(["Traceback (most recent call last):", "  x"]).recognised == ()


def test_where_a_rank_is_by_its_own_record_outweighs_any_line():
    scanner = LogScanner(believes_records=False)
    scanner.feed_line("srun: error: node9: task 3: Killed")
    scanner.feed_line(f"3: {OUT_OF_MEMORY}")
    scanner.feed_line(encode(make_record(3, "started", "node8")))

    scanner.set_rank_node([3], "node2", is_certain=True)

    found = [r for r in scanner.diagnosis().recognised if r.cause.id.startswith("xla")]
    assert [("node2",)] == [r.nodes for r in found]


def test_records_are_no_messages_and_those_of_another_version_are_counted():
    record = encode(make_record(3, "failed", error=OUT_OF_MEMORY))

    found = scan(
        [record, f"3: {record}", "@jaxsif3 00000000 {}", "@jaxsif1 00000000 {}"]
    )

    assert (found.recognised, found.records, found.other_version_records) == ((), 2, 2)


def test_text_before_a_record_is_scanned():
    found = scan([OUT_OF_MEMORY + encode(make_record(3, "done"))])

    assert [r.cause.id for r in found.recognised] == ["xla-out-of-memory"]


def test_lines_that_look_like_errors_are_kept_each_kind_once():
    lines = [f"[data] ERROR shard {i} is bad" for i in range(20)]

    found = scan(
        [*lines, "eval error 0.02", "all is well", "no file was found: failed"]
    )

    assert [s.text for s in found.error_lines] == [
        lines[0],
        "no file was found: failed",
    ]
    assert [1, 23] == [s.number for s in found.error_lines]


def test_the_errors_before_the_first_symptom_come_before_those_after_it():
    before = "[pipe] a stage failed"
    after = "FATAL: the pipe 'a' is not found"

    found = scan([before, SEGFAULT, after])

    assert found.outcome == "symptom"
    assert [before, after] == [line.text for line in found.error_lines]


def test_a_line_that_names_the_reason_comes_before_one_that_points_elsewhere():
    general = "E0625 11:35:56.5 7 run.cc:88] compilation failed, see above"
    particular = (
        "E0625 11:35:56.5 7 load.cc:502] libfoo.so.3: cannot open shared object"
    )

    found = scan([general, particular, SEGFAULT])

    assert [particular, general] == [line.text for line in found.error_lines]


def test_however_many_lines_look_like_errors_few_are_kept():
    words = [
        f"{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676)}"
        for i in range(9000)
    ]

    found = scan([*(f"{word} failed" for word in words), "FATAL: the last"])

    assert len(found.error_lines) <= 64
    assert found.error_lines[0].text == "FATAL: the last"


def test_control_characters_of_a_log_are_escaped():
    found = _first(f"{OUT_OF_MEMORY} \x1b]0;title\x07\x9b31m")

    assert "\x1b" not in found.line.text and "\x07" not in found.line.text


def test_several_logs_have_one_diagnosis_and_their_own_line_numbers():
    scanner = LogScanner()
    scanner.open("job.out")
    scanner.feed(b"one\ntwo\n" + SEGFAULT.encode())
    scanner.open("job.err")
    scanner.feed(f"\n{OUT_OF_MEMORY}\n".encode())

    found = scanner.diagnosis()

    assert [(r.line.log, r.line.number) for r in found.causes] == [
        ("job.err", 2),
        ("job.out", 3),
    ]
    assert found.lines == 5


def test_more_may_be_scanned_after_a_diagnosis():
    scanner = LogScanner()
    scanner.feed_line(SEGFAULT)
    before = scanner.diagnosis()
    scanner.feed_line(OUT_OF_MEMORY)

    assert [len(before.causes), len(scanner.diagnosis().causes)] == [1, 2]


WORDS = st.sampled_from(
    [
        b"0: ",
        b"\n",
        b"\r",
        b"\x1b[31m",
        b"@jaxsif2 ",
        b"@jaxsif9 ",
        b'{"rank":1,"node":"n"}',
        b"1\n",
        b"srun: error: n: tasks 0-99999999,7: Killed\n",
        b"Traceback (most recent call last):\n",
        b"ValueError: x\n",
        UNHEALTHY.encode(),
        OUT_OF_MEMORY.encode(),
        b"The first task at the barrier: 0. Some timed out task names:",
        b"Barrier timed out. Id: Shutdown::",
    ]
)


@given(st.lists(st.one_of(WORDS, st.binary(max_size=30)), max_size=30))
def test_no_bytes_whatever_make_it_fail(pieces):
    scanner = LogScanner()
    for piece in pieces:
        scanner.feed(piece)

    found = scanner.diagnosis()

    assert found.lines == b"".join(pieces).count(b"\n") + (
        not b"".join(pieces).endswith((b"\n", b"\r")) and b"".join(pieces) != b""
    )
    assert all(r.count > 0 and r.line.number > 0 for r in found.recognised)


def test_an_endless_log_takes_no_memory():
    line = "".join(
        f"{rank}: {OUT_OF_MEMORY}\n{rank}: {FATAL}\n{rank}: Traceback (most recent call"
        " last):\n"
        for rank in range(500)
    )
    scanner = LogScanner()
    scanner.feed(line.encode())
    tracemalloc.start()
    for _ in range(20):
        scanner.feed(line.encode())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert scanner.diagnosis().causes[0].count == 21 * 500
    assert peak < 3_000_000


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


@pytest.mark.parametrize(
    ("line", "rank", "text"),
    [
        ("plain text", "", "plain text"),
        ("5: text", "5", "text"),
        (" 12: text: 3", "12", "text: 3"),
        ("\x1b[31m5: \x1b[0mred\x1b[1;2K", "5", "red"),
        ("12:30:05 a time", "", "12:30:05 a time"),
        ("3:", "3", ""),
        ("node1: text", "", "node1: text"),
    ],
)
def test_the_label_and_the_colours_are_taken_off(line, rank, text):
    assert (rank, text) == strip_srun_label(line)


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("5", [5]),
        ("0-3,7", [0, 1, 2, 3, 7]),
        ("28 4", [28, 4]),
        ("", []),
        ("-1", [1]),
        ("rank7", []),
    ],
)
def test_ranks_are_read_as_slurm_and_jax_write_them(text, ranks):
    assert ranks == list(parse_ranks(text))


def test_the_number_of_ranks_of_a_line_is_limited():
    assert 70_000 > len(list(parse_ranks("0-9999999")))


@pytest.mark.parametrize(
    ("text", "is_bad"),
    [
        ("[data] ERROR shard 17", True),
        ("error: cannot open", True),
        ("ValueError: no", True),
        ("Permission denied", True),
        ("fatal: 3 shards are bad", True),
        ("val_error 0.02", False),
        ("error: 0.02", False),
        ("the error rate sinks", False),
        ("errors were ignored as asked", False),
        ("I0223 22:58:05 1 xla_bridge.py:660] Failed to open libtpu.so", False),
        ("INFO: a mount failed, going on", False),
    ],
)
def test_errors_are_distinguished_from_metrics(text, is_bad):
    assert is_bad == (weight(text) > 0)
