"""The image's entry: what it sets in a task, for what reason, and what it refuses."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from checkout import ROOT

ENTRY = ROOT / "src/jaxsif/start/entry"

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


# The shell's own, and the time, which is no setting.
NO_SETTINGS = ("PATH", "PWD", "_", "SHLVL", "JAX_SIF_ENTRY_START")


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
        if environment.get(name) != value and name not in NO_SETTINGS
    }


def port(**changes: str) -> int:
    return int(set_by_entry({**STEP, **changes})["JAX_COORDINATOR_PORT"])


def test_a_task_of_a_step_gets_a_port_and_its_devices():
    assert {
        "JAX_COORDINATOR_PORT": str(port()),
        "JAX_LOCAL_DEVICE_IDS": "1",
    } == set_by_entry(STEP)


def test_a_task_of_a_step_learns_when_the_entry_began():
    before_s = float(Path("/proc/uptime").read_text().split()[0])

    variables = enter({**STEP, "JAX_SIF_ENTRY_START": "1.00"}).stdout.split("\0")

    entered = [item for item in variables if item.startswith("JAX_SIF_ENTRY_START=")]
    assert before_s <= float(entered[0].partition("=")[2]) < before_s + 30


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


def test_rank_0_rejects_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = str(server.getsockname()[1])

        done = enter({**STEP, "SLURM_PROCID": "0", "JAX_COORDINATOR_PORT": taken})
        other = enter({**STEP, "JAX_COORDINATOR_PORT": taken})

    assert done.returncode == 1
    assert f"port {taken}" in done.stderr
    assert "rank 0 on node1" in done.stderr
    assert other.returncode == 0


GROUP = {**STEP, "SLURM_STEP_NUM_TASKS": "8"}


def test_a_group_without_certificates_is_reported_in_one_line_of_rank_0():
    first = enter({**GROUP, "SLURM_PROCID": "0"}, "true")
    other = enter(GROUP, "true")

    assert (0, 0) == (first.returncode, other.returncode)
    assert "" == other.stderr
    assert (
        "jax-sif entry: the group is not authenticated: the image has no JAX\n"
        == first.stderr
    )


def test_without_certificates_a_group_that_requires_them_does_not_start():
    done = enter({**GROUP, "JAX_SIF_MTLS": "required"}, "true")

    assert 1 == done.returncode
    assert "rank 1 on node1: the group cannot be authenticated" in done.stderr


@pytest.mark.parametrize(
    "choice", [{"JAX_SIF_MTLS": "off"}, {"JAX_MTLS_CERT_FILE": "x"}]
)
def test_a_users_choice_suppresses_the_line_on_certificates(choice):
    done = enter({**GROUP, "SLURM_PROCID": "0", **choice}, "true")

    assert (0, "") == (done.returncode, done.stderr)


def test_nothing_is_set_that_comes_before_an_argument_of_the_programs():
    # JAX binds this address also where the program names another coordinator.
    first = {**GROUP, "SLURM_PROCID": "0", "JAX_COORDINATOR_ADDRESS": "192.0.2.7:5555"}

    assert "JAX_COORDINATOR_BIND_ADDRESS" not in set_by_entry(first)


@pytest.mark.parametrize("word", ["requird", "1", "Off"])
def test_a_mistyped_word_does_not_open_a_group(word):
    done = enter({**GROUP, "JAX_SIF_MTLS": word}, "true")

    assert 1 == done.returncode
    assert f"JAX_SIF_MTLS is '{word}', expected on, off or required" in done.stderr


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
        {**step, "OMPI_COMM_WORLD_RANK": "0", "JAX_SIF_MTLS": "off"}
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
def test_another_launchers_group_gets_a_line_that_it_has_no_certificates(launcher):
    done = enter(launcher, "true")

    assert 0 == done.returncode
    assert "the group is not authenticated: only srun and jax-sif launch" in done.stderr
    assert "" == enter({**launcher, "JAX_SIF_MTLS": "off"}, "true").stderr


@pytest.mark.parametrize("launcher", OTHERS)
def test_another_launchers_group_that_requires_certificates_does_not_start(launcher):
    done = enter({**launcher, "JAX_SIF_MTLS": "required"}, "true")

    assert 1 == done.returncode
    assert "rank 0 on this machine: the group cannot be authenticated" in done.stderr


@pytest.mark.parametrize("launcher", OTHERS[:2])
def test_a_single_rank_of_mpi_has_no_group_to_guard(launcher):
    alone = {name: value.replace("2", "1") for name, value in launcher.items()}

    assert "" == enter({**alone, "JAX_SIF_MTLS": "required"}, "true").stderr


TWO_NODES = {**STEP, "SLURM_STEP_NUM_NODES": "2"}


@pytest.mark.parametrize("line", ["node2", "node2*4", "node2,node1"])
def test_an_arbitrary_distribution_puts_rank_0_first_in_the_host_file(tmp_path, line):
    (tmp_path / "hosts").write_text(f"{line}\nnode1\n")
    arbitrary = {
        **TWO_NODES,
        "SLURM_DISTRIBUTION": "arbitrary",
        "SLURM_HOSTFILE": str(tmp_path / "hosts"),
    }

    address = set_by_entry(arbitrary)["JAX_COORDINATOR_ADDRESS"]

    assert f"node2:{port()}" == address


def test_rank_0_rejects_a_start_on_the_wrong_node():
    done = enter({**STEP, "SLURM_PROCID": "0", "SLURMD_NODENAME": "node2"})

    assert 1 == done.returncode
    assert "rank 0 on node2: rank 0 runs here, but by the node list" in done.stderr
    assert f"JAX_COORDINATOR_ADDRESS=node2:{port()}" in done.stderr


SWITCHES = {"SLURM_TOPOLOGY_ADDR_PATTERN": "switch.switch.node"}
ARBITRARY = {"SLURM_DISTRIBUTION": "arbitrary", "SLURM_HOSTFILE": "/none"}


def rank_on(node: str, ranks: str, **changes: str) -> dict[str, str]:
    """The first of the ranks of a node; `ranks` as Slurm writes them."""
    place = {"SLURM_PROCID": ranks.partition(",")[0], "SLURM_GTIDS": ranks}
    return {**TWO_NODES, **place, "SLURMD_NODENAME": node, **changes}


@pytest.mark.parametrize("order", [SWITCHES, ARBITRARY])
@pytest.mark.parametrize(
    ("node_list", "first", "second"),
    [
        ("node[1-2]", "node1", "node2"),
        ("gpu[01,07]-ib", "gpu01-ib", "gpu07-ib"),
        ("a,b", "a", "b"),
    ],
)
def test_of_two_nodes_each_knows_where_rank_0_is(order, node_list, first, second):
    step = {**order, "SLURM_STEP_NODELIST": node_list}

    reversed_ = [
        set_by_entry(rank_on(node, ranks, **step)).get("JAX_COORDINATOR_ADDRESS")
        for node, ranks in ((second, "0,1"), (first, "2,3"))
    ]
    sorted_ = [
        set_by_entry(rank_on(node, ranks, **step)).get(
            "JAX_COORDINATOR_ADDRESS", f"{first}:{port()}"
        )
        for node, ranks in ((first, "0,1"), (second, "2,3"))
    ]

    assert [f"{second}:{port()}"] * 2 == reversed_
    assert [f"{first}:{port()}"] * 2 == sorted_


FOUR_NODES = {
    "SLURM_STEP_NUM_NODES": "4",
    "SLURM_STEP_NODELIST": "node[1-4]",
    "SLURM_JOB_START_TIME": "1795985679",
}


def test_without_the_numbers_of_a_nodes_ranks_two_nodes_read_what_rank_0_wrote(
    tmp_path,
):
    # Slurm's manual advises to unset them for some programs.
    step = {**SWITCHES, "HOME": str(tmp_path)}
    ranks = [
        {**rank_on(node, rank, **step), "SLURM_GTIDS": ""}
        for node, rank in (("node2", "0"), ("node2", "1"), ("node1", "2"))
    ]

    addresses = {set_by_entry(rank)["JAX_COORDINATOR_ADDRESS"] for rank in ranks}

    assert {f"node2:{port()}"} == addresses


@pytest.mark.parametrize("order", [SWITCHES, ARBITRARY])
def test_of_more_nodes_all_read_what_rank_0_wrote(tmp_path, order):
    # node4 is where the sorted list has it, and could not know by itself.
    places = {"node3": "0,1", "node1": "2,3", "node2": "4,5", "node4": "6,7"}
    step = {**FOUR_NODES, **order, "HOME": str(tmp_path)}
    earlier = rank_on("node2", "0,1", **step, SLURM_STEP_LAUNCHER_PORT="40001")
    set_by_entry(earlier)

    with ThreadPoolExecutor() as pool:
        # Rank 0 comes last, and finds the others waiting.
        found = [
            pool.submit(
                set_by_entry,
                rank_on(node, ranks, **step, SLURM_STEP_LAUNCHER_PORT="40002"),
            )
            for node, ranks in reversed(places.items())
        ]
        addresses = {f.result().get("JAX_COORDINATOR_ADDRESS") for f in found}

    assert {f"node3:{port()}"} == addresses
    folder = tmp_path / ".config/jax-sif/rank-0-hosts"
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)


def test_of_what_lies_beside_only_files_of_its_own_that_are_old_are_removed(tmp_path):
    folder = tmp_path / ".config/jax-sif/rank-0-hosts"
    folder.mkdir(parents=True)
    old, fresh = folder / "box.6.0.0.1.2", folder / "box.6.1.0.1.2"
    for path in (old, fresh, folder / "notes.txt", folder.parent / "a.b.c.d.e.f"):
        path.write_text("node9\n")
        if path != fresh:
            os.utime(path, (0, 0))

    step = {**FOUR_NODES, **SWITCHES, "HOME": str(tmp_path)}
    set_by_entry(rank_on("node3", "0,1", **step))

    assert (folder.parent / "a.b.c.d.e.f").exists()
    left = {path.name for path in folder.iterdir() if "7.0.0" not in path.name}
    assert {fresh.name, "notes.txt"} == left


def test_without_a_home_the_list_is_believed_and_rank_0_refuses_another_node():
    step = {**FOUR_NODES, **SWITCHES}

    other = enter(rank_on("node1", "2,3", **step), "true")
    first = enter(rank_on("node3", "0,1", **step), "true")

    assert (0, 1) == (other.returncode, first.returncode)
    assert f"JAX_COORDINATOR_ADDRESS=node3:{port()}" in first.stderr


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize(
    "lists",
    [
        {"SLURM_STEP_NODELIST": "n[1-2"},
        {"SLURM_STEP_NODELIST": "["},
        {"SLURM_STEP_NODELIST": "a]b["},
        {"SLURM_STEP_NODELIST": "n[1]m[2-"},
        {"line": "n[1-2"},
        {"line": "["},
    ],
)
def test_an_open_bracket_does_not_keep_it_for_ever(tmp_path, shell, lists):
    (tmp_path / "hosts").write_text(lists.get("line", "node1"))
    step = {
        **TWO_NODES,
        "SLURM_DISTRIBUTION": "arbitrary",
        "SLURM_HOSTFILE": str(tmp_path / "hosts"),
        **{name: text for name, text in lists.items() if name != "line"},
    }

    done = subprocess.run(
        [shell, str(ENTRY), "echo", "text"],
        env={"PATH": "/usr/bin:/bin", **step},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (0, "text\n", "") == (done.returncode, done.stdout, done.stderr)


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
    (folder / "start").mkdir(parents=True)
    for name in ("entry", "local_devices.sh", "rank_0_host.sh", "certificates.py"):
        shutil.copy(ENTRY.parent / name, folder / "start")
    (folder / "entry").symlink_to("start/entry")
    (tmp_path / "packages.txt").write_text(f"{LINE}\njax==1.0\n")
    (tmp_path / "env").mkdir()
    (tmp_path / "env/image.txt").write_text(f"{LINE}\njax==1.0\n")
    return tmp_path


def enter_kit(kit: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [f"{kit}/lib/jaxsif/entry", "echo", "text"],
        env={"PATH": "/usr/bin:/bin", "JAX_SIF_PACKAGES": "my.sqsh", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_packages_made_for_the_image_are_reported_in_a_line(kit):
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
    "choice", [{"JAX_SIF_PACKAGES_ANY_IMAGE": "1"}, {"JAX_SIF_ENTRY": "off"}]
)
def test_packages_of_another_image_run_where_one_says_so(kit, choice):
    (kit / "env/image.txt").write_text(OTHER)

    assert (0, "text\n") == (
        enter_kit(kit, choice).returncode,
        enter_kit(kit, choice).stdout,
    )


def test_packages_that_are_named_and_not_mounted_are_reported_by_rank_0(kit):
    (kit / "env/image.txt").unlink()

    first = enter_kit(kit, {})

    assert (0, "text\n") == (first.returncode, first.stdout)
    assert (
        "JAX_SIF_PACKAGES=my.sqsh is set, and its packages are not mounted"
        in first.stderr
    )
    assert "" == enter_kit(kit, STEP).stderr
    assert "" == enter_kit(kit, {"JAX_SIF_PACKAGES": ""}).stderr
