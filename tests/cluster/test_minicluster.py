"""The mini cluster by itself: start, use, crash, stop, and what Slurm gives a task; runs on the machine that has it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MINICLUSTER = CHECKOUT / "minicluster" / "minicluster"

sys.path.append(str(MINICLUSTER.parent))
import mirror  # noqa: E402  (needs the path above)
import slurm  # noqa: E402  (as above)
from state import start_ticks  # noqa: E402  (as above)

# What a task sees, as one line; its rank comes first, so that sorting orders them.
SHOW = 'echo "$SLURM_PROCID $(hostname) gpus=$CUDA_VISIBLE_DEVICES cpus=$JAX_NUM_CPU_DEVICES"'


@dataclass(frozen=True)
class Lab:
    """A cluster of this module's own, in a folder of its own."""

    state: Path

    def __call__(
        self, verb: str, *words: str, text_in: str = "", cwd: Path = CHECKOUT
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MINICLUSTER, verb, "--state", self.state, *words],
            input=text_in,
            capture_output=True,
            text=True,
            timeout=300,
            cwd=cwd,
        )

    def run(self, *command: str, **keywords: object):
        return self("run", "--", *command, **keywords)

    def tasks(self, *options: str) -> list[str]:
        """What each task of an srun with these options sees, by rank."""
        done = self.run("srun", *options, "sh", "-c", SHOW)
        assert 0 == done.returncode, done.stderr
        return sorted(done.stdout.splitlines())

    def record(self) -> dict:
        return json.loads((self.state / "cluster.json").read_text())


def start(state: Path, *options: str) -> Lab:
    lab = Lab(state)
    done = lab("up", *options)
    if done.returncode and os.environ.get("JAX_SIF_CLUSTER_TESTS") != "required":
        pytest.skip(f"no mini cluster on this machine: {done.stderr}")
    assert 0 == done.returncode, done.stderr
    return lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    started = start(tmp_path_factory.mktemp("lab") / "state")
    yield started
    started("down", "--purge")


@pytest.fixture
def small_lab(tmp_path: Path) -> Iterator[Lab]:
    started = start(tmp_path / "state", "--nodes", "1", "--gpus-per-node", "1")
    yield started
    started("down", "--purge")


def processes_of(lab: Lab) -> set[tuple[int, int]]:
    """(number, start time) of each process in the cluster's user namespace."""
    namespace = os.readlink(f"/proc/{lab.record()['process_id']}/ns/user")
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/user"):
        number = int(path.parts[2])
        try:
            if os.readlink(path) == namespace:
                found.add((number, start_ticks(number)))
        except OSError:
            continue  # it ended while we looked
    return found


def alive(processes: set[tuple[int, int]]) -> set[tuple[int, int]]:
    return {(n, ticks) for n, ticks in processes if start_ticks(n) == ticks}


def test_up_twice_is_harmless(lab: Lab) -> None:
    before = lab.record()

    again = lab("up")

    assert (0, "minicluster: already up, 2 nodes with 4 GPUs each\n") == (
        again.returncode,
        again.stdout,
    )
    assert before == lab.record()


def test_up_with_another_shape_says_what_runs_and_what_to_do(lab: Lab) -> None:
    done = lab("up", "--nodes", "3")

    assert 2 == done.returncode
    assert "2 nodes with 4 GPUs each" in done.stderr
    assert "3 nodes with 4 GPUs each" in done.stderr
    assert "minicluster down" in done.stderr


def test_run_passes_input_output_errors_and_status_through(lab: Lab) -> None:
    text = "two lines\nand no end"

    done = lab.run("sh", "-c", "cat; echo wrong >&2; exit 7", text_in=text)

    assert (7, text, "wrong\n") == (done.returncode, done.stdout, done.stderr)


def test_run_leaves_arguments_alone(lab: Lab) -> None:
    words = ["a b", "", "--", "$HOME", "*", "'\"", "--state"]

    done = lab.run("printf", "<%s>", *words)

    assert "".join(f"<{word}>" for word in words) == done.stdout


def test_run_reports_a_killed_command_as_a_shell_does(lab: Lab) -> None:
    assert 128 + signal.SIGKILL == lab.run("sh", "-c", "kill -9 $$").returncode


