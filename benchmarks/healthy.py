"""Counts harm and false alarms in healthy jobs: diagnostics and unusual programs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import ast
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cluster"))
from cluster import Cluster  # noqa: E402  (needs the path above)
from healthy_programs import (  # noqa: E402  (needs the path above)
    FOLDER,
    KIT,
    PLAIN,
    Outcome,
    programs,
    run,
)

JOBS = ("G4N1p4", "G4N2p2", "G4N2p4", "allreduce")
RESULT = ROOT / "build/healthy.json"
PAGE = ROOT / "docs/faults.md"
# The start of this program's section in docs/faults.md.
HEADING = "## Healthy jobs"

# Names of programs that start processes, or print hostile or alarming text.
_ALARMING = re.compile(
    "fork|spawn|pool|loader|subprocess|helper|tee|twice|another_program|suspended"
    "|asyncio|prints|traceback|stacks|raises|warns"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("name", nargs="*", help="programs to run, and no diagnostics")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--diagnostics", type=int, default=40, help="of the runs")
    parser.add_argument("--busy", type=int, default=15, help="of them with a busy core")
    parser.add_argument("--at-once", type=int, default=2, help="programs")
    parser.add_argument("--scale", type=float, default=1, help="of programs' seconds")
    parser.add_argument("--way", nargs="*", default=(KIT, PLAIN))
    chosen = parser.parse_args()
    diagnostics = 0 if chosen.name else chosen.diagnostics
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="jax-sif-healthy-") as folder:
        Path(folder).chmod(0o755)
        cluster = Cluster(state=Path(folder) / "state")
        subprocess.run(cluster.minicluster("up"), check=True)
        try:
            outcomes = [
                *run_diagnostics(cluster, diagnostics, chosen.busy),
                *run_programs(cluster, chosen, chosen.runs - diagnostics),
            ]
        finally:
            subprocess.run(cluster.minicluster("down", "--purge"), check=True)
    minutes = (time.monotonic() - began_s) / 60
    print("\n".join([*table(outcomes), "", *summary(outcomes, minutes)]))
    if not chosen.name:
        save(outcomes, minutes)
    return 1 if any(x.harm or x.alarm for x in outcomes) else 0


def run_diagnostics(cluster: Cluster, runs: int, busy: int) -> Iterator[Outcome]:
    """All four jobs in turn; the first `busy` runs share a core with other work."""
    for number in range(runs):
        name = JOBS[number % len(JOBS)]
        with busy_core() if number < busy else nullcontext():
            yield printed(Outcome(name, KIT, cluster.submit(name), is_program=False))


def run_programs(
    cluster: Cluster, chosen: argparse.Namespace, runs: int
) -> Iterator[Outcome]:
    """Each program with and without the kit; then the alarming ones again."""
    known = [
        (name, way)
        for name, way in programs()
        if way in chosen.way and name in (chosen.name or [name])
    ]
    again = [pair for pair in known if _ALARMING.search(pair[0])] or known
    planned = itertools.islice(itertools.chain(known, itertools.cycle(again)), runs)
    with ThreadPoolExecutor(chosen.at_once) as pool:
        yield from pool.map(
            lambda pair: printed(run(cluster, *pair, scale=chosen.scale)), planned
        )


def printed(outcome: Outcome) -> Outcome:
    """Print a job's result at once."""
    problem = outcome.harm or outcome.alarm
    print(f"{outcome.name}, {outcome.way}: {problem or 'unharmed'}", flush=True)
    if problem:
        print(outcome.job.output, flush=True)
    return outcome


@contextmanager
def busy_core() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def table(outcomes: list[Outcome]) -> list[str]:
    """A line per program: what it does, and its results with and without the kit."""
    lines = [
        "| Healthy program | with the kit | plain JAX |",
        "|---|---|---|",
    ]
    for name in dict.fromkeys(outcome.name for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.name == name]
        cells = [cell([x for x in mine if x.way == way]) for way in (KIT, PLAIN)]
        lines.append(f"| {title(name)} | {' | '.join(cells)} |")
    return lines


def cell(outcomes: list[Outcome]) -> str:
    """`2 of 2`, or the first problem."""
    if not outcomes:
        return "-"
    bad = [x.harm or x.alarm for x in outcomes if x.harm or x.alarm]
    counted = f"{len(outcomes) - len(bad)} of {len(outcomes)}"
    return counted + (f": {bad[0][:80]}" if bad else "")


def title(name: str) -> str:
    """What a program does, by its first line; a diagnostic by its name."""
    if name in JOBS:
        return f"`jobs/{name}.slurm`"
    docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text()))
    return (docstring or name).removesuffix("; runs as a rank.")


def summary(outcomes: list[Outcome], minutes: float) -> list[str]:
    """The figures that docs/faults.md shows."""
    alarming = [x for x in outcomes if _ALARMING.search(x.name)]
    kinds = {x.name for x in outcomes if x.name not in JOBS}
    return [
        f"- healthy jobs: {len(outcomes)}, of which {len(alarming)} fork, or print"
        f" hostile or alarming text; {len(kinds)} kinds of programs",
        f"- harmed: {sum(bool(x.harm) for x in outcomes)}",
        f"- false alarms: {sum(bool(x.alarm) for x in outcomes)}",
        f"- passes with a warning: {sum(bool(x.warnings) for x in outcomes)}",
        f"- minutes: {minutes:.0f}",
    ]


def save(outcomes: list[Outcome], minutes: float) -> None:
    """build/healthy.json, and the end of docs/faults.md."""
    rows = [
        {"name": x.name, "way": x.way, "harm": x.harm, "alarm": x.alarm}
        for x in outcomes
    ]
    RESULT.write_text(json.dumps(rows, indent=1) + "\n")
    kept = PAGE.read_text().partition(f"\n{HEADING}\n")[0]
    PAGE.write_text(f"{kept}\n{section(outcomes, minutes)}")


def section(outcomes: list[Outcome], minutes: float) -> str:
    words = """Correct programs, each as a job of `jax-sif job PROGRAM | sbatch` on the mini cluster: once with
`initialize_distributed()`, once as plain JAX. A job is unharmed if it ends with status 0 and PASS
(plain JAX: or NO VERDICT), and every rank reaches its last line. Written by `make healthy`; the
programs are in `tests/cluster/healthy/`."""
    figures = "\n".join(summary(outcomes, minutes))
    lines = "\n".join(table(outcomes))
    return f"{HEADING}\n\n{words}\n\n{figures}\n\n{lines}\n"


if __name__ == "__main__":
    sys.exit(main())
