"""Simulates 10,000 ranks: time and memory of the verdict, and calls to rank 0."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests/helpers")]

from sample_records import healthy, make_record, output  # noqa: E402  (needs the path above)

from jaxsif.core.slurm_env import Identity  # noqa: E402  (as above)
from jaxsif.core.topology import parse_topology  # noqa: E402  (as above)
from jaxsif.rank import peers  # noqa: E402  (as above)

LABEL = "G10000N1250p10000"
PROCESSES = 10_000


def main(arguments: list[str]) -> int:
    if arguments:
        write(arguments[1])
        return 0
    print(json.dumps({"judge": judge(), "preflight": preflight()}))
    return 0


def judge() -> dict[str, float]:
    """`jax-sif verify` on the records of a job in which one rank fails."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        # In a separate process: this one's memory would count for its children as well.
        subprocess.run([sys.executable, __file__, "write", log.name], check=True)
        verify = subprocess.Popen(
            [sys.executable, "-m", "jaxsif", "verify", "--topology", LABEL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        assert verify.stdin and verify.stdout
        # Its output is read in a thread, so that it never blocks.
        reader = subprocess.Popen(
            ["tail", "-n", "1"], stdin=verify.stdout, stdout=subprocess.PIPE
        )
        verify.stdout.close()
        began_s = time.monotonic()
        shutil.copyfileobj(log, verify.stdin)
        verify.stdin.close()
        written_s = time.monotonic()
        last = reader.communicate()[0].decode()
        ended_s = time.monotonic()
    # Of this child alone; getrusage would give the largest of all.
    _, status, usage = os.wait4(verify.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1, status
    assert "rank 4321 on node541" in last, last
    return {
        "ranks": PROCESSES,
        "stream_s": round(written_s - began_s, 2),
        "verdict_s": round(ended_s - written_s, 2),
        "peak_memory_mb": round(usage.ru_maxrss / 1024, 1),
    }


def write(path: str) -> None:
    """The output of a job in which rank 4321 raises an exception."""
    job = healthy(parse_topology(LABEL))
    for phase in ("devices", "allreduce", "identity", "done"):
        del job[4321][phase]
    job[4321]["failed"] = make_record(
        4321, "failed", "node541", error="RuntimeError: boom"
    )
    Path(path).write_text(output(job))


class Store:
    """A substitute of the coordinator's key-value store that counts calls."""

    def __init__(self) -> None:
        self.content: dict[str, str] = {}
        self.calls: Counter[str] = Counter()

    def key_value_set(self, key: str, value: str, allow_overwrite: bool) -> None:
        self.calls["set"] += 1
        self.content[key] = value

    def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
        self.calls["directory"] += 1
        return [(k, v) for k, v in self.content.items() if k.startswith(folder)]

    def blocking_key_value_get(self, key: str, limit_ms: int) -> str:
        self.calls["get"] += 1
        return self.content[key]


def preflight() -> dict[str, float]:
    """The exchange of peer information, rank 0 last, for 100 and 10,000 ranks."""
    few, many = exchange(100), exchange(PROCESSES)
    return {
        "rank_0_s": many["rank_0_s"],
        "calls_per_rank_100": few["calls_per_rank"],
        "calls_per_rank_10000": many["calls_per_rank"],
    }


def exchange(processes: int) -> dict[str, float]:
    store = Store()
    who = [
        Identity("box.7.0.0", rank, processes, 0, f"node{rank // 8}", "node[0-1249]")
        for rank in range(processes)
    ]
    for identity in who[1:]:
        info = json.dumps(peers.peer_info(identity))
        store.key_value_set(f"{peers._INFO_PREFIX}{identity.rank}", info, True)
    began_s = time.monotonic()
    assert peers.exchange_peer_info(store, who[0]) == []
    rank_0_s = time.monotonic() - began_s
    for identity in who[1:]:
        peers._wait_for_reply(store, identity, 1)
    return {
        "rank_0_s": round(rank_0_s, 3),
        "calls_per_rank": round(sum(store.calls.values()) / processes, 2),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