def test_run_stops_its_command_when_it_is_stopped(lab: Lab) -> None:
    command = [MINICLUSTER, "run", "--state", lab.state, "--", "sleep", "4711"]
    with subprocess.Popen(command) as process:
        time.sleep(1)
        process.terminate()
        process.wait(timeout=10)

    assert 1 == lab("on", "login", "--", "pgrep", "-f", "^sleep 4711").returncode


def test_run_works_as_the_ordinary_user_in_the_callers_folder(lab: Lab) -> None:
    inside = lab.run("sh", "-c", "id -un; pwd", cwd=CHECKOUT / "minicluster")
    outside = lab.run("pwd", cwd=Path("/"))

    assert f"hpc\n{CHECKOUT}/minicluster\n" == inside.stdout
    assert "/home/hpc\n" == outside.stdout


def test_nothing_of_the_hosts_environment_leaks_in(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")

    names = {line.partition("=")[0] for line in lab.run("env").stdout.splitlines()}

    assert set() == names & {"TMPDIR", "SLURM_JOB_ID"}


@pytest.mark.parametrize("shell", [["bash", "-c"], ["bash", "--login", "-c"]])
def test_modules_work_in_every_bash(lab: Lab, shell: list[str], tmp_path: Path) -> None:
    script = (
        'd=$(mktemp -d); echo \'setenv("PLANET", "Mars")\' > "$d/trial.lua";'
        ' module use "$d"; module load trial; echo "$PLANET"'
    )

    assert "Mars\n" == lab.run(*shell, script).stdout


def test_on_is_root_on_the_named_node(lab: Lab) -> None:
    done = lab("on", "node2", "--", "sh", "-c", "hostname; id -u; exit 3")

    assert (3, "node2\n0\n") == (done.returncode, done.stdout)


def test_on_an_unknown_node_names_those_there_are(lab: Lab) -> None:
    done = lab("on", "node9", "--", "true")

    assert 2 == done.returncode
    assert "'node9'; there are: login, node1, node2" in done.stderr


def test_each_node_has_its_own_tmp_and_all_share_home(lab: Lab) -> None:
    on_node1 = ("srun", "--nodes=1", "--nodelist=node1")
    lab.run(*on_node1, "touch", "/tmp/mine", "/home/hpc/ours")

    here = "ls /tmp/mine /home/hpc/ours 2>&1"
    found = lab("on", "node2", "--", "sh", "-c", here)

    assert "cannot access '/tmp/mine'" in found.stdout
    assert "/home/hpc/ours\n" in found.stdout


def test_a_job_writes_into_the_checkout_as_the_caller(lab: Lab) -> None:
    path = CHECKOUT / f".written-by-a-job-{os.getpid()}"

    done = lab.run("srun", "--nodes=1", "touch", path.name)

    assert 0 == done.returncode, done.stderr
    assert CHECKOUT.stat().st_uid == path.stat().st_uid
    path.unlink()


def test_status_is_0_when_idle_and_when_at_work_and_1_when_a_node_is_out(
    lab: Lab,
) -> None:
    idle = lab("status")
    lab.run("sbatch", "--nodes=1", "--output=/dev/null", "--wrap=sleep 60")
    busy = lab("status")
    lab.run("scancel", "--user=hpc")
    # Not down: a node that registers leaves that by itself (ReturnToService=2).
    drain = ["scontrol", "update", "node=node1", "state=drain", "reason=trial"]
    lab("on", "login", "--", *drain)
    out = lab("status")
    lab("on", "login", "--", "scontrol", "update", "node=node1", "state=resume")

    assert [0, 0, 1] == [idle.returncode, busy.returncode, out.returncode]
    assert 2 == idle.stdout.count("idle")
    assert "trial" in out.stdout


def test_logs_show_the_daemons_of_the_node(lab: Lab) -> None:
    done = lab("logs", "node1")

    assert "slurmd version" in done.stdout
    assert "slurmd-node2" not in done.stdout


def test_every_task_of_a_node_sees_the_nodes_gpus_and_gets_its_share(lab: Lab) -> None:
    options = ("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4")

    assert [
        f"{rank} node{1 + rank // 4} gpus=0,1,2,3 cpus=1" for rank in range(8)
    ] == lab.tasks(*options)


@pytest.mark.parametrize(
    "ask", ["--gpus-per-node=4", "--gres=gpu:4", "--gres=gpu:a100:4", "--gpus=a100:4"]
)
def test_one_task_gets_all_gpus_of_its_node(lab: Lab, ask: str) -> None:
    assert ["0 node1 gpus=0,1,2,3 cpus=4"] == lab.tasks(
        "--nodes=1", "--ntasks=1", "--nodelist=node1", ask
    )


@pytest.mark.parametrize(
    "ask", [["--gpus-per-task=1"], ["--gpus-per-node=4", "--gpu-bind=single:1"]]
)
def test_a_bound_task_sees_its_own_gpu(lab: Lab, ask: list[str]) -> None:
    assert [f"{rank} node1 gpus={rank} cpus=1" for rank in range(4)] == lab.tasks(
        "--nodes=1", "--ntasks=4", "--nodelist=node1", *ask
    )


def test_a_task_without_gpus_gets_no_number_of_devices(lab: Lab) -> None:
    assert ["0 node1 gpus= cpus="] == lab.tasks("--nodes=1", "--nodelist=node1")


def test_the_task_prolog_keeps_what_the_user_set(lab: Lab) -> None:
    kept = "--export=ALL,JAX_NUM_CPU_DEVICES=3,JAX_PLATFORMS=cuda"
    ask = ("--nodes=1", "--gpus-per-node=4", kept)
    show = 'echo "$JAX_NUM_CPU_DEVICES $JAX_PLATFORMS $JAX_SIF_PLATFORM"'

    assert "3 cuda cpu\n" == lab.run("srun", *ask, "sh", "-c", show).stdout


def test_a_batch_script_has_devices_and_hands_none_of_them_to_its_tasks(
    lab: Lab,
) -> None:
    script = f"""#!/bin/bash
        echo "batch cpus=$JAX_NUM_CPU_DEVICES $JAX_PLATFORMS"
        srun sh -c '{SHOW}' | sort
        exit 9
        """.replace("\n        ", "\n")
    ask = ["--nodes=1", "--nodelist=node1", "--ntasks-per-node=2", "--gpus-per-node=4"]

    done = lab.run(
        "sbatch", "--wait", *ask, "--output=/home/hpc/batch.out", text_in=script
    )

    assert 9 == done.returncode, done.stderr
    assert [
        "batch cpus=4 cpu",
        "0 node1 gpus=0,1,2,3 cpus=2",
        "1 node1 gpus=0,1,2,3 cpus=2",
    ] == lab.run("cat", "/home/hpc/batch.out").stdout.splitlines()


def test_two_steps_of_one_job_run_at_the_same_time(lab: Lab) -> None:
    meet = "touch $1; for i in $(seq 100); do [ -e $2 ] && exit; sleep .1; done; exit 1"
    script = f"""
        cd; one() {{ srun --exact --ntasks=1 --gpus=2 sh -c '{meet}' sh "$@"; }}
        one here there & one there here & wait -n && wait -n"""
    ask = ["--nodes=1", "--ntasks=2", "--gpus-per-node=4"]

    done = lab.run("salloc", *ask, "bash", "-c", script)

    assert 0 == done.returncode, done.stderr


def test_a_cancelled_job_leaves_no_process(lab: Lab) -> None:
    lab.run("sbatch", "--nodes=2", "--output=/dev/null", "--wrap=srun sleep 4712")
    time.sleep(2)
    lab.run("scancel", "--user=hpc")
    look = "for i in $(seq 50); do pgrep -f '^sleep 4712' || exit 0; sleep .2; done"

    done = lab("on", "node2", "--", "sh", "-c", f"{look}; exit 1")

    assert 0 == done.returncode


def test_several_clusters_run_beside_each_other(lab: Lab, small_lab: Lab) -> None:
    assert "node1\n" == small_lab.run("srun", "hostname").stdout
    assert 0 == lab("status").returncode


def test_down_leaves_no_process_no_mount_and_no_node(small_lab: Lab) -> None:
    small_lab.run("sbatch", "--output=/dev/null", "--wrap=sleep 60")
    processes = processes_of(small_lab)
    assert len(processes) > 5

    done = small_lab("down", "--purge")

    assert (0, "minicluster: down\n") == (done.returncode, done.stdout)
    assert set() == alive(processes)
    assert str(small_lab.state) not in Path("/proc/self/mountinfo").read_text()
    assert ["lock"] == [path.name for path in small_lab.state.iterdir()]
    assert 1 == small_lab("status").returncode


def test_down_cleans_up_after_a_crash_of_the_first_process(small_lab: Lab) -> None:
    processes = processes_of(small_lab)
    os.kill(small_lab.record()["process_id"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(processes) and time.monotonic() < deadline:
        time.sleep(0.1)

    crashed = small_lab("run", "--", "true")
    done = small_lab("down", "--purge")

    assert 1 == crashed.returncode
    assert "no cluster is up" in crashed.stderr
    assert 0 == done.returncode
    assert set() == alive(processes)
    assert ["lock"] == [path.name for path in small_lab.state.iterdir()]


def test_up_starts_anew_after_a_crash_and_keeps_home(small_lab: Lab) -> None:
    small_lab.run("touch", "/home/hpc/kept")
    os.kill(small_lab.record()["process_id"], signal.SIGKILL)

    again = small_lab("up", "--nodes", "1", "--gpus-per-node", "1")

    assert (0, "minicluster: up, 1 node with 1 GPUs each\n") == (
        again.returncode,
        again.stdout,
    )
    assert "kept\n" == small_lab.run("ls", "/home/hpc").stdout


def test_down_without_a_cluster_is_harmless(tmp_path: Path) -> None:
    assert 0 == Lab(tmp_path / "never")("down").returncode


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["up", "--nodes", "0"], "--nodes must be 1 to 99, got 0"),
        (["up", "--gpus-per-node", "99"], "--gpus-per-node must be 1 to 16, got 99"),
        (["run", "hostname"], "hostname"),
        (["run"], "minicluster run -- hostname"),
        (["status", "--", "ls"], "'status' takes no command, got ['ls']"),
        (["toolbox", "--bind", "/no/such", "--", "true"], "there is no '/no/such'"),
    ],
)
def test_wrong_usage_says_what_to_do(words: list[str], hint: str) -> None:
    done = subprocess.run([MINICLUSTER, *words], capture_output=True, text=True)

    assert 2 == done.returncode
    assert hint in done.stderr


