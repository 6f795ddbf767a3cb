"""`jax-sif verify` as a whole process: streams, exit statuses, bad input."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import pytest
from checkout import SRC
from sample_records import healthy, make_record, output

from jaxsif.core.image import versions
from jaxsif.core.record_lines import encode


def verify(
    text: str | bytes,
    *arguments: str,
    topology: str | None = "G8N2p8",
    **variables: str,
):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC), **variables}
    if topology:
        environment["JAX_SIF_TOPOLOGY"] = topology
    return subprocess.run(
        [sys.executable, "-m", "jaxsif", "verify", *arguments],
        input=text if isinstance(text, bytes) else text.encode(),
        env=environment,
        capture_output=True,
        timeout=60,
    )


def test_a_healthy_job_passes_and_its_other_lines_stay():
    done = verify(output(healthy()))

    assert done.returncode == 0
    assert b"rank 5 speaks\n" in done.stdout
    assert b"@jaxsif2" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith(b"PASS  G8N2p8")
    assert b"8 of 8 ranks done" in done.stderr


def test_who_submits_a_job_names_the_file_for_programs(tmp_path):
    done = verify(output(healthy()), JAX_SIF_VERDICT_FILE=str(tmp_path / "job.json"))

    assert done.returncode == 0
    assert json.loads((tmp_path / "job.json").read_text())["verdicts"]


def test_a_failing_job_ends_with_status_1():
    job = healthy()
    del job[5]

    done = verify(output(job))

    assert done.returncode == 1
    assert b"rank 5 on node2" in done.stdout.splitlines()[-1]


def test_a_program_that_wants_to_go_on_ends_with_status_75():
    job = healthy()
    job[0]["requeue"] = make_record(0, "requeue")

    done = verify(output(job))

    assert 75 == done.returncode
    assert done.stdout.splitlines()[-1].startswith(b"PASS  G8N2p8")
    assert done.stdout.endswith(b" s, requeue requested\n")


def test_a_failing_job_does_not_go_on():
    job = healthy()
    job[0]["requeue"] = make_record(0, "requeue")
    del job[5]

    assert 1 == verify(output(job)).returncode


def test_the_argument_outweighs_the_variable():
    done = verify(output(healthy()), "--topology", "G4N2p4")

    assert done.returncode == 1
    assert b"8 processes" in done.stdout


def test_without_a_topology_the_records_name_it():
    assert verify(output(healthy()), topology=None).returncode == 0


@pytest.mark.parametrize("text", ["", "no record\nanywhere\n", "@jaxsif2 garbage\n"])
def test_nothing_measured_is_status_3(text):
    done = verify(text)

    assert done.returncode == 3
    assert b"nothing was measured" in done.stdout


def test_binary_garbage_passes_through_and_proves_nothing():
    garbage = bytes(range(256)) * 300

    done = verify(garbage)

    assert done.returncode == 3
    assert done.stdout.startswith(garbage)


@pytest.mark.parametrize("topology", ["G9N2p8", "eight"])
def test_an_unknown_topology_is_wrong_usage(topology):
    done = verify(output(healthy()), topology=topology)

    assert done.returncode == 2
    assert b"topology" in done.stderr


def test_no_topology_at_all_is_wrong_usage():
    done = verify(encode(make_record(0, "started", topology=None)), topology=None)

    assert done.returncode == 2
    assert b"jax-sif verify --topology" in done.stderr


def test_a_log_that_is_not_there_is_wrong_usage():
    done = verify("", "missing.log")

    assert done.returncode == 2
    assert b"cannot read the log 'missing.log'" in done.stderr


def test_a_log_file_is_judged_like_a_stream(tmp_path):
    log = tmp_path / "job.out"
    log.write_text(output(healthy()))

    assert verify("", str(log)).returncode == 0


def test_an_unknown_command_is_wrong_usage():
    assert verify("", "--no-such-option").returncode == 2


def test_the_json_file_holds_the_verdict(tmp_path):
    file = tmp_path / "verdict.json"
    job = healthy()
    del job[5]

    verify(output(job), "--verdict-file", str(file))

    content = json.loads(file.read_text())
    assert content["schema"] == "jax-sif/verdict/1"
    assert content["verdicts"][0]["verified_by"] == msgspec.to_builtins(versions())
    assert content["verdicts"][0]["verdict"] == "FAIL"
    assert [file] == list(tmp_path.iterdir())


def test_a_json_file_that_cannot_be_written_leaves_the_verdict_as_it_is(tmp_path):
    done = verify(
        output(healthy()), "--verdict-file", str(tmp_path / "no" / "verdict.json")
    )

    assert done.returncode == 0
    assert b"PASS" in done.stdout
    assert b"the verdict above is valid" in done.stderr


def test_two_steps_in_one_stream_are_judged_one_by_one():
    other = healthy()
    for phases in other.values():
        for record in phases.values():
            record["step"] = "box.7.1.0"
    del other[2]

    done = verify(output(healthy()) + output(other))

    assert done.returncode == 1
    assert (done.stdout.count(b"PASS  "), done.stdout.count(b"FAIL  ")) == (1, 1)


def test_an_interrupted_record_of_a_killed_rank_is_no_pass():
    text = output(healthy())

    assert verify(text[:-20]).returncode == 3


@pytest.mark.parametrize("version", [1, 3])
def test_records_of_an_older_or_newer_kit_are_said_to_be_such(version):
    text = f'@jaxsif{version} 00000000 {{"phase":"started","rank":0}}\n'

    done, without_topology = verify(text), verify(text, topology=None)

    assert (3, 3) == (done.returncode, without_topology.returncode)
    assert b"1 records are from an older or newer jax-sif" in done.stdout
    assert b"from an older or newer jax-sif" in without_topology.stderr


def test_clocks_that_disagree_by_an_hour_are_no_finding():
    job = healthy()
    for rank in range(4, 8):
        for record in job[rank].values():
            record["time"] -= 3600

    done = verify(output(job))

    assert 0 == done.returncode
    assert done.stdout.endswith(b", 3.0 s\n")


@pytest.mark.parametrize("content", [bytes(range(256)) * 400, b"\0" * 100_000])
def test_a_file_that_is_no_log_proves_nothing(content):
    done = verify(content)

    assert 3 == done.returncode
    assert b"nothing was measured" in done.stdout


def test_a_cancelled_job_still_gets_a_verdict():
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxsif", "verify", "--topology", "G8N2p8"],
        env={"PYTHONPATH": str(SRC)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    process.stdin.write(b"first line\n")
    process.stdin.flush()
    assert b"first line\n" == process.stdout.readline()

    process.terminate()
    rest, _ = process.communicate(
        b"slurmstepd: error: *** STEP 7.0 ON node1 CANCELLED AT 2026-01-02T03:04:05"
        b" DUE TO TIME LIMIT ***\n",
        timeout=30,
    )

    assert 3 == process.returncode
    assert b"Slurm ended the step: time limit; no rank is the cause" in rest


def test_a_users_program_without_records_has_no_verdict_and_keeps_its_status():
    done = verify("loss 0.3\n", "--user-program")

    assert done.returncode == 0
    assert b"loss 0.3\n" in done.stdout
    assert b"NO VERDICT  no rank reported anything" in done.stdout
    assert b"PASS" not in done.stdout


def test_a_users_program_that_fails_is_named_even_without_records():
    done = verify(
        "srun: error: node2: task 3: Exited with exit code 1\n", "--user-program"
    )

    assert done.returncode == 1
    assert b"rank 3 on node2" in done.stdout.splitlines()[-1]


def test_a_users_program_whose_ranks_all_leave_by_os_exit_keeps_its_status():
    job = healthy()
    for phases in job.values():
        del phases["done"]
    text = output(job)

    assert verify(text, "--user-program").returncode == 0
    assert b"NO VERDICT" in verify(text, "--user-program").stdout
    # A diagnostic never ends so, and a rank that failed is named.
    assert verify(text).returncode == 1
    died = "srun: error: node2: task 5: Killed\n"
    assert verify(text + died, "--user-program").returncode != 0


def _of_a_user() -> dict:
    """A healthy program of a user's, which reports no sums."""
    job = healthy()
    for phases in job.values():
        del phases["allreduce"], phases["identity"]
        phases["connected"]["peers_verified"] = True
    return job


def test_a_users_second_program_may_follow_the_first_in_one_step():
    training, evaluation = _of_a_user(), _of_a_user()
    both = output(training) + output(evaluation)
    del evaluation[5]["done"]
    spoiled = output(training) + output(evaluation)

    assert verify(both, "--user-program").returncode == 0
    assert b"PASS" in verify(both, "--user-program").stdout
    assert verify(spoiled, "--user-program").returncode == 1
    # What a diagnostic has measured is never forgotten.
    done = verify(output(healthy()) * 2)
    assert b"started more than once" in done.stdout


def test_a_users_program_with_records_gets_a_verdict():
    job = healthy()
    del job[5]

    assert verify(output(healthy()), "--user-program").returncode == 0
    assert verify(output(job), "--user-program").returncode == 1


def test_damaged_words_of_a_users_program_are_not_silence():
    done = verify("@jaxsif2 00000000 {}\n", "--user-program")

    assert done.returncode == 3
