"""Nodes, tasks and GPUs follow from the options."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.lint.model import Word
from jaxsif.lint.options import SBATCH, parse_options
from jaxsif.lint.resources import count_gpus, count_gres, job_resources


@pytest.mark.parametrize(
    ("text", "count", "is_typed"),
    [("4", 4, False), ("a100:4", 4, True), ("a100:2,v100:1", 3, True)],
)
def test_gpus_are_counted(text, count, is_typed):
    found = count_gpus(text)

    assert found is not None
    assert (count, is_typed) == (found.count, found.is_typed)


@pytest.mark.parametrize("text", [None, "", "a100", "$N", "4-8"])
def test_invalid_gpu_count_is_none(text):
    assert count_gpus(text) is None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("gpu:4", 4),
        ("gpu", 1),
        ("gpu:a100", 1),
        ("gpu:80gb:2", 2),
        ("shard:2,gpu:a100:4", 4),
        ("cpu=4,gres/gpu:a100=2", 2),
        ("gpu:0", 0),
    ],
)
def test_gpus_among_other_resources_are_counted(text, count):
    found = count_gres(text)

    assert found is not None
    assert count == found.count


# nodes, tasks, tasks per node, GPUs per node
@pytest.mark.parametrize(
    ("line", "resources"),
    [
        ("", (1, 1, 1, None)),
        ("-N 2", (2, 2, 1, None)),
        ("-n 8", (None, 8, None, None)),
        ("-N 2 -n 8", (2, 8, 4, None)),
        ("-N 2 -n 7", (2, 7, None, None)),
        ("-N 2 --ntasks-per-node=4 --gres=gpu:4", (2, 8, 4, 4)),
        ("--ntasks-per-node=4 --gpus-per-node=a100:4", (1, 4, 4, 4)),
        ("-N 2 -G 8 -n 8", (2, 8, 4, 4)),
        ("-N 2 --ntasks-per-node=4 --gpus-per-task=1", (2, 8, 4, 4)),
        ("--gpus=8 --gpus-per-task=2", (None, 4, None, None)),
        ("-N 2-4 --ntasks-per-node=4", (None, None, 4, None)),
        ("--gpus=4 --ntasks-per-gpu=1", (None, None, None, None)),
    ],
)
def test_job_resources_follow_from_options(line, resources):
    words = [Word(text, 1) for text in line.split()]

    found = job_resources(parse_options(words, SBATCH))

    assert resources == (
        found.nodes,
        found.tasks,
        found.tasks_per_node,
        found.gpus_per_node,
    )
