"""jobs/pairs.slurm on four nodes of a real Slurm whose network is made slow, late, silent or cut: the right node is named, or none."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cluster import Cluster, Job
from slow_network import make_even, make_link_late, make_link_slow, make_node_slow

pytestmark = pytest.mark.measures

ONE_PROCESS_A_NODE = ("--nodes=4", "--ntasks-per-node=1", "--gpus-per-node=1")


@pytest.fixture(scope="module")
def four_nodes(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster of this module's own, beside the one that the others use."""
    assert cluster.image.is_file()
    four = Cluster(state=tmp_path_factory.mktemp("four") / "state")
    options = ("--nodes", "4", "--gpus-per-node", "1")
    subprocess.run(four.minicluster("up", *options), check=True, timeout=120)
    yield four
    subprocess.run(four.minicluster("down", "--purge"), check=True, timeout=60)


IN_THE_IMAGE = """cd; module use "$1/modulefiles"; module load "$2"
export APPTAINER_BIND="$1"
singularity exec "$JAX_IMAGE" python "$1/tests/cluster/programs/exchange_spoiled.py"
"""


def test_every_element_that_is_not_what_was_sent_is_counted(four_nodes):
    done = four_nodes.bash(IN_THE_IMAGE, str(four_nodes.checkout), four_nodes.module)

    # Two devices, one exchange before the two trials, 1024 elements.
    assert [
        "ppermute 0 2",
        "spoiled 6 2",
        "unsent 6144 2",
    ] == done.stdout.splitlines()


def submit(cluster: Cluster, **more: str) -> Job:
    return cluster.submit(
        "pairs", *ONE_PROCESS_A_NODE, JAX_SIF_TOPOLOGY="G4N4p4", **more
    )


ALL_WAIT = """
for ((i = 0; i < 600; i++)); do
  waiting=("$1"/waits-*)
  if ((${#waiting[@]} == 4)); then exit 0; fi
  sleep 0.05
done
exit 1
"""


def interrupted(
    cluster: Cluster, cut: Callable[[], object], options: str = ""
) -> tuple[Job, float]:
    """A search that goes on from its second round when something is cut. Returns how
    many seconds later the verdict was there as well."""
    folder = f"/home/hpc/interrupted-{uuid.uuid4().hex[:8]}"
    cluster.run("mkdir", folder)
    more = {"PAIRS_FOLDER": folder, "PAIRS_OPTIONS": options}
    with ThreadPoolExecutor() as pool:
        search = pool.submit(submit, cluster, program="pairs_interrupted.py", **more)
        waited = cluster.bash(ALL_WAIT, folder)
        cut()
        cut_at = time.time()
        cluster.run("touch", f"{folder}/cut")
        job = search.result()
    assert 0 == waited.returncode, job.output
    return job, job.spoken_at - cut_at


def test_no_node_is_named_where_all_are_even(four_nodes):
    make_even(four_nodes)

    job = submit(four_nodes)

    assert 0 == job.status, job.output
    assert "6 pairs of 4 nodes in " in job.output
    assert "PASS  G4N4p4: 4 processes on 4 nodes" in job.verdict


def test_a_slow_node_is_named_with_the_option_that_leaves_it_out(four_nodes):
    make_even(four_nodes)
    make_node_slow(four_nodes, "node3", 0.4)

    job = submit(four_nodes)

    assert 1 == job.status, job.output
    # Gloo sends one way and then the other, and only one of them is slow.
    assert ("node-slow", [2]) == job.cause
    assert "-> leave it out: --exclude=node3\n" in job.output
    assert 'nodename=node3 state=drain reason="jax-sif: 0.' in job.output


def test_a_slow_link_names_neither_of_its_nodes_alone(four_nodes):
    make_even(four_nodes)
    make_link_slow(four_nodes, ("node2", "node4"), 0.4)

    job = submit(four_nodes)

    assert 1 == job.status, job.output
    assert ("link-slow", [1, 3]) == job.cause
    assert "nodename=" not in job.output


def test_a_late_link_names_neither_of_its_nodes_alone(four_nodes):
    make_even(four_nodes)
    make_link_late(four_nodes, ("node1", "node3"), 3)

    job = submit(four_nodes)
    make_even(four_nodes)

    assert 1 == job.status, job.output
    assert ("link-slow", [0, 2]) == job.cause
    assert "nodename=" not in job.output


DROP = """
nft add table ip cut
nft 'add chain ip cut in { type filter hook input priority 0; }'
nft add rule ip cut in ip saddr "$1" drop
"""


def test_two_nodes_without_a_connection_are_silent_and_not_slow(four_nodes):
    def cut() -> None:
        four_nodes.on("node4", "sh", "-euc", DROP, "sh", "10.77.1.2")

    make_even(four_nodes)
    try:
        job, seconds = interrupted(four_nodes, cut, "--timeout=5")
    finally:
        four_nodes.on("node4", "nft", "delete", "table", "ip", "cut")

    assert 1 == job.status, job.output
    assert ("pair-timeout", [1, 3]) == job.cause
    assert "nodename=" not in job.output
    assert 5 < seconds < 20, job.output


def test_a_node_that_is_cut_off_during_the_search_is_dead_and_not_slow(four_nodes):
    def cut() -> None:
        four_nodes.on("node3", "ip", "link", "set", "eth0", "down")

    make_even(four_nodes)
    try:
        job, seconds = interrupted(four_nodes, cut)
    finally:
        four_nodes.on("node3", "ip", "link", "set", "eth0", "up")
        four_nodes.wait_until_idle()

    assert 1 == job.status, job.output
    assert ("jax-heartbeat-lost", [2]) == job.cause
    assert "nodename=" not in job.output
    assert seconds < 20, job.output
