"""The catalogue: every real line has its own cause, ordinary lines have none, and an invalid row is rejected."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re

import pytest

from jaxsif.logs import catalogue as causes
from jaxsif.logs.catalogue import literal_substrings, load, parse
from jaxsif.logs.scanner import LogScanner, scan

CAUSES = load().causes
EXAMPLES = [
    pytest.param(cause.id, example, id=f"{cause.id}-{number}")
    for cause in CAUSES
    for number, example in enumerate(cause.examples)
]
each_cause = pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)


def _rows(lines):
    """The ids of all rows that lines match, also of those that are not shown."""
    scanner = LogScanner()
    for line in lines:
        scanner.feed_line(line)
    return [cause.id for cause in scanner.matched()]


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_every_example_is_recognised_as_its_own_cause_and_no_other(name, example):
    assert [name] == _rows(example.split("\n"))


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_is_recognised_behind_a_label_and_in_colour(name, example):
    lines = example.split("\n")
    if any(re.match(r"\d+: ", line) for line in lines):
        lines = [re.sub(r"^\d+: ", "", line) for line in lines]

    assert [name] == _rows(f" 5: \x1b[31m{line}\x1b[0m" for line in lines)


def test_the_catalogue_covers_every_layer_of_a_job():
    kinds = {cause.id.partition("-")[0] for cause in CAUSES}

    assert len(CAUSES) >= 150
    assert kinds >= {"jax", "xla", "cuda", "xid", "nccl", "gloo", "slurm"}
    assert kinds >= {"kit", "image", "container", "python", "host"}


@each_cause
def test_every_row_has_a_remedy_and_a_source(cause):
    for text in (cause.cause, cause.remedy, cause.source):
        assert text == text.strip() != ""
        assert "\n" not in text
        assert not text.endswith(".") or text.endswith("...")


@each_cause
def test_the_text_that_lines_are_searched_for_is_in_every_line_that_fits(cause):
    for signature in cause.signature:
        for example in cause.examples:
            for line in example.split("\n"):
                if re.search(signature.pattern, line):
                    assert [] == [t for t in signature.texts if t not in line]


@each_cause
def test_no_signature_takes_more_than_linear_time(cause):
    from re import _parser as parser  # the only one that knows its own syntax

    def nested(tree, inside=False):
        for operation, value in tree:
            if str(operation) in ("MAX_REPEAT", "MIN_REPEAT"):
                is_open = value[1] > 1000
                yield inside and is_open
                yield from nested(value[2], inside or is_open)
            elif str(operation) == "SUBPATTERN":
                yield from nested(value[3], inside)
            elif str(operation) == "BRANCH":
                for branch in value[1]:
                    yield from nested(branch, inside)

    for pattern in [*(s.pattern for s in cause.signature), *cause.followed_by]:
        assert not any(nested(parser.parse(pattern)))


def test_the_guard_against_slow_signatures_can_fail():
    slow = "A distinctive text, and (?:[a-z]+ ?)+$"
    cause = parse(f"{ROW}signature = ['{slow}']\n").causes[0]

    with pytest.raises(AssertionError):
        test_no_signature_takes_more_than_linear_time(cause)


ORDINARY = [
    "",
    "Training:  22%|██▏       | 11/50 [1:56:28<6:52:58, 635.36s/it, error=0.02]",
    "step 120 | loss 7.89 | error 0.012 | 388.77 TFLOP/s",
    "foo.c:12:7: warning: unused variable 'error' [-Wunused-variable]",
    "error: the user may call anything an error, even Killed or Terminated",
    "I will retry when the connection failed or timed out",
    "    raise ValueError('coordinator_address should be defined.')",
    "assert 'RESOURCE_EXHAUSTED' not in log",
    "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer"
    " ranks is : 1",
    "node1:88:157 [0] NCCL INFO Channel 01/0 : 0[0] -> 1[0] [send] via NET/IB/0/GDRDMA",
    "node1:88:157 [0] NCCL INFO Using network IB",
    "NCCL version 2.32.3+cuda12.9",
    "srun: job 23513890 queued and waiting for resources",
    "srun: job 23513890 has been allocated resources",
    "srun: error: this is not what srun says of tasks",
    "salloc: Granted job allocation 99825",
    "slurmstepd: info: Setting TaskEpilog to nothing",
    "INFO:    Converting SIF file to temporary sandbox...",
    "INFO:    Mounting image with FUSE.",
    "WARNING: Skipping mount /etc/localtime [binds]: /etc/localtime doesn't exist in"
    " container",
    "jax-sif: 8 of 8 ranks started",
    "jax-sif entry: JAX_COORDINATOR_PORT=18243 (job 7, step 0, restart 0)",
    # Messages of JAX and XLA in healthy runs.
    "I0223 22:58:05.579882 140312230876992 xla_bridge.py:660] Unable to initialize"
    " backend 'tpu': INTERNAL: Failed to open libtpu.so: libtpu.so: cannot open shared"
    " object file: No such file or directory",
    "2025-05-18 21:59:55.086788: W external/xla/xla/tsl/framework/bfc_allocator.cc:310]"
    " Allocator (GPU_0_bfc) ran out of memory trying to allocate 3.37GiB with"
    " freed_by_count=0. The caller indicates that this is not a failure, but this may"
    " mean that there could be performance gains if more memory were available.",
    "E0213 12:41:17.9 59040 rendezvous.cc:115] [id=0] This thread is unstuck waiting for"
    " `x` after 21s. All threads joined the rendezvous on time however the leader took"
    " long time to complete it. Warning above was a false-positive. Perhaps the timeout"
    " is too short.",
    "W external/xla/xla/service/hlo_rematerialization.cc:3005] Can't reduce memory use"
    " below 30.32GiB by rematerialization; only reduced to 44.21GiB",
    "/usr/lib/python3.5/importlib/_bootstrap.py:222: RuntimeWarning: numpy.dtype size"
    " changed, may indicate binary incompatibility. Expected 96, got 88",
    "DeprecationWarning: jax.experimental.maps is deprecated and will be removed",
    "[  1.5] nvidia 0000:09:00.0: enabling device (0140 -> 0142)",
    "[  2.0] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.105.08",
]


@pytest.mark.parametrize("line", ORDINARY)
def test_an_ordinary_line_has_no_cause(line):
    assert () == scan([line]).recognised


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("plain text", ("plain text",)),
        (r"a\.b\(c\) \d+ d", ("a.b(c) ", " d")),
        (r"colou?r", ("colo", "r")),
        (r"FATAL: +x", ("FATAL: ", "x")),
        (r"one(?:two|three)?four", ("one", "four")),
        (r"one(?P<name>[^)]*)two", ("one", "two")),
        (r"[ab]c{2}d*", ()),
        (r"^start.*end$", ("start", "end")),
    ],
)
def test_the_plain_text_of_a_regular_expression_is_found(pattern, texts):
    assert texts == literal_substrings(pattern)


ROW = """
[[cause]]
id = "a-cause"
cause = "something"
remedy = "do something"
source = "somewhere"
confidence = "certain"
examples = ["A distinctive text"]
"""
SIGNED = ROW + "signature = ['A distinctive text']\n"


def test_a_row_needs_no_more_than_this():
    match = parse(SIGNED).match("here is A distinctive text, too")

    assert match is not None and "a-cause" == match.cause.id


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (SIGNED + SIGNED, "two causes have the id 'a-cause'"),
        (SIGNED.replace('"a-cause"', '"A cause"'), "matching regex"),
        (
            SIGNED.replace("certain", "sure"),
            "Invalid enum value 'sure' - at `$.confidence`",
        ),
        (SIGNED + 'role = "guess"\n', "Invalid enum value 'guess' - at `$.role`"),
        (
            SIGNED.replace('["A distinctive text"]', "[]"),
            "length >= 1 - at `$.examples`",
        ),
        (SIGNED + 'colour = "red"\n', "colour"),
        (SIGNED.replace('remedy = "do something"', ""), "remedy"),
        (SIGNED.replace('"something"', '"on {node}"'), "{node} is no group"),
        (ROW + "signature = ['short']\n", "7 plain characters"),
        (ROW + "signature = ['one text here|another']\n", "write two signatures"),
    ],
)
def test_an_invalid_row_is_rejected_with_its_reason(text, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse(text)


def test_the_first_row_that_fits_has_the_line():
    general = SIGNED.replace("a-cause", "general-cause")
    particular = SIGNED.replace("A distinctive text", "A distinctive text of one kind")
    catalogue = parse(particular + general)

    matches = [
        catalogue.match(line)
        for line in ("A distinctive text of one kind", "A distinctive text of another")
    ]

    assert ["a-cause", "general-cause"] == [m.cause.id for m in matches if m]


def test_the_catalogue_is_read_on_demand():
    assert causes.load() is causes.load()
