"""The choice of GPUs or CPU devices, its reason, and what is rejected."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.core.errors import UsageError
from jaxsif.core.topology import parse_topology
from jaxsif.launch.environment import LocalGpus, choose_devices, detect_gpus

TOPOLOGY = parse_topology("G4N2p4")
NONE, FOUR = LocalGpus(()), LocalGpus(("0", "1", "2", "3"))


@pytest.mark.parametrize(
    ("asked", "environment", "machine", "expected"),
    [
        ("auto", {}, FOUR, ("gpu", "this machine shows 4 GPUs, G4N2p4 needs 4")),
        ("auto", {}, NONE, ("cpu", "this machine shows 0 GPUs, G4N2p4 needs 4")),
        (
            "auto",
            {},
            LocalGpus(("0",)),
            ("cpu", "this machine shows 1 GPU, G4N2p4 needs 4"),
        ),
        (
            "auto",
            {},
            LocalGpus(FOUR.gpus, has_cuda=False),
            ("cpu", "this image's JAX has no CUDA"),
        ),
        (
            "auto",
            {"JAX_PLATFORMS": "cpu"},
            FOUR,
            ("cpu", "JAX_PLATFORMS=cpu is set"),
        ),
        (
            "auto",
            {"JAX_PLATFORMS": "cuda,cpu"},
            FOUR,
            ("gpu", "JAX_PLATFORMS=cuda,cpu is set"),
        ),
        ("cpu", {}, FOUR, ("cpu", "--devices cpu")),
        ("gpu", {}, FOUR, ("gpu", "--devices gpu")),
        (
            "cpu",
            {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
            NONE,
            ("cpu", "--devices cpu"),
        ),
        (
            "cpu",
            {"JAX_NUM_CPU_DEVICES": "8", "MINICLUSTER_CPU_DEVICES": "8"},
            NONE,
            ("cpu", "--devices cpu"),
        ),
    ],
)
def test_the_choice_has_a_reason(asked, environment, machine, expected):
    devices = choose_devices(asked, TOPOLOGY, environment, machine)

    assert expected == (devices.kind, devices.reason)


def test_no_more_gpus_than_needed_are_taken():
    assert ("0", "1") == choose_devices("gpu", parse_topology("G2N2p2"), {}, FOUR).gpus


@pytest.mark.parametrize(
    ("asked", "environment", "machine", "words"),
    [
        (
            "gpu",
            {},
            LocalGpus(("0", "2")),
            "G4N2p4 (2 nodes x 2 processes x 1 devices) needs 2 x 2 x 1 = 4, this machine"
            " shows 2 (0,2)",
        ),
        ("auto", {"JAX_PLATFORMS": "cuda"}, NONE, "this machine shows 0 (none)"),
        (
            "cpu",
            {"JAX_PLATFORMS": "cuda"},
            FOUR,
            "--devices cpu contradicts JAX_PLATFORMS='cuda'",
        ),
        (
            "gpu",
            {"JAX_PLATFORMS": "cpu"},
            FOUR,
            "--devices gpu contradicts JAX_PLATFORMS='cpu'",
        ),
        (
            "cpu",
            {"JAX_NUM_CPU_DEVICES": "8"},
            NONE,
            "JAX_NUM_CPU_DEVICES is '8', but G4N2p4 has 1 devices in each process",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_arithmetic(
    asked, environment, machine, words
):
    with pytest.raises(UsageError) as raised:
        choose_devices(asked, TOPOLOGY, environment, machine)

    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("0,1", ("0", "1")),
        ("GPU-1, 3", ("GPU-1", "3")),
        ("", ()),
        ("NoDevFiles", ()),
        ("0,-1,1", ("0",)),
    ],
)
def test_the_gpus_of_a_machine_are_those_that_cuda_would_see(listed, expected):
    assert expected == detect_gpus({"CUDA_VISIBLE_DEVICES": listed}).gpus
