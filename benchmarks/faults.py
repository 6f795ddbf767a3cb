"""Runs the fault matrix with the kit and with JAX alone: writes docs/faults.md."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import queue
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cluster"))
from cluster import Cluster  # noqa: E402  (needs the path above)
from fault_runner import FAULTS, load, run, run_alone, title  # noqa: E402  (as above)
from healthy import HEADING  # noqa: E402  (needs the path above)

PAGE = ROOT / "docs/faults.md"
RESULT = ROOT / "build/faults.json"

# The limit for JAX alone is above its own longest limit, 300 s.
MINUTES = 6
# Jobs of JAX alone mostly wait, so several run at once.
CLUSTERS = 6

HEAD = """# Faults

Each fault was injected on the mini cluster: into unmodified `jobs/allreduce.slurm` (or the named
job), and into the same all-reduce written without the kit. Times run from the fault, or from the
last rank's start, to the job's last output. `make faults` writes this page; `make test` also
injects every fault, with the kit.

JAX alone was ended after {minutes} minutes if it did not end by itself. A dash: the fault cannot be
injected there (it is injected into the kit, needs a GPU, or is the kit's own switch). "Nothing"
means no output about the fault, not that there was none.

"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("name", nargs="*", help="faults to renew; all by default")
    parser.add_argument("--alone", action="store_true", help="renew JAX alone only")
    arguments = parser.parse_args()
    names = arguments.name or FAULTS
    rows = json.loads(RESULT.read_text()) if arguments.name else {}
    if not arguments.alone:
        rows |= {name: with_kit(name) for name in names}
    save(rows)
    for name, row in alone([n for n in names if load(n).FAULT.has_baseline]):
        rows[name]["alone"] = row
        save(rows)
    print("\n".join(summary(rows)))
    return 0 if all(row["is_as_expected"] for row in rows.values()) else 1


def with_kit(name: str) -> dict:
    outcome = run(Cluster(), name)
    sign = "as expected" if outcome.is_as_expected else "NOT AS EXPECTED"
    print(f"{name}: {outcome.seconds:.1f} s, {sign}", flush=True)
    return {
        "title": title(name),
        "is_as_expected": outcome.is_as_expected,
        "status": outcome.job.status,
        "seconds": round(outcome.seconds, 1),
        "says": outcome.job.verdict,
    }


def save(rows: dict[str, dict]) -> None:
    """Save after each fault, so that a failure does not lose the earlier ones."""
    rows = dict(sorted(rows.items()))
    RESULT.write_text(json.dumps(rows, indent=1) + "\n")
    # Keep the section that healthy.py wrote.
    _, heading, section = PAGE.read_text().partition(f"\n{HEADING}\n")
    PAGE.write_text(page(rows) + heading + section)


def alone(names: list[str]) -> Iterator[tuple[str, dict]]:
    """Run each fault in a separate cluster, because a fault may change a node."""
    free: queue.SimpleQueue[Cluster] = queue.SimpleQueue()

    def one(name: str) -> tuple[str, dict]:
        cluster = free.get()
        try:
            return name, one_alone(cluster, name)
        finally:
            free.put(cluster)

    with tempfile.TemporaryDirectory(prefix="jax-sif-faults-") as folder:
        Path(folder).chmod(0o755)
        clusters = [Cluster(state=Path(folder) / str(i)) for i in range(CLUSTERS)]
        try:
            for cluster in clusters:
                subprocess.run(cluster.minicluster("up"), check=True)
                free.put(cluster)
            with ThreadPoolExecutor(CLUSTERS) as pool:
                measured = [pool.submit(one, name) for name in names]
                failed = []
                for future in as_completed(measured):
                    if future.exception() is None:
                        yield future.result()
                    else:
                        failed.append(future)
            # Raise only now, so that the results of the others are not lost.
            for future in failed:
                future.result()
        finally:
            for cluster in clusters:
                subprocess.run(cluster.minicluster("down", "--purge"), check=True)


def one_alone(cluster: Cluster, name: str) -> dict:
    outcome = run_alone(cluster, name, MINUTES)
    print(f"{name}, JAX alone: {outcome.seconds:.1f} s", flush=True)
    return {
        "ends": "DUE TO TIME LIMIT" not in outcome.job.output,
        "status": outcome.job.status,
        "seconds": round(outcome.seconds, 1),
        "says": main_error(outcome.job.output),
    }


def main_error(output: str) -> str:
    """The main error line of JAX or Python."""
    aborts = re.findall(r"absl::Status: (.+)", output)
    errors = re.findall(r"^(?:\w+\.)*\w*(?:Error|FATAL|Exception)\b.*", output, re.M)
    fatal = re.findall(r"^F\d+ .+?\] (.+)", output, re.M)
    found = errors or aborts or fatal
    return found[0][:160] if found else ""


def summary(rows: dict[str, dict]) -> list[str]:
    named = sum(row["is_as_expected"] for row in rows.values())
    # Slurm itself enforces the time limit.
    found = [r for n, r in rows.items() if r["status"] and n != "time_limit_reached"]
    slowest = max(row["seconds"] for row in found)
    gains = [
        row["alone"]["seconds"] / max(row["seconds"], 0.1)
        for row in rows.values()
        if row["status"] and row.get("alone", {}).get("seconds", 0) >= 60
    ]
    return [
        f"named as expected: {named} of {len(rows)}",
        f"slowest verdict: {slowest:.1f} s after the fault",
        f"sooner than JAX alone, where that takes a minute or more:"
        f" {min(gains, default=0):.0f} times at least",
    ]


def page(rows: dict[str, dict]) -> str:
    """docs/faults.md."""
    lines = ["| Fault | JAX alone | jax-sif |", "|---|---|---|"]
    for row in rows.values():
        baseline = row.get("alone")
        left = "-" if baseline is None else format_alone(baseline)
        lines.append(f"| {row['title']} | {left} | {format_with_kit(row)} |")
    figures = "\n".join(f"- {line}" for line in summary(rows))
    return HEAD.format(minutes=MINUTES) + "\n".join(lines) + f"\n\n{figures}\n"


def format_alone(baseline: dict) -> str:
    output = escape(baseline["says"]) or "nothing"
    if not baseline["ends"]:
        return f"does not end: {output}"
    return f"status {baseline['status']} after {baseline['seconds']:.0f} s: {output}"


def format_with_kit(row: dict) -> str:
    verdict = re.sub(r"  G\d+N\d+p\d+: ", ": ", row["says"]) or "(no output)"
    if row["status"] == 0:
        verdict = "PASS"
    return f"status {row['status']} after {row['seconds']:.1f} s: {escape(verdict)}"


def escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.exit(main())
