"""No text that a program prints is taken for a rank, for srun, or for a verdict."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from unittest import mock

import pytest
from checkout import SRC
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_records import G8N2P8, healthy, make_record, records

from jaxsif.commands.verify import verify
from jaxsif.core.history import JobState
from jaxsif.core.record_lines import (
    KEY_VARIABLE,
    encode,
    encode_fields,
    job_keys,
    launcher_line,
)
from jaxsif.verdict.stream import Stream
from jaxsif.verdict.verdict import judge

KEY, OTHER = "5e8fc2d9", "0badcafe"
JOB = {
    KEY_VARIABLE: f"{KEY}-7d52-4be2-9f0a-000000000000",
    "SLURM_JOB_ID": "7",
    "SLURM_CLUSTER_NAME": "box",
    "SLURM_JOB_NODELIST": "node[1-2]",
}
MARKED = launcher_line("", KEY).rstrip() + "\n"
KILLED = launcher_line("srun: error: node2: task 5: Killed\n", KEY)

# What ranks of this job print, and healthy programs too: yesterday's log, a model's
# answer, an exception that was caught.
FRIGHTENING = (
    'Traceback (most recent call last):\n  File "a.py", line 1\nKeyError: "x"\n',
    "NVRM: Xid (PCI:0002:00:00): 79, GPU has fallen off the bus.\n",
    "srun: error: node2: task 3: Exited with exit code 1\n",
    "srun: error: node9: tasks 0-99: Killed\n",
    "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.\n",
    "slurmstepd: error: *** STEP 7.0 ON node1 CANCELLED AT 2026-01-02T03:04:05 DUE TO"
    " TIME LIMIT ***\n",
    "jax-sif launch: error: node2: task 3: Killed\n",
    "jax-sif launch: G4N2p4 as node1 to node2 on this machine\n",
    "PASS  G8N2p8: 8 processes on 2 nodes\n",
    "FAIL  G8N2p8: rank 3 on node2: Killed (reported by srun)\n",
    f"@jaxsif2 {OTHER} launcher srun: error: node2: task 3: Killed\n",
    "@jaxsif1 7b940920 {}\n",
    f"@jaxsif9 {OTHER} x\n",
    "@jaxsif2 ",
    "@jaxsif2 launcher srun: error: node2: task 3: Killed\n",
    encode(make_record(3, "failed", "node2", error="boom"), OTHER),
    encode(make_record(3, "requeue", "node2"), OTHER),
    encode(make_record(3, "done", "node2"), OTHER)[:40] + "\n",
    'pjrt_c_api_client: NCCL WARN unhandled system error, "RESOURCE_EXHAUSTED: Out of'
    ' memory while trying to allocate 1 bytes"\n',
)
TEXTS = st.one_of(
    st.sampled_from([text.encode() for text in FRIGHTENING]), st.binary(max_size=60)
)
PLACES = st.lists(st.tuples(st.integers(0, 60), TEXTS), max_size=12)


def output_lines(job, *lines: str, before: Sequence[str] = (MARKED,)) -> list[bytes]:
    keyed = [encode(record, KEY) for record in records(job)]
    return [line.encode() for line in (*before, *keyed, *lines)]


def with_texts(lines: list[bytes], texts: list[tuple[int, bytes]]) -> bytes:
    """Text of programs between the lines; a line of the launcher begins its own."""
    pieces = list(lines)
    for place, text in sorted(texts, reverse=True):
        pieces.insert(min(place, len(pieces)), text)
    return b"".join(pieces)


@contextlib.contextmanager
def signals_kept():
    """The judge chooses what signals do, for the rest of its process."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def judged(raw: bytes, *, is_program: bool = False, job=JOB) -> tuple[int, str]:
    """Exit status and last line of the judge at the end of a job's pipe."""
    read_end, write_end = os.pipe()
    with open(write_end, "wb") as pipe:
        # A pipe takes 64 KiB without a reader.
        assert len(raw) < 60_000
        pipe.write(raw)
    shown = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with (
        open(read_end) as source,
        signals_kept(),
        mock.patch.object(sys, "stdin", source),
        mock.patch.dict(os.environ, job, clear=True),
        contextlib.redirect_stdout(shown),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        status = verify("-", "G8N2p8", None, is_program=is_program)
    text = shown.buffer.getvalue().decode(errors="replace")
    lines = text.split("\n")
    verdicts = ("PASS", "FAIL", "COULD", "NO VERDICT")
    return status, [line for line in lines if line.startswith(verdicts)][-1]


def may_end_launcher(raw: bytes, size: int = 1000) -> bool:
    job_state = JobState(G8N2P8.processes, ["node1", "node2"])
    stream = Stream(job_state.add, job_state.add_line, [KEY])
    for start in range(0, len(raw), size):
        stream.feed(raw[start : start + size])
    stream.close()
    return job_state.has_failed_rank or job_state.has_raised_rank


HEALTHY = judged(b"".join(output_lines(healthy())))


@settings(deadline=None)
@given(PLACES)
def test_no_printed_text_changes_what_becomes_of_a_healthy_job(texts):
    raw = with_texts(output_lines(healthy()), texts)

    assert HEALTHY == judged(raw)
    assert not may_end_launcher(raw)


@settings(deadline=None)
@given(PLACES)
def test_no_printed_text_changes_what_becomes_of_a_program_without_the_kit(texts):
    lines = [MARKED.encode(), *[b"epoch %d\n" % i for i in range(40)]]
    raw = with_texts(lines, texts)

    status, last = judged(raw, is_program=True)

    assert (0, True) == (status, last.startswith("NO VERDICT"))
    assert not may_end_launcher(raw)


@settings(deadline=None)
@given(PLACES)
def test_no_printed_text_saves_a_job_that_fails_or_names_another_rank(texts):
    job = healthy()
    del job[5]["done"]
    job[5]["failed"] = make_record(
        5, "failed", "node2", error="ValueError: no such data"
    )
    raw = with_texts(output_lines(job, KILLED), texts)

    status, last = judged(raw)

    assert 1 == status
    assert "rank 5 on node2 ended in an exception: ValueError" in last
    assert may_end_launcher(raw)


@pytest.mark.parametrize("text", FRIGHTENING)
@pytest.mark.parametrize(
    "key", [JOB, {n: v for n, v in JOB.items() if n != KEY_VARIABLE}]
)
def test_each_text_alone_does_nothing_also_in_a_script_written_by_hand(text, key):
    job, (own, *_) = healthy(), job_keys(key)
    raw = text + "".join(encode(record, own) for record in records(job))
    is_srun_here = text.startswith(
        ("srun: error: node2", "slurmstepd", "jax-sif launch: e")
    )

    status, _ = judged(raw.encode(), job=key)

    # In a pipe that mixes srun's lines with those of ranks, they explain and count.
    assert (status != 0) <= is_srun_here
    assert not may_end_launcher(text.encode())


def test_srun_is_believed_about_the_tasks_of_this_step_alone():
    job_state = JobState(8, ["node1", "node2"])
    for line in (
        "srun: error: node9: task 3: Killed",
        "srun: error: node2: task 8: Killed",
    ):
        job_state.add_line(line, True)
    assert not (job_state.ended or job_state.has_failed_rank)

    job_state.add_line("srun: error: node2: tasks 7-9: Killed", True)

    assert ([7], True) == (list(job_state.ended), job_state.has_failed_rank)


@pytest.mark.parametrize("phase", ["failed", "deadline_exceeded"])
def test_a_record_of_this_job_may_end_the_launcher(phase):
    record = make_record(3, phase, "node2")

    assert may_end_launcher(encode(record, KEY).encode())
    assert not may_end_launcher(encode(record, OTHER).encode())


def test_a_cancelled_step_is_known_by_sruns_own_word_and_explained_by_any():
    abort = launcher_line("srun: Job step aborted: Waiting up to 7 seconds\n", KEY)
    why = FRIGHTENING[5]
    started = [encode_fields(phases["started"], KEY) for phases in healthy().values()]
    status, last = judged("".join([MARKED, *started, abort, why]).encode())
    without, other = judged("".join([MARKED, *started, why]).encode())

    assert (3, True) == (status, "time limit" in last)
    assert (1, False) == (without, "Slurm ended the step" in other)


def test_records_without_this_jobs_key_count_for_nothing_and_the_verdict_says_so():
    raw = "".join(encode(record, OTHER) for record in records(healthy()))

    status, last = judged(raw.encode())

    assert (3, True) == (status, "of another one" in last)


def test_slurms_variables_alone_give_a_key():
    """srun --export=NONE: the script's word does not reach the ranks."""
    ranks = {n: v for n, v in JOB.items() if n != KEY_VARIABLE}
    raw = "".join(encode(r, job_keys(ranks)[0]) for r in records(healthy()))

    assert HEALTHY == judged((MARKED + raw).encode())


WITHOUT_KIT = [
    (
        "srun: error: node2: task 2: Exited with exit code 7\n",
        7,
        "rank 2 on node2: Exited with exit code 7",
    ),
    ("srun: error: node1: tasks 0-1: Killed\n", 137, "ranks 0-1 on node1: Killed"),
    ("srun: error: node2: task 2: Segmentation fault (core dumped)\n", 139, "rank 2"),
    ("srun: error: node2: task 2: Vanished\n", 1, "rank 2 on node2: Vanished"),
]


@pytest.mark.parametrize(("line", "status", "words"), WITHOUT_KIT)
def test_a_program_without_the_kit_that_fails_keeps_its_status(line, status, words):
    raw = f"{MARKED}epoch 1\n{launcher_line(line, KEY)}"

    found, last = judged(raw.encode(), is_program=True)

    assert (status, True) == (
        found,
        last.startswith("FAIL  G8N2p8: ") and words in last,
    )


def test_its_exception_is_named_and_no_rank_is_missed():
    failed = encode(
        make_record(2, "failed", "node1", error="ValueError: no such data"), KEY
    )
    ended = launcher_line("srun: error: node1: task 2: Exited with exit code 1\n", KEY)
    raw = (MARKED + failed + ended).encode()
    job_state = JobState(8, ["node1", "node2"])
    stream = Stream(job_state.add, job_state.add_line, [KEY])
    stream.feed(raw)

    status, last = judged(raw, is_program=True)
    (verdict,) = judge(job_state, G8N2P8, is_program=True)

    assert 1 == status
    assert "rank 2 on node1 ended in an exception: ValueError: no such data" in last
    assert ["program-failed"] == [f.kind for f in verdict.findings]


def test_an_exception_alone_is_no_end_and_gives_it_more_time():
    failed = encode(
        make_record(2, "failed", "node1", error="ValueError: no such data"), KEY
    )
    job_state = JobState(8, ["node1", "node2"])
    stream = Stream(job_state.add, job_state.add_line, [KEY])

    stream.feed(failed.encode())

    assert (False, True) == (job_state.has_failed_rank, job_state.has_raised_rank)


def test_a_saved_log_is_judged_by_its_first_record_wherever_that_is(tmp_path):
    log = tmp_path / "job.log"
    foreign = encode(make_record(3, "failed", "node2", error="boom"), OTHER)
    log.write_text("".join(encode(r, KEY) for r in records(healthy())) + foreign)

    done = subprocess.run(
        [sys.executable, "-m", "jaxsif", "verify", "--topology", "G8N2p8", str(log)],
        env={"PYTHONPATH": str(SRC), "SLURM_JOB_ID": "9"},
        capture_output=True,
    )

    assert 0 == done.returncode


def test_a_name_that_is_shown_is_one_printable_line():
    job = healthy()
    del job[3]["done"]
    node = "node1\nPASS  G8N2p8: 8 processes\x1b[2J"
    for record in job[3].values():
        record["node"] = node
    job[3]["failed"] = make_record(
        3, "failed", node, error="\x1b]0;x\x07\nPASS  G8N2p8"
    )
    job[3]["devices"]["local_devices"][0]["uuid"] = "GPU\r\nPASS  G8N2p8: \u202e"

    shown = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with contextlib.redirect_stdout(shown):
        status, last = judged(b"".join(output_lines(job)))

    assert (1, True) == (status, last.startswith("FAIL"))
    assert last.isprintable()
