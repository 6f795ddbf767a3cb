"""The doctor's computation on each GPU."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from fake_nodes import described, kinds

from jaxsif.node.doctor import gpu_checks
from jaxsif.node.doctor.gpu_checks import compute_problems
from jaxsif.node.doctor.isolate import CommandResult

RIGHT = CommandResult(0, "a warning\ngpu 5559680.0\n", 2.0)


def test_each_gpu_is_tried_alone_and_never_on_the_cpu(monkeypatch):
    seen = []

    def fake(command, environments, timeout_s):
        seen.extend(
            (e["CUDA_VISIBLE_DEVICES"], e["JAX_PLATFORMS"]) for e in environments
        )
        return []

    monkeypatch.setattr(gpu_checks, "run_commands", fake)
    gpu_checks.compute({"PATH": "/bin"}, ["GPU-1", "GPU-2"], 1.0)

    assert [("GPU-1", "cuda"), ("GPU-2", "cuda")] == seen


WRONG = [
    CommandResult(None, "", 120.0),
    CommandResult(1, "Traceback\nRuntimeError: no device\n", 1.0),
    CommandResult(0, "gpu 5559681.0\n", 1.0),
    CommandResult(0, "cpu 5559680.0\n", 1.0),
    CommandResult(0, "", 1.0),
]


def test_a_gpu_that_does_not_compute_well_is_named(golden):
    gpus = [f"GPU-{number}" for number in range(len(WRONG) + 1)]

    found = list(compute_problems(gpus, [RIGHT, *WRONG], 120.0))

    assert [("gpu-compute", True)] * len(WRONG) == kinds(found)
    golden("gpu-compute", described(found))


def test_gpus_that_compute_well_are_no_trouble():
    assert [] == list(compute_problems(["GPU-1"], [RIGHT], 120.0))


def test_the_product_is_what_the_program_says_it_is():
    # The trace of x times its transpose is the sum of the squares of all elements.
    assert f"gpu {float(sum(i * i for i in range(256)))}" == RIGHT.last_line
    assert float(sum(i * i for i in range(256))) < 2**24
