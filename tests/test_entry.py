"""The image's entry: what it sets in a task, for what reason, and what it refuses."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

ENTRY = Path(__file__).parent.parent / "src/jaxsif/entry"

STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURMD_NODENAME": "node1",
    "SLURM_STEP_GPUS": "0,1,2,3",
    "CUDA_VISIBLE_DEVICES": "0,1,2,3",
}


def enter(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(ENTRY), *(command or ("env", "-0"))],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def set_by_entry(environment: dict[str, str]) -> dict[str, str]:
    """The variables that the program finds and that were not there before."""
    done = enter(environment)
    assert done.returncode == 0, done.stderr
    pairs = (item.partition("=") for item in done.stdout.split("\0") if item)
    return {
        name: value
        for name, _, value in pairs
        if environment.get(name) != value and name not in ("PATH", "PWD", "_", "SHLVL")
    }


def port(**changes: str) -> int:
    return int(set_by_entry({**STEP, **changes})["JAX_COORDINATOR_PORT"])


def test_a_task_of_a_step_gets_a_port_and_its_devices():
    assert {
        "JAX_COORDINATOR_PORT": str(port()),
        "JAX_LOCAL_DEVICE_IDS": "1",
    } == set_by_entry(STEP)


def test_steps_restarts_and_jobs_have_ports_of_their_own():
    ports = [
        port(SLURM_JOB_ID=job, SLURM_STEP_ID=step, SLURM_RESTART_COUNT=restart)
        for job in ("7", "8", "4103")
        for step in ("0", "1", "2")
        for restart in ("0", "1")
    ]

    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("job", ["1", "123456", "4294967293"])
def test_ports_lie_below_those_that_linux_hands_out(job):
    assert 12288 <= port(SLURM_JOB_ID=job) < 32768


def test_all_ranks_of_a_step_agree_on_the_port():
    ports = {port(SLURM_PROCID=str(rank), SLURM_LOCALID="0") for rank in range(1, 8)}

    assert len(ports) == 1


def test_ports_that_slurm_reserved_are_used():
    assert port(SLURM_STEP_RESV_PORTS="61001-61003") == 61001


@pytest.mark.parametrize(
    ("node_list", "host"),
    [
        ("gpu[01-02]-ib", "gpu01-ib"),
        ("n[1-2]r[03-04]", "n1r03"),
        ("gpu107-[08-09]-r", "gpu107-08-r"),
        ("node[01]", "node01"),
    ],
)
def test_a_node_list_that_jax_cuts_wrong_gets_an_address(node_list, host):
    variables = set_by_entry({**STEP, "SLURM_STEP_NODELIST": node_list})

    assert f"{host}:{port()}" == variables["JAX_COORDINATOR_ADDRESS"]


@pytest.mark.parametrize(
    "node_list", ["node1", "node[1-2]", "node[001-004],x", "a-1,b-2", "n[3,5-7]"]
)
def test_a_node_list_that_jax_reads_right_is_left_to_jax(node_list):
    assert "JAX_COORDINATOR_ADDRESS" not in set_by_entry(
        {**STEP, "SLURM_STEP_NODELIST": node_list}
    )


def test_what_the_user_set_stays():
    user = {
        "JAX_COORDINATOR_PORT": "5555",
        "JAX_LOCAL_DEVICE_IDS": "3",
    }

    assert set_by_entry({**STEP, **user}) == {}


def test_an_address_of_the_user_stays_alone():
    user = {"JAX_COORDINATOR_ADDRESS": "head:5555", "JAX_LOCAL_DEVICE_IDS": "3"}

    assert set_by_entry({**STEP, **user}) == {}


def test_switched_off_it_sets_nothing():
    assert set_by_entry({**STEP, "JAX_SIF_ENTRY": "off"}) == {}


def test_outside_a_step_it_sets_nothing():
    batch = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]"}

    assert set_by_entry(batch) == {}


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_the_coordinator_is_not_reached_through_a_proxy(name):
    variables = set_by_entry({**STEP, name: "http://proxy:3128", "no_proxy": "*"})

    assert variables["no_grpc_proxy"] == "node1"


def test_exceptions_of_the_user_to_a_proxy_stay():
    proxies = {"https_proxy": "http://proxy:3128", "no_grpc_proxy": "db"}

    assert set_by_entry({**STEP, **proxies})["no_grpc_proxy"] == "db,node1"


def test_each_choice_is_one_line_with_its_reason():
    done = enter({**STEP, "JAX_SIF_VERBOSE": "1"}, "true")

    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "(job 7, step 0, restart 0)" in lines[0]
    assert "sees 4 GPU(s), shared by 4 of 4 task(s)" in lines[1]


def test_without_verbose_it_is_silent():
    assert (
        enter(STEP, "true").stdout,
        enter(STEP, "true").stderr,
    ) == ("", "")


def test_rank_0_refuses_a_port_that_somebody_listens_on():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = str(server.getsockname()[1])

        done = enter({**STEP, "SLURM_PROCID": "0", "JAX_COORDINATOR_PORT": taken})
        other = enter({**STEP, "JAX_COORDINATOR_PORT": taken})

    assert done.returncode == 1
    assert f"port {taken}" in done.stderr
    assert "rank 0 on node1" in done.stderr
    assert other.returncode == 0


GROUP = {**STEP, "SLURM_STEP_NUM_TASKS": "8"}


def test_a_group_without_certificates_is_told_in_one_line_of_rank_0():
    first = enter({**GROUP, "SLURM_PROCID": "0"}, "true")
    other = enter(GROUP, "true")

    assert (0, 0) == (first.returncode, other.returncode)
    assert "" == other.stderr
    assert (
        "jax-sif entry: the group is not authenticated: the image has no JAX\n"
        == first.stderr
    )


def test_without_certificates_a_group_that_requires_them_does_not_start():
    done = enter({**GROUP, "JAX_SIF_TLS": "required"}, "true")

    assert 1 == done.returncode
    assert "rank 1 on node1: the group cannot be authenticated" in done.stderr


@pytest.mark.parametrize(
    "choice", [{"JAX_SIF_TLS": "off"}, {"JAX_MTLS_CERT_FILE": "x"}]
)
def test_who_chose_otherwise_hears_nothing_of_certificates(choice):
    done = enter({**GROUP, "SLURM_PROCID": "0", **choice}, "true")

    assert (0, "") == (done.returncode, done.stderr)


def test_rank_0_listens_at_the_one_address_of_its_name_alone():
    # A name in this machine's own table; loopback is no cluster's network.
    loopback, unknown = (
        {
            **GROUP,
            "SLURM_STEP_NODELIST": name,
            "SLURMD_NODENAME": name,
            "SLURM_PROCID": "0",
        }
        for name in ("localhost", "no-such.invalid")
    )
    address = {**unknown, "JAX_COORDINATOR_ADDRESS": "192.0.2.7:5555"}

    assert "JAX_COORDINATOR_BIND_ADDRESS" not in set_by_entry(loopback)
    assert "JAX_COORDINATOR_BIND_ADDRESS" not in set_by_entry(unknown)
    assert "192.0.2.7:5555" == set_by_entry(address)["JAX_COORDINATOR_BIND_ADDRESS"]
    assert "JAX_COORDINATOR_BIND_ADDRESS" not in set_by_entry(
        {**address, "SLURM_PROCID": "1"}
    )


# Rank 3 of mpirun's, whose daemon on this node is task 1 of a step of its own.
BELOW_A_DAEMON = {
    **STEP,
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}


@pytest.mark.parametrize(
    "launcher",
    [
        {"OMPI_COMM_WORLD_RANK": "3", "PMIX_NAMESPACE": "prterun-node1-801@1"},
        {"OMPI_COMM_WORLD_RANK": "3", "PMIX_NAMESPACE": "236060673"},
        {"PMIX_RANK": "3", "PMIX_NAMESPACE": "prterun-node1-801@1"},
        {"PMI_RANK": "3", "PMI_SIZE": "4"},
        # The same rank as the daemon's is chance.
        {"PMI_RANK": "1", "PMI_SIZE": "2"},
        # mpiexec in a step of srun's, which speaks PMI itself.
        {"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_JOBID": "7.0"},
    ],
)
def test_it_steps_aside_for_the_ranks_of_another_launcher(launcher):
    assert {} == set_by_entry({**BELOW_A_DAEMON, **launcher})


@pytest.mark.parametrize(
    "pmi",
    [
        {"PMIX_RANK": "1", "PMIX_NAMESPACE": "slurm.pmix.7.0"},
        {"PMI_RANK": "1", "PMI_SIZE": "2", "PMI_JOBID": "7.0"},
        {"PMI_RANK": "1", "PMI_JOBID": "7", "PALS_APID": "7.0"},
    ],
)
def test_srun_that_speaks_pmi_is_srun(pmi):
    assert "JAX_COORDINATOR_PORT" in set_by_entry({**BELOW_A_DAEMON, **pmi})


def test_srun_within_a_rank_of_mpirun_is_srun():
    # No step of daemons has two tasks on a node.
    step = {**STEP, "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}

    variables = set_by_entry(
        {**step, "OMPI_COMM_WORLD_RANK": "0", "JAX_SIF_TLS": "off"}
    )

    assert "1" == variables["JAX_LOCAL_DEVICE_IDS"]


@pytest.mark.parametrize("step", ["-6", "4294967290"])
def test_the_shell_of_an_allocation_is_no_rank(step):
    assert {} == set_by_entry({**STEP, "SLURM_STEP_ID": step})


OTHERS = [
    {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"},
    {"PMI_RANK": "0", "PMI_SIZE": "2"},
    {"JOB_COMPLETION_INDEX": "0"},
]


@pytest.mark.parametrize("launcher", OTHERS)
def test_another_launchers_group_is_told_that_it_has_no_certificates(launcher):
    done = enter(launcher, "true")

    assert 0 == done.returncode
    assert "the group is not authenticated: only srun and jax-sif launch" in done.stderr
    assert "" == enter({**launcher, "JAX_SIF_TLS": "off"}, "true").stderr


@pytest.mark.parametrize("launcher", OTHERS)
def test_another_launchers_group_that_requires_certificates_does_not_start(launcher):
    done = enter({**launcher, "JAX_SIF_TLS": "required"}, "true")

    assert 1 == done.returncode
    assert "rank 0 on this machine: the group cannot be authenticated" in done.stderr


@pytest.mark.parametrize("launcher", OTHERS[:2])
def test_a_single_rank_of_mpi_has_no_group_to_guard(launcher):
    alone = {name: value.replace("2", "1") for name, value in launcher.items()}

    assert "" == enter({**alone, "JAX_SIF_TLS": "required"}, "true").stderr


@pytest.mark.parametrize("line", ["node2", "node2*4", "node2,node1"])
def test_an_arbitrary_distribution_puts_rank_0_first_in_the_host_file(tmp_path, line):
    (tmp_path / "hosts").write_text(f"{line}\nnode1\n")
    arbitrary = {
        **STEP,
        "SLURM_DISTRIBUTION": "arbitrary",
        "SLURM_HOSTFILE": str(tmp_path / "hosts"),
    }

    address = set_by_entry(arbitrary)["JAX_COORDINATOR_ADDRESS"]

    assert f"node2:{port()}" == address


@pytest.mark.parametrize(
    "distribution", [{}, {"SLURM_DISTRIBUTION": "arbitrary", "SLURM_HOSTFILE": "/none"}]
)
def test_rank_0_refuses_to_start_where_nobody_looks_for_it(distribution):
    done = enter(
        {**STEP, "SLURM_PROCID": "0", "SLURMD_NODENAME": "node2", **distribution}
    )

    assert 1 == done.returncode
    assert "rank 0 on node2: rank 0 runs here, but by the node list" in done.stderr
    assert f"JAX_COORDINATOR_ADDRESS=node2:{port()}" in done.stderr


def test_arguments_and_exit_status_pass_unchanged():
    awkward = ["a b", "", "*", "$HOME", "'\"", "line\nbreak", "ü"]

    done = enter({}, "sh", "-c", 'printf "%s\\0" "$@"; exit 7', "sh", *awkward)

    assert awkward == done.stdout.split("\0")[:-1]
    assert done.returncode == 7


LINE = "# 0123456789abcdef jax-sif-1.0-cpu (Python 3.13, x86_64)"
OTHER = "# fedcba9876543210 jax-sif-2.0-cpu (Python 3.13, x86_64)"


@pytest.fixture
def kit(tmp_path):
    """The kit as it lies in an image, with packages mounted."""
    folder = tmp_path / "lib/jaxsif"
    folder.mkdir(parents=True)
    for name in ("entry", "local_devices.sh", "group.sh"):
        shutil.copy(ENTRY.parent / name, folder)
    (tmp_path / "packages.txt").write_text(f"{LINE}\njax==1.0\n")
    (tmp_path / "env").mkdir()
    (tmp_path / "env/image.txt").write_text(f"{LINE}\njax==1.0\n")
    return tmp_path


def enter_kit(kit: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [f"{kit}/lib/jaxsif/entry", "echo", "text"],
        env={"PATH": "/usr/bin:/bin", "JAX_SIF_ENV": "my.sqsh", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_packages_that_were_made_for_the_image_are_told_in_a_line(kit):
    assert "" == enter_kit(kit, {}).stderr
    assert (
        "jax-sif entry: packages of my.sqsh (made for this image; behind its own)\n"
        == enter_kit(kit, {"JAX_SIF_VERBOSE": "1"}).stderr
    )


@pytest.mark.parametrize("theirs", [OTHER, ""])
def test_packages_of_another_image_are_refused_with_both_names(kit, theirs):
    (kit / "env/image.txt").write_text(theirs)

    done = enter_kit(kit, STEP)

    assert (1, "") == (done.returncode, done.stdout)
    assert f"rank 1 on node1: the packages in my.sqsh were made for {theirs[19:]}" in (
        done.stderr
    )
    assert f"this image is {LINE[19:]}" in done.stderr


@pytest.mark.parametrize(
    "choice", [{"JAX_SIF_ENV_ANY_IMAGE": "1"}, {"JAX_SIF_ENTRY": "off"}]
)
def test_packages_of_another_image_run_where_one_says_so(kit, choice):
    (kit / "env/image.txt").write_text(OTHER)

    assert (0, "text\n") == (
        enter_kit(kit, choice).returncode,
        enter_kit(kit, choice).stdout,
    )


def test_packages_that_are_named_and_not_mounted_are_told_by_rank_0(kit):
    (kit / "env/image.txt").unlink()

    first = enter_kit(kit, {})

    assert (0, "text\n") == (first.returncode, first.stdout)
    assert (
        "JAX_SIF_ENV=my.sqsh is set, and its packages are not mounted" in first.stderr
    )
    assert "" == enter_kit(kit, STEP).stderr
    assert "" == enter_kit(kit, {"JAX_SIF_ENV": ""}).stderr
