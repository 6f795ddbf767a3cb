"""`jax-sif explain`: its text and JSON output, and every input that is no log."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys

import causes_page
import pytest
from checkout import ROOT
from sample_records import make_record

from jaxsif import cli
from jaxsif.core.record_lines import encode
from jaxsif.logs.catalogue import load

LOGS = ROOT / "tests/logs"
SEGFAULT = "srun: error: node2: task 5: Segmentation fault (core dumped)\n"
OUT_OF_MEMORY = (
    "5: jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 8"
    " bytes.\n"
)


@pytest.fixture
def explain(tmp_path, capsys):
    """Explains logs of the given contents; returns status, standard output and error."""

    def run(*contents: str | bytes, options: tuple[str, ...] = ()):
        paths = []
        for number, content in enumerate(contents):
            path = tmp_path / f"job{number}.log"
            raw = content.encode() if isinstance(content, str) else content
            path.write_bytes(raw)
            paths.append(str(path))
        status = cli.main(["explain", *options, *paths])
        return status, *capsys.readouterr()

    return run


def test_the_first_cause_is_on_top_with_its_proof_and_what_to_do(explain):
    status, shown, _ = explain("0: step 1\n" + OUT_OF_MEMORY + SEGFAULT)

    lines = shown.splitlines()
    assert status == 0
    assert lines[0] == (
        "1. rank 5 on node2: the device's memory did not suffice: 8 bytes more were wanted"
    )
    assert lines[1].startswith("   line 2: jax.errors.JaxRuntimeError: RESOURCE_EXH")
    assert lines[2].startswith("   -> use smaller batches")
    assert lines[3] == (
        "   certain cause xla-out-of-memory; source: measured with JAX 0.12.0.1;"
        " docs.jax.dev: GPU memory allocation"
    )
    assert lines[4] == "2. rank 5 on node2 crashed (segmentation fault)"


def test_what_only_follows_is_folded_to_a_line_with_its_count(explain):
    follows = "srun: Terminating StepId=7.0\n"

    _, shown, _ = explain(SEGFAULT + follows * 3)

    assert shown.splitlines()[-2:] == [
        "only follows from another failure:",
        "   slurm-step-ended, 3 times from line 2: srun ended the rest of the step",
    ]


def test_consequences_alone_are_symptoms(explain):
    status, shown, _ = explain("srun: Terminating StepId=7.0\n")

    assert status == 4
    assert "1. srun ended the rest of the step\n" in shown


def test_an_unknown_failure_is_reported_with_the_lines_that_look_like_errors(explain):
    status, shown, _ = explain("all is well\n[data] error: shard 17 is bad\n" * 2)

    assert status == 3
    assert shown.startswith("not recognised: 4 lines of ")
    assert "-> check the job's other logs" in shown
    assert "   line 2: [data] error: shard 17 is bad\n" in shown


def test_with_symptoms_alone_the_errors_come_first_and_the_status_differs(explain):
    status, shown, _ = explain("[data] error: shard 17 is bad\n" + SEGFAULT)

    lines = shown.splitlines()
    assert status == 4
    assert "line 1: [data] error: shard 17 is bad" in lines[2]
    assert lines[3].startswith("1. rank 5 on node2 crashed")


def test_with_a_cause_the_errors_come_below_it_and_are_few(explain):
    errors = "".join(f"[{word}] ERROR it is bad\n" for word in "abcdefgh")

    status, shown, _ = explain(errors + OUT_OF_MEMORY)

    assert status == 0
    assert shown.startswith("1. rank 5: the device's memory")
    assert 3 == shown.count("it is bad")


def test_where_few_lines_look_like_errors_the_end_of_the_output_is_shown(explain):
    _, shown, _ = explain("".join(f"shard {i} is odd\n" for i in range(9)) + "\n")

    assert shown.endswith(
        "the last lines:\n" + "".join(f"   shard {i} is odd\n" for i in range(4, 9))
    )


def test_a_note_alone_is_no_cause(explain):
    status, shown, _ = explain("node1:8:8 [0] NCCL INFO Failed to open libibverbs.so\n")

    assert status == 3
    assert "certain note nccl-no-libibverbs" in shown


def test_several_logs_have_one_diagnosis(explain):
    status, shown, _ = explain(SEGFAULT, "one\n" + OUT_OF_MEMORY)

    assert status == 0
    assert re.search(r"^1\. rank 5 .*\n   \S+job1.log line 2: ", shown)
    assert re.search(r"^2\. rank 5 .*\n   \S+job0.log line 1: ", shown, re.M)


def test_the_json_has_the_same_values(explain):
    status, shown, _ = explain(
        OUT_OF_MEMORY + SEGFAULT + "x\n", options=("--format", "json")
    )

    content = json.loads(shown)
    assert status == 0
    assert content["schema"] == "jax-sif/explanation/1"
    assert (content["lines"], content["outcome"]) == (3, "cause")
    first, second = content["findings"]
    assert first["id"] == "xla-out-of-memory"
    assert (first["ranks"], first["nodes"], first["line_number"]) == ([5], ["node2"], 1)
    assert (first["role"], first["confidence"]) == ("cause", "certain")
    assert second["id"] == "slurm-task-segfault"


def test_the_json_of_an_unknown_failure_states_it(explain):
    status, shown, _ = explain("error: shard 17 is bad\n", options=("--format", "json"))

    content = json.loads(shown)
    assert (status, content["outcome"], content["findings"]) == (3, "nothing", [])
    assert content["error_lines"][0]["line"] == "error: shard 17 is bad"


def test_where_the_kits_records_are_the_verdict_is_pointed_to(explain, tmp_path):
    _, shown, _ = explain(encode(make_record(5, "started", "node2")) + OUT_OF_MEMORY)

    log = tmp_path / "job0.log"
    assert shown.startswith("1. rank 5 on node2: ")
    assert f"1 of the kit's records in it: jax-sif verify {log} gives" in shown


def test_records_of_another_version_are_reported(explain):
    status, shown, _ = explain("@jaxsif3 00000000 {}\n" * 2)

    assert status == 3
    assert "2 records of an older or newer kit in it" in shown


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (
            gzip.compress(SEGFAULT.encode(), mtime=0),
            "is compressed; unpack it on the way: zcat",
        ),
    ],
)
def test_what_is_no_log_is_wrong_usage(explain, content, complaint):
    status, shown, error = explain(content)

    assert (status, shown) == (2, "")
    assert complaint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "complaint"),
    [("/no/such.log", "No such file"), ("/", "Is a directory")],
)
def test_what_cannot_be_read_is_wrong_usage(capsys, path, complaint):
    status = cli.main(["explain", path])

    error = capsys.readouterr().err
    assert status == 2
    assert f"cannot read the log {path!r}: {complaint}" in error


def test_a_binary_file_is_named_and_its_bytes_are_not_shown(explain):
    status, shown, _ = explain(bytes(range(256)) * 500 + b"\nan error: x\x00\n")

    assert status == 3
    assert re.match(r"not recognised: \S+job0.log is not text\n", shown)
    assert "an error" not in shown


def test_a_log_with_some_junk_in_it_is_read(explain):
    status, shown, _ = explain(b"text\n" * 100 + b"\x00\x01\xff\n" + SEGFAULT.encode())

    assert status == 4
    assert "line 102: srun: error: node2" in shown


def test_it_reads_standard_input():
    done = subprocess.run(
        [sys.executable, "-m", "jaxsif", "explain", "-"],
        input=SEGFAULT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (4, "")
    assert "\n1. rank 5 on node2 crashed (segmentation fault)\n" in done.stdout


def test_a_large_log_is_read_in_constant_memory(tmp_path):
    log = tmp_path / "large.log"
    line = "3: step 17 | loss 2.7 | error 0.02 | 1184 tokens/s | host node1 is well\n"
    with log.open("w") as file:
        for _ in range(60):
            file.write(line * 15_000)
        file.write(SEGFAULT)
    program = (
        "import resource, sys; from jaxsif.cli import main;"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "main(['explain', 'tests/logs/healthy.log']); before = used();"
        "main(['explain', sys.argv[1]]); print(used() - before)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(log)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert log.stat().st_size > 60_000_000
    assert "line 900001: srun: error: node2" in done.stdout
    assert int(done.stdout.splitlines()[-1]) < 20_000


def test_the_page_names_every_cause_and_shows_the_tools_output():
    page = (ROOT / "docs/explain.md").read_text()

    named = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", page))
    assert set() == {cause.id for cause in load().causes} - named
    assert causes_page.renewed(page) == page, causes_page.COMMAND


def test_each_group_has_a_page_with_every_message_meaning_and_remedy():
    pages = {path.name: path.read_text() for path in causes_page.CAUSES.glob("*.md")}

    assert causes_page.pages() == pages, causes_page.COMMAND
    for cause in load().causes:
        place = [p for p in pages.values() if f"\n## {cause.id}\n" in p]
        assert 1 == len(place)
        assert cause.examples[0].splitlines()[0] in place[0]


def test_all_causes_are_listed(capsys):
    status = cli.main(["explain", "--list"])

    shown = capsys.readouterr().out.splitlines()
    assert status == 0
    assert [cause.id for cause in load().causes] == [
        s.partition(": ")[0] for s in shown
    ]


def test_a_cause_is_shown_by_its_id(capsys):
    status = cli.main(["explain", "cuda-ecc", "slurm-preempted"])

    shown = capsys.readouterr().out
    assert status == 0
    assert shown.startswith("cuda-ecc: the GPU's memory has an error")
    assert "\nslurm-preempted: " in shown


@pytest.mark.parametrize("words", [[], ["--list", "cuda-ecc"]])
def test_without_a_log_or_with_two_requests_it_is_wrong_usage(capsys, words):
    with pytest.raises(SystemExit) as caught:
        cli.main(["explain", *words])

    assert caught.value.code == 2
    assert "give outputs of a job" in capsys.readouterr().err


def test_an_unknown_id_is_taken_for_the_name_of_a_log(capsys):
    assert 2 == cli.main(["explain", "cuda-no-such-cause"])
    assert "cannot read the log 'cuda-no-such-cause'" in capsys.readouterr().err
