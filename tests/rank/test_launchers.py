"""Which launcher is meant where several have left variables, what the user's own choices change, and what no recording shows."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import socket
from typing import Any

import pytest
import yaml
from checkout import ROOT

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import Identity
from jaxsif.rank import distributed, launchers
from jaxsif.rank.launchers import detect_launcher
from jaxsif.rank.launchers.machine import LocalHost, this_machine

STEP = {
    "SLURM_CLUSTER_NAME": "box",
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "1",
    "SLURM_PROCID": "1",
    "SLURM_NTASKS": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURMD_NODENAME": "node2",
}
SEVERAL_ON_A_NODE = {**STEP, "SLURM_STEP_NUM_TASKS": "4"}
MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "PMIX_RANK": "1",
    "PMIX_NAMESPACE": "prterun-head-801@1",
}
MPIEXEC = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "PMI_FD": "5"}
POD = {"JOB_COMPLETION_INDEX": "1", "NUM_PROCESSES": "2"}


def machine(
    name: str = "node2", proxy: int | None = None, full_name: str = "node2"
) -> LocalHost:
    return LocalHost(
        name,
        full_name=lambda: full_name,
        first_line=lambda path: None,
        peer_pid=lambda descriptor: proxy,
    )


def identify(environment: dict[str, str], **settings: Any) -> Identity:
    return launchers.identify(environment, machine(), settings)


def coordinator(
    environment: dict[str, str], where: LocalHost | None = None, **settings: Any
) -> tuple[str, int] | None:
    where = where or machine()
    identity = launchers.identify(environment, where, settings)
    return launchers.coordinator(environment, identity, where, settings)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "single"),
        (STEP, "slurm"),
        ({**STEP, "SLURM_STEP_ID": "-6"}, "single"),
        ({**STEP, "SLURM_STEP_ID": "4294967290"}, "single"),
        (MPIRUN, "open_mpi"),
        (MPIEXEC, "pmi"),
        ({"PMIX_RANK": "0"}, "pmix"),
        (POD, "kubernetes"),
        # An empty variable is none.
        ({"PMI_RANK": ""}, "single"),
        # The step of daemons, one on each node, and the shell of an allocation.
        ({**STEP, **MPIRUN}, "open_mpi"),
        ({**STEP, **MPIEXEC}, "pmi"),
        ({**STEP, "PMIX_RANK": "1", "PMIX_NAMESPACE": "prterun-head-8@1"}, "pmix"),
        ({**STEP, "SLURM_STEP_ID": "-6", **MPIRUN}, "open_mpi"),
        # srun speaks PMI, and PMI names its step and rank.
        ({**STEP, "PMIX_RANK": "1", "PMIX_NAMESPACE": "slurm.pmix.7.1"}, "slurm"),
        ({**STEP, **MPIEXEC, "PMI_JOBID": "7.1"}, "slurm"),
        ({**STEP, **MPIEXEC, "PALS_APID": "7.1"}, "slurm"),
        # Another step, or another rank of it: mpiexec in a step that speaks PMI.
        ({**STEP, **MPIEXEC, "PMI_JOBID": "7.0"}, "pmi"),
        ({**STEP, **MPIEXEC, "PMI_RANK": "0", "PMI_JOBID": "7.1"}, "pmi"),
        # A step of srun's in a rank of mpirun's: no step of daemons has two on a node.
        ({**SEVERAL_ON_A_NODE, **MPIRUN}, "slurm"),
        # Slurm, or MPI, on Kubernetes.
        ({**STEP, **POD}, "slurm"),
        ({**MPIRUN, **POD}, "open_mpi"),
    ],
)
def test_the_innermost_launcher_is_meant(environment, expected):
    assert expected == detect_launcher(environment)


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", None])
def test_a_rank_that_is_no_number_is_named(value):
    environment = {**STEP, "SLURM_PROCID": value}
    if value is None:
        del environment["SLURM_PROCID"]

    with pytest.raises(
        UsageError, match=f"SLURM_PROCID is {value!r}, expected a number"
    ):
        identify(environment)


def test_a_rank_beyond_the_number_of_ranks_is_refused():
    with pytest.raises(UsageError, match="this is rank 2 of 2"):
        identify({**STEP, "SLURM_PROCID": "2"})


def test_a_restart_is_another_run_with_another_port():
    again = {**STEP, "SLURM_RESTART_COUNT": "2"}

    assert ("box.7.1.0", "box.7.1.2") == (identify(STEP).step, identify(again).step)
    assert coordinator(STEP) != coordinator(again)


def test_a_step_of_older_slurm_counts_its_tasks_by_the_other_variable():
    older = {k: v for k, v in STEP.items() if k != "SLURM_STEP_NUM_TASKS"}

    assert 2 == identify(older).processes


def test_ports_that_slurm_reserved_are_used():
    assert ("node1", 61001) == coordinator(
        {**STEP, "SLURM_STEP_RESV_PORTS": "61001-61003"}
    )


CHOICES = [STEP, {**MPIRUN, "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]"}]


@pytest.mark.parametrize("environment", CHOICES)
def test_the_users_port_is_used(environment):
    assert ("node1", 5555) == coordinator(
        {**environment, "JAX_COORDINATOR_PORT": "5555"}
    )


@pytest.mark.parametrize("environment", [*CHOICES, MPIEXEC, POD])
def test_the_users_address_is_used(environment):
    variables = {**environment, "MPI_LOCALNRANKS": "2"}

    by_variable = coordinator({**variables, "JAX_COORDINATOR_ADDRESS": "head:5555"})
    by_argument = coordinator(
        {**variables, "JAX_COORDINATOR_ADDRESS": "other:1"},
        coordinator_address="[::1]:5555",
    )

    assert (("head", 5555), ("::1", 5555)) == (by_variable, by_argument)


@pytest.mark.parametrize("address", ["node1:5555", "10.0.0.1:5555", "[fe80::1]:5555"])
def test_jax_is_given_the_address_as_the_user_wrote_it(address):
    where = coordinator({**STEP, "JAX_COORDINATOR_ADDRESS": address})

    assert where and address == launchers.as_address(where)


@pytest.mark.parametrize(
    "address", ["head", "head:", ":5555", "head:port", "head:0", "head:65536"]
)
def test_an_address_that_is_none_is_named(address):
    with pytest.raises(UsageError, match=r"expected HOST:PORT; set JAX_COORD"):
        coordinator({**STEP, "JAX_COORDINATOR_ADDRESS": address})


def test_a_port_that_is_none_is_named():
    with pytest.raises(UsageError, match="JAX_COORDINATOR_PORT is 'auto'"):
        coordinator({**STEP, "JAX_COORDINATOR_PORT": "auto"})


def test_an_address_without_a_launcher_lacks_the_ranks_number():
    with pytest.raises(
        UsageError, match=r"without a launcher this process's rank is unknown"
    ):
        coordinator({"JAX_COORDINATOR_ADDRESS": "head:5555"})


def test_a_program_may_say_itself_which_process_it_is():
    numbers = {"process_id": 1, "num_processes": 2, "coordinator_address": "head:5555"}

    identity = identify({}, **numbers)

    assert (1, 2, "by-hand.5555", "arguments") == (
        identity.rank,
        identity.processes,
        identity.step,
        identity.launcher,
    )
    assert ("head", 5555) == coordinator({}, **numbers)


@pytest.mark.parametrize("numbers", [{"process_id": 0}, {"num_processes": 2}])
def test_a_program_that_gives_one_number_of_two_gets_an_error(numbers):
    with pytest.raises(UsageError, match="pass both numbers"):
        identify({}, **numbers)


def test_a_program_that_gives_no_address_gets_an_error():
    with pytest.raises(UsageError, match="but no coordinator_address"):
        coordinator({}, process_id=0, num_processes=2)


def test_the_programs_numbers_come_before_the_launchers():
    identity = identify(STEP, process_id=0)

    assert (0, 2, "Slurm", "box.7.1.0") == (
        identity.rank,
        identity.processes,
        identity.launcher,
        identity.step,
    )


def test_without_slurm_ranks_look_for_rank_0_where_mpirun_runs():
    four = {**MPIRUN, "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1,10.1.0.1:34911"}
    del four["PMIX_NAMESPACE"]
    over_ipv6 = {**four, "OMPI_MCA_orte_hnp_uri": "1.0;tcp6://[fe80::b9b,2620::2]:433"}

    hosts = [coordinator(variables)[0] for variables in (MPIRUN, four, over_ipv6)]

    assert ["head", "10.0.0.1", "fe80::b9b"] == hosts


def test_without_mpiruns_host_the_error_names_the_variable():
    unknown = {**MPIRUN, "PMIX_NAMESPACE": "unheard-of"}

    with pytest.raises(UsageError, match="mpirun -x JAX_COORDINATOR_ADDRESS, here to"):
        coordinator(unknown)


LOCAL = {**MPIEXEC, "MPI_LOCALNRANKS": "2"}


def test_runs_of_mpich_on_a_node_are_distinguished_by_their_proxies():
    first, second = (coordinator(LOCAL, machine(proxy=p)) for p in (801, 802))

    assert first and second and first[0] == second[0] == "node2"
    assert first[1] != second[1]


def test_a_run_of_mpich_without_a_proxy_in_sight_needs_a_name():
    with pytest.raises(UsageError, match="mpiexec -genv JAX_SIF_RUN_ID run-1"):
        coordinator(LOCAL)

    first, second = (coordinator({**LOCAL, "JAX_SIF_RUN_ID": run}) for run in "ab")
    assert first != second
    assert ("node2", 5555) == coordinator({**LOCAL, "JAX_COORDINATOR_PORT": "5555"})


def test_mpich_that_does_not_number_the_ranks_of_a_node_is_an_error():
    with pytest.raises(UsageError, match="MPI_LOCALNRANKS is None, expected a number"):
        identify({"PMI_RANK": "1", "PMI_SIZE": "2"})


def test_a_single_rank_of_mpich_needs_no_more_than_its_number():
    identity = identify({"PMI_RANK": "0", "PMI_SIZE": "1"})

    assert (0, 1, 0, 1) == (
        identity.rank,
        identity.processes,
        identity.local_rank,
        identity.local_processes,
    )


def test_a_pod_with_a_different_host_name_is_an_error():
    with pytest.raises(UsageError, match="expected it to end in -1"):
        coordinator(POD, machine("mine", full_name="mine.pods.svc"))


def test_runs_of_a_kubernetes_job_are_distinguished_by_id():
    first, second = (identify({**POD, "JAX_SIF_RUN_ID": uid}).step for uid in "ab")

    assert first != second


@pytest.mark.parametrize(
    ("settings", "variable", "expected"),
    [
        ({"local_device_ids": 3}, "0", [3]),
        ({"local_device_ids": (1, 2)}, "0", [1, 2]),
        ({}, "0, 2", [0, 2]),
        ({}, "", [0, 1, 2, 3]),
    ],
)
def test_chosen_devices_come_before_the_rule(settings, variable, expected):
    environment = {
        **STEP,
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
        "JAX_LOCAL_DEVICE_IDS": variable,
    }

    assert expected == distributed.local_device_ids(
        environment, identify(environment), environment, settings
    )


def test_devices_that_are_no_numbers_are_named():
    environment = {**STEP, "JAX_LOCAL_DEVICE_IDS": "all"}

    with pytest.raises(UsageError, match="JAX_LOCAL_DEVICE_IDS is 'all'"):
        distributed.local_device_ids(environment, identify(environment), {}, {})


def test_a_program_alone_leaves_its_devices_to_jax():
    environment = {"CUDA_VISIBLE_DEVICES": "0,1"}

    assert None is distributed.local_device_ids(
        environment, identify(environment), environment, {}
    )


def test_this_machine_can_be_asked(tmp_path):
    (tmp_path / "hosts").write_text("node2\nnode1\n")
    here = this_machine()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        maker = here.peer_pid(theirs.fileno())

    assert socket.gethostname() == here.host_name
    assert "node2" == here.first_line(str(tmp_path / "hosts"))
    assert None is here.first_line(str(tmp_path / "none"))
    assert maker and None is here.peer_pid(0x7FFF)


def test_the_documented_manifest_is_enough_for_every_pod():
    page = (ROOT / "docs/start.md").read_text()
    (manifest,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    service, job = yaml.safe_load_all(manifest)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {
        item["name"]: item.get("value", "a-unique-id") for item in container["env"]
    }
    name, count = job["metadata"]["name"], job["spec"]["completions"]

    found = []
    for index in range(count):
        # As Kubernetes names pods, and a pod with a Service's subdomain.
        host = f"{name}-{index}"
        where = machine(host, full_name=f"{host}.{pod['subdomain']}.default.svc")
        environment = {**variables, "JOB_COMPLETION_INDEX": str(index)}
        found.append(
            (
                launchers.identify(environment, where).rank,
                coordinator(environment, where),
            )
        )

    assert "Indexed" == job["spec"]["completionMode"]
    assert service["metadata"]["name"] == pod["subdomain"]
    port = found[0][1][1]
    assert [(i, ("train-0.train.default.svc", port)) for i in range(count)] == found
