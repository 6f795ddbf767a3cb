"""Failures that others published, reconstructed small: the cause is named, and the line that shows it is quoted."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from checkout import TESTS

from jaxsif.logs import render
from jaxsif.logs.diagnosis import Diagnosis
from jaxsif.logs.scanner import scan

FIELD = TESTS / "logs/field"
_HEAD = re.compile(r"# (source|cause|known|expect|tells): (.*)")


@dataclass(frozen=True)
class Case:
    """A log of the field corpus, and what its head says of it (README.md there)."""

    name: str
    head: dict[str, str]
    diagnosis: Diagnosis

    @property
    def shown(self) -> str:
        return render.text(self.diagnosis, [self.name])


def _read(name: str) -> Case:
    lines = (FIELD / f"{name}.log").read_text().splitlines()
    head = [found.groups() for line in lines if (found := _HEAD.fullmatch(line))]
    return Case(name, dict(head), scan(lines[len(head) :]))


NAMES = sorted(path.stem for path in FIELD.glob("*.log"))
CASES = [_read(name) for name in NAMES]
FAILURES = [case for case in CASES if case.head["expect"] not in ("none", "missed")]
QUOTED = [case for case in CASES if "tells" in case.head]
HEALTHY = [case for case in CASES if case.head["expect"] == "none"]


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@each(FAILURES)
def test_of_a_published_failure_the_cause_comes_first(case):
    first = case.diagnosis.causes[0].cause.id

    assert first in case.head["expect"].split(",")


@each(QUOTED)
def test_the_line_that_shows_the_cause_is_quoted(case):
    assert case.head["tells"] in case.shown


@each(HEALTHY)
def test_a_healthy_log_has_no_cause_however_its_words_sound(case):
    assert "nothing" == case.diagnosis.outcome


@each(CASES)
def test_each_case_says_where_it_was_published_and_how_its_cause_is_known(case):
    assert case.head["source"].startswith("https://")
    assert case.head["known"] in ("thread", "docs", "source", "message", "inferred")
    assert case.head["cause"]


def test_the_corpus_is_large_enough():
    assert len(FAILURES) >= 60
    assert len(HEALTHY) >= 15


@each([case for case in FAILURES if "NCCL WARN" in case.shown])
def test_where_nccl_warned_the_advice_is_not_to_let_it_warn(case):
    assert "NCCL_DEBUG=WARN" not in case.shown


SPELLINGS = [
    "E1121 04:28:50.7 77 cuda_driver.cc:152] failed call to cuInit: {name}: {text}",
    "n1:7:8 [0] init.cc:12 NCCL WARN Cuda failure {number} '{text}'",
    "n1:7:8 [0] init.cc:12 NCCL WARN Cuda failure '{text}'",
    "INTERNAL: NCCL operation ncclGroupEnd() failed: unhandled cuda error (run with"
    " NCCL_DEBUG=INFO for details). Last NCCL warning(error) log entry (may be"
    " unrelated) 'Cuda failure {number} '{text}''.",
    "RuntimeError: CUDA error: {text}",
    "jaxlib/gpu/x.cc:30: operation cudaGetLastError() failed: {text}",
]
ERRORS = [
    (35, "", "CUDA driver version is insufficient for CUDA runtime version"),
    (46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "all CUDA-capable devices are busy or unavailable"),
    (100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"),
    (101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"),
    (209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"),
    (214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"),
    (217, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED", "peer access is not supported between these two devices"),
    (220, "CUDA_ERROR_NVLINK_UNCORRECTABLE", "uncorrectable NVLink error detected during the execution"),
    (222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."),
    (304, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"),
    (700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"),
    (719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"),
    (802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"),
    (803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"),
    (804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", "forward compatibility was attempted on non supported HW"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "name", "text"), ERRORS, ids=lambda e: str(e)[:12])
def test_an_error_of_cuda_has_one_cause_whatever_spells_it(number, name, text):
    lines = [
        line.format(number=number, name=name, text=text)
        for line in SPELLINGS
        if name or "{name}" not in line
    ]

    found = [tuple(r.cause.id for r in scan([line]).recognised) for line in lines]

    assert 1 == len(set(found)) == len(found[0])


def test_the_words_of_a_cause_change_with_what_else_the_log_has():
    duplicate = (
        "n1:7:8 [0] init.cc:871 NCCL WARN Duplicate GPU detected : rank 1 and rank 0"
        " both on CUDA device 3b000"
    )

    plain, mig = (
        scan([*lines, duplicate]).recognised
        for lines in ([], ["CUDA_VISIBLE_DEVICES=MIG-11111111-2222-5333-9444-5555"])
    )

    assert [["nccl-duplicate-gpu"]] * 2 == [
        [r.cause.id for r in f] for f in (plain, mig)
    ]
    assert "MIG" in mig[0].text and "MIG" not in plain[0].text
    assert plain[0].cause.remedy != mig[0].cause.remedy


def test_what_healthy_programs_print_as_well_is_a_cause_only_without_a_better_one():
    no_device = "failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device"
    failed = ["Traceback (most recent call last):", "  x", "ValueError: no"]
    better = "OSError: [Errno 28] No space left on device"

    roles = {
        tuple(lines): {r.cause.id: r.role for r in scan([no_device, *lines]).recognised}
        for lines in ([], failed, [better])
    }

    assert ["note", "cause", "note"] == [r["cuda-no-device"] for r in roles.values()]
