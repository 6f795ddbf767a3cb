"""The output of whole launches: slow readers, terminals, one file per rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections import defaultdict

import pytest
from run_launch import command, environment, launch, start

BOTH = "echo out $SLURM_PROCID; echo err $SLURM_PROCID >&2; printf end"
# 8 ranks x 1.5 MB, more than all pipes and buffers on the way hold.
TALKS = """
import os, sys
rank = os.environ["SLURM_PROCID"]
for i in range(15_000):
    stream = (sys.stdout, sys.stderr)[i % 2]
    stream.write(f"{rank} {i} {'x' * (i % 190)}\\n")
    stream.flush()
"""


def test_no_line_of_ranks_that_write_fast_is_lost_or_mixed_for_a_slow_reader():
    launched = start("G8N2p8", "--", sys.executable, "-c", TALKS)
    lines = defaultdict(list)
    for number, line in enumerate(launched.stdout):
        if number % 15_000 == 0:
            # Long enough for everything on the way to be full.
            time.sleep(0.3)
        words = line.split()
        if words[1:2] and words[1].isdecimal():
            assert line == f"{words[0]} {words[1]} {'x' * (int(words[1]) % 190)}\n"
            lines[words[0]].append(int(words[1]))

    assert 0 == launched.wait()
    # One pipe for both outputs of a rank: they stay in order.
    assert {str(rank): list(range(15_000)) for rank in range(8)} == lines


def test_output_and_errors_stay_apart_where_ours_are():
    done = launch("G2N1p2", "--", "sh", "-c", BOTH)

    assert ["end", "end", "out 0", "out 1"] == sorted(done.stdout.splitlines())
    assert "err 0\n" in done.stderr and "err 1\n" in done.stderr
    assert "jax-sif launch: G2N1p2 as node1 on this machine" in done.stderr


def test_binary_output_passes_unharmed():
    every_byte = bytes(range(256)) * 500
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 500)"

    done = subprocess.run(
        command("G1N1p1", "--", sys.executable, "-c", program),
        env=environment(),
        capture_output=True,
    )

    assert every_byte == done.stdout


def test_each_rank_has_a_file_with_all_that_it_printed_in_order(tmp_path):
    launched = start("G4N2p4", "--log-dir", tmp_path / "a/b", "--", "sh", "-c", BOTH)
    shown, _ = launched.communicate()

    names = [f"rank-{rank}-node{rank // 2 + 1}.log" for rank in range(4)]
    assert names == sorted(file.name for file in (tmp_path / "a/b").iterdir())
    assert "out 3\nerr 3\nend" == (tmp_path / "a/b" / names[3]).read_text()
    assert f"3     node2  success  0.0 s  {tmp_path}/a/b/{names[3]}\n" in shown


def test_files_hold_lines_without_labels(tmp_path):
    launch("G1N1p1", "--label", "--log-dir", tmp_path, "--", "echo", "text")

    assert "text\n" == (tmp_path / "rank-0-node1.log").read_text()


def test_a_folder_for_files_that_cannot_be_is_an_error_before_any_rank_starts(tmp_path):
    (tmp_path / "file").touch()

    done = launch("G1N1p1", "--log-dir", tmp_path / "file", "--", "echo", "text")

    assert (1, "") == (done.returncode, done.stdout)
    assert "jax-sif: cannot write logs to" in done.stderr
    assert "choose another folder with --log-dir" in done.stderr


def test_a_disk_that_fills_with_a_ranks_file_ends_the_launch(tmp_path):
    (tmp_path / "rank-0-node1.log").symlink_to("/dev/full")

    done = launch(
        "G2N1p2", "--log-dir", tmp_path, "--", "sh", "-c", "echo text; exec sleep 600"
    )

    assert 1 == done.returncode
    assert "No space left on device; all ranks were ended" in done.stderr


def test_in_a_pipe_there_are_labels_only_when_asked_for():
    plain = launch("G2N2p2", "--", "echo", "text")
    labelled = launch("G2N2p2", "--label", "--", "echo", "text")

    assert "text\ntext\n" == plain.stdout
    assert ["0 node1| text", "1 node2| text"] == sorted(labelled.stdout.splitlines())


@pytest.mark.parametrize(
    ("changes", "words", "expected"),
    [
        ({"TERM": "xterm"}, (), "\x1b[K\x1b[33m1 node2|\x1b[0m text\r\n"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, (), "\x1b[K1 node2| text\r\n"),
        ({"TERM": "dumb"}, (), "\n1 node2| text\r\n"),
        ({"TERM": "xterm"}, ("--no-label",), "\ntext\r\n"),
    ],
)
def test_a_terminal_shows_labels_in_colour_unless_it_should_not(
    changes, words, expected
):
    shown = on_a_terminal("G2N2p2", *words, "--", "echo", "text", **changes)

    assert expected in shown


def test_on_a_terminal_records_are_hidden_and_stay_in_the_files(tmp_path):
    shown = on_a_terminal(
        *("G1N1p1", "--log-dir", str(tmp_path), "--", "echo", "@jaxsif2 0 {}"),
    )

    assert "@jaxsif2" not in shown
    assert "@jaxsif2 0 {}\n" == (tmp_path / "rank-0-node1.log").read_text()


def test_on_a_terminal_the_last_line_is_completed():
    assert "end\r\nrank " in on_a_terminal("G1N1p1", "--", "printf", "end")


def on_a_terminal(*words: str, **changes: str) -> str:
    """Everything that a launch shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    launched = subprocess.Popen(
        command(*words), env=environment(**changes), stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while piece := _read(ours):
        shown += piece
    os.close(ours)
    assert 0 == launched.wait()
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Linux's report that the other side is closed.
        return b""
