"""Measures `jax-sif verify` and the entry; runs in the image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from jaxsif.core.record_lines import encode
from jaxsif.core.records import StartedRecord

RANKS = 1024
ENTRY = "/opt/jax-sif/lib/jaxsif/entry"


def main() -> None:
    """Prints JSON: records/s, memory by number of records, and the entry's cost."""
    few, many = 100 * RANKS, 600 * RANKS
    memory_mb = {}
    for records in (few, many):
        with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
            write(log, records)
            began_s = time.perf_counter()
            command = [sys.executable, "-m", "jaxsif", "verify", log.name]
            command += ["--topology", f"G{RANKS}N128p{RANKS}"]
            subprocess.run(command, capture_output=True, check=False)
            seconds = time.perf_counter() - began_s
        peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        memory_mb[records] = round(peak_kb / 1024, 1)
    print(
        json.dumps(
            {
                "records": many,
                "records_per_s": round(many / seconds),
                "peak_memory_mb_by_records": memory_mb,
                "entry_ms": entry_ms(),
            }
        )
    )


def write(log, records: int) -> None:
    """A stream in which every rank reports the same phase repeatedly."""
    lines = [
        encode(
            StartedRecord(
                rank=rank,
                step="bench.1.0.0",
                node=f"node{rank // 8 + 1}",
                time=1.7e9 + rank,
                processes=RANKS,
                local_rank=rank % 8,
                nodes="node[1-128]",
                topology=None,
                platform="gpu",
                network=None,
                image="0123abcd",
                packages=None,
                program=None,
                may_miss=None,
                process_start=None,
                entry_start=None,
            )
        )
        for rank in range(RANKS)
    ]
    for _ in range(records // RANKS):
        log.writelines(lines)
    log.flush()


def milliseconds(command: list[str], environment: dict[str, str]) -> float:
    began_s = time.perf_counter()
    subprocess.run(command, env=environment, check=True)
    return (time.perf_counter() - began_s) * 1000


def entry_ms(repeats: int = 200) -> dict[str, float]:
    """The time that the entry adds to the start of a program in a Slurm task."""
    task = {
        **os.environ,
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
        "SLURM_STEP_NODELIST": "node[1-2]",
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
        "JAX_PLATFORMS": "cpu",
        "SLURM_STEP_NUM_TASKS": "8",
    }
    off = {"JAX_SIF_MTLS": "off"}
    ways = {
        "rank 0": ([ENTRY, "/bin/true"], {**task, **off, "SLURM_PROCID": "0"}),
        "other ranks": ([ENTRY, "/bin/true"], {**task, **off, "SLURM_PROCID": "1"}),
        "with a certificate": ([ENTRY, "/bin/true"], {**task, "SLURM_PROCID": "1"}),
        "without": (["/bin/true"], task),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, (command, environment) in ways.items():
            times[name].append(milliseconds(command, environment))
    return {name: round(statistics.median(values), 2) for name, values in times.items()}


if __name__ == "__main__":
    main()
