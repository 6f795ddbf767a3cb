"""diag/bandwidth.py on a real Slurm: speeds and their baseline, wrong elements, and what XLA makes of a chain."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cluster import Cluster, Job

pytestmark = pytest.mark.measures

READY = (
    'cd; module use "$1/modulefiles"; module load "$2"; export APPTAINER_BIND="$1"\n'
)
HOME = Path("/home/hpc")
SCRIPT = HOME / "bandwidth-test.slurm"
BANDWIDTH = "/opt/jax-sif/diag/bandwidth.py"
# Whatever else the machine does meanwhile, every size is measured.
FEW = ("--max-size=1M", "--factor=64", "--time-budget=200")


def submit(
    cluster: Cluster,
    *words: str,
    topology: str = "G4N2p4",
    program: str | None = None,
    **environment: str,
) -> Job:
    """`jax-sif job bandwidth` on CPU devices, with arguments for the program."""
    done = cluster.bash(
        f'{READY}jax-sif job bandwidth --platform=cpu "--topology=$3" "${{@:4}}"'
        f" > {SCRIPT}",
        str(cluster.checkout),
        cluster.module,
        topology,
        *words,
    )
    assert 0 == done.returncode, done.stderr
    environment.setdefault("APPTAINER_BIND", str(cluster.checkout))
    if program:
        del environment["APPTAINER_BIND"]
    return cluster.submit(SCRIPT, program=program, **environment)


def on_login(cluster: Cluster, script: str) -> str:
    done = cluster.bash(READY + script, str(cluster.checkout), cluster.module)
    assert 0 == done.returncode, done.stderr
    return done.stdout


def rows(output: str) -> list[list[str]]:
    return [x.split() for x in output.splitlines() if re.match(r"\s+\d+\s+\d+ ", x)]


def test_the_job_of_the_profile_measures_every_collective(cluster):
    job = submit(
        cluster, topology="G8N2p8", JAX_SIF_VERDICT_FILE=str(HOME / "all.json")
    )
    verdict = json.loads(on_login(cluster, "cat all.json"))["verdicts"][0]

    assert 0 == job.status, job.output
    assert re.search(
        r"PASS  G8N2p8: .*, all-reduce [\d.e-]+ GB/s busbw at ", job.output
    )
    assert {"float", "bfloat16", "int32"} == {row[2] for row in rows(job.output)}
    assert {"0"} == {row[8] for row in rows(job.output)}
    assert "broadcast f32: JAX does not implement it on cpu devices" in job.output
    measured = [r["measurements"] for r in verdict["ranks"]]
    collectives = {m["collective"] for m in measured[7] if m["phase"] == "bandwidth"}
    assert {
        "all-reduce",
        "all-gather",
        "reduce-scatter",
        "all-to-all",
        "send-recv",
    } == collectives
    nodes = [r["node"] for r in verdict["ranks"] if _has_fabric(r)]
    assert ["node1", "node2"] == nodes


def _has_fabric(rank: dict) -> bool:
    return any(m["phase"] == "fabric" for m in rank["measurements"])


def test_several_devices_in_a_process_are_measured_too(cluster):
    job = submit(cluster, "python", BANDWIDTH, *FEW, topology="G4N2p2")

    assert 0 == job.status, job.output
    assert "# jax-sif bandwidth: 4 devices in 2 processes" in job.output


def test_elements_that_arrive_wrong_fail_the_job_and_name_the_ranks(cluster):
    job = submit(
        cluster,
        *("python", BANDWIDTH, *FEW, "--collectives=all-reduce,send-recv"),
        program="last_rank_spoils.py",
    )

    assert 1 == job.status, job.output
    # Every rank received the wrong sum.
    assert ("data-corrupt-collective", [0, 1, 2, 3]) == job.cause
    assert "of send-recv at 8 B only what rank 0 on node1 received" in job.verdict
    assert "FAILED" in job.output
    by_operation = [int(row[8]) for row in rows(job.output)]
    # Of all-reduce four ranks in five trials, of send-recv the neighbour alone.
    assert {20, 5} == set(by_operation)


def test_a_speed_below_the_baseline_fails_and_one_above_passes(cluster):
    words = ("python", BANDWIDTH, *FEW, "--collectives=all-reduce")
    first = submit(cluster, *words, JAX_SIF_VERDICT_FILE=str(HOME / "run.json"))
    assert 0 == first.status, first.output
    assert "learn one: jax-sif baseline add" in first.verdict
    learned = on_login(
        cluster,
        "rm -f known.toml; jax-sif baseline add run.json --file=known.toml\n"
        "jax-sif baseline show --file=known.toml\n"
        "sed 's/^runs = .*/runs = [1000]/' known.toml > fast.toml\n"
        "sed 's/^runs = .*/runs = [1e-9]/' known.toml > slow.toml\n",
    )
    assert re.search(r"G4N2p4 +all-reduce +f32 +1 MiB +[\d.e-]+ GB/s", learned)

    fails = submit(cluster, *words, JAX_SIF_BASELINE=str(HOME / "fast.toml"))
    passes = submit(cluster, *words, JAX_SIF_BASELINE=str(HOME / "slow.toml"))

    assert (1, 0) == (fails.status, passes.status), fails.output
    assert "bandwidth-low" in fails.kinds
    assert "expected 1e-09" in passes.verdict


def test_a_wrong_option_is_named_in_the_verdict(cluster):
    job = submit(cluster, "python", BANDWIDTH, "--dtypes=f64")

    assert 1 == job.status, job.output
    assert "'f64'" in job.verdict


def test_nothing_of_a_chain_is_left_out_and_nothing_large_is_copied(cluster):
    program = str(cluster.checkout / "tests/cluster/programs/chained.py")

    job = submit(cluster, "python", program)

    assert 0 == job.status, job.output
    for collective in ("all-reduce", "all-gather", "reduce-scatter", "all-to-all"):
        line = f"{collective}: 0 and 0 wrong, True stale, 0 copied, 8 times"
        assert line in job.output, job.output
    for collective, operation in (
        ("all-reduce", "all_reduce"),
        ("all-gather", "all_gather"),
        ("reduce-scatter", "reduce_scatter"),
        ("all-to-all", "all_to_all"),
        ("broadcast", "collective_broadcast"),
        ("send-recv", "collective_permute"),
    ):
        assert f"for GPUs, {collective}: {operation}, while" in job.output, job.output
