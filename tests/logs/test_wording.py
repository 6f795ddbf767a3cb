"""Parsing a line: its label and colour, the ranks it names, whether it is an error."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.logs import log_line


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
    assert (rank, text) == log_line.strip_srun_label(line)


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
    assert ranks == list(log_line.numbers(text))


def test_the_number_of_ranks_of_a_line_is_limited():
    assert 70_000 > len(list(log_line.numbers("0-9999999")))


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
    assert is_bad == log_line.looks_like_error(text)