def test_the_toolbox_is_root_with_the_checkout_and_gives_back_the_status() -> None:
    path = CHECKOUT / f".written-by-the-toolbox-{os.getpid()}"
    script = f"cat; id -u; pwd; touch {path.name}; exit 5"
    command = [MINICLUSTER, "toolbox", "--", "sh", "-c", script]

    done = subprocess.run(
        command, input="in\n", capture_output=True, text=True, cwd=CHECKOUT
    )

    assert (5, f"in\n0\n{CHECKOUT}\n") == (done.returncode, done.stdout)
    assert CHECKOUT.stat().st_uid == path.stat().st_uid
    path.unlink()


def test_the_toolbox_removes_what_was_written_beside_the_binds() -> None:
    write = [MINICLUSTER, "toolbox", "--", "touch", "/etc/left", "/tmp/left"]
    look = [MINICLUSTER, "toolbox", "--", "ls", "/etc/left", "/tmp/left"]

    assert 0 == subprocess.run(write).returncode
    assert 2 == subprocess.run(look, capture_output=True).returncode


def test_a_mirror_is_found_in_one_line_sources() -> None:
    text = (
        "# deb http://commented.example/debian trixie main\n"
        "deb-src http://source.example/debian trixie main\n"
        "deb [arch=amd64 signed-by=/a b] http://one.example/debian trixie main contrib\n"
    )

    assert [
        ("http://one.example/debian", ["trixie"], ["main", "contrib"])
    ] == mirror.one_line_sources(text)


def test_a_mirror_is_found_in_deb822_sources() -> None:
    text = (
        "Types: deb deb-src\n# a remark\nURIs: http://one.example/debian\n"
        "Suites: trixie\n trixie-updates\nComponents: main\n"
        "\nEnabled: no\nTypes: deb\nURIs: http://off.example\nSuites: sid\n"
    )

    assert [
        ("http://one.example/debian", ["trixie", "trixie-updates"], ["main"])
    ] == mirror.deb822_sources(text)


def test_a_single_node_and_a_single_gpu_are_written_without_brackets() -> None:
    shape = slurm.ClusterShape(nodes=1, gpus_per_node=1)

    assert "NodeName=node1 CPUs=16" in slurm.slurm_conf(shape)
    assert "File=/dev/gpu0\n" in slurm.gres_conf(shape)
