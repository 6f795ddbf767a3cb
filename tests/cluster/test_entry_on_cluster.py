"""The image's entry under a real srun: devices for every way to ask for GPUs, ports, and the guard against a silent CPU."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shlex
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import versions
from cluster import CHECKOUT, IMAGE, MINICLUSTER

ONE_NODE, BOTH_NODES = "--nodes=1", "--nodes=2"
ALL_GPUS = "--gpus-per-node=4"

# step -> srun's options, and JAX_LOCAL_DEVICE_IDS of each rank
ALLOCATIONS = {
    "4 tasks a node": (
        [BOTH_NODES, "--ntasks-per-node=4", ALL_GPUS],
        ["0", "1", "2", "3"] * 2,
    ),
    "2 tasks a node": (
        [BOTH_NODES, "--ntasks-per-node=2", ALL_GPUS],
        ["0,1", "2,3"] * 2,
    ),
    "1 task a node": (
        [BOTH_NODES, "--ntasks-per-node=1", ALL_GPUS],
        ["0,1,2,3"] * 2,
    ),
    "typed gres": (
        [ONE_NODE, "--ntasks=4", "--gres=gpu:a100:4"],
        ["0", "1", "2", "3"],
    ),
    "part of the node": ([ONE_NODE, "--ntasks=2", "--gres=gpu:a100:2"], ["0", "1"]),
    "gpus per task 1": ([ONE_NODE, "--ntasks=4", "--gpus-per-task=1"], ["0"] * 4),
    "gpus per task 2": ([ONE_NODE, "--ntasks=2", "--gpus-per-task=2"], ["0,1"] * 2),
    "gpus per task, unbound": (
        [ONE_NODE, "--ntasks=4", "--gpus-per-task=1", "--gpu-bind=none"],
        ["0", "1", "2", "3"],
    ),
    "single": ([ONE_NODE, "--ntasks=4", ALL_GPUS, "--gpu-bind=single:1"], ["0"] * 4),
    "map": ([ONE_NODE, "--ntasks=2", ALL_GPUS, "--gpu-bind=map_gpu:3,1"], ["0"] * 2),
    "mask": (
        [ONE_NODE, "--ntasks=2", ALL_GPUS, "--gpu-bind=mask_gpu:0x3,0xc"],
        ["0,1"] * 2,
    ),
    "closest": (
        [ONE_NODE, "--ntasks=4", ALL_GPUS, "--gpu-bind=closest"],
        ["0", "1", "2", "3"],
    ),
    "none": (
        [ONE_NODE, "--ntasks=4", ALL_GPUS, "--gpu-bind=none"],
        ["0", "1", "2", "3"],
    ),
    "3 tasks on 2 nodes": (
        [BOTH_NODES, "--ntasks=3", ALL_GPUS],
        ["0,1", "2,3", "0,1,2,3"],
    ),
    "4 tasks and 1": (
        [BOTH_NODES, "--ntasks=5", ALL_GPUS, "--distribution=plane=4"],
        ["0", "1", "2", "3", "0,1,2,3"],
    ),
    "3 GPUs on 2 nodes": ([BOTH_NODES, "--ntasks=2", "--gpus=3"], ["0", "0,1"]),
    "no GPU": ([ONE_NODE, "--ntasks=1", "--gres=none"], [""]),
}

TWO_TASKS = [BOTH_NODES, "--ntasks=2", ALL_GPUS]
# step -> what the user sets for it
SETTINGS = {
    "off": ["JAX_SIF_ENTRY=off"],
    "verbose": ["JAX_SIF_VERBOSE=1"],
    "user's port": ["JAX_COORDINATOR_PORT=5555"],
    "user's devices": ["JAX_LOCAL_DEVICE_IDS=3"],
    "user's address": ["JAX_COORDINATOR_ADDRESS=node2:5555"],
    "proxy": ["https_proxy=http://nowhere.invalid:3128", "no_proxy=.example.org"],
}

# One job of many steps: a job of its own for each would take minutes more.
JOB = r"""#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --time=00:10:00
set -euo pipefail
# srun would add what the job asked for to what a step asks for.
unset "${!SLURM_GPUS@}" "${!SLURM_NTASKS@}" SLURM_TASKS_PER_NODE
show='printf "%s\t" "$0" "$SLURM_PROCID" "$SLURM_NODEID" "${CUDA_VISIBLE_DEVICES-}" \
  "${JAX_LOCAL_DEVICE_IDS-}" "${JAX_COORDINATOR_PORT-}" "${JAX_COORDINATOR_ADDRESS-}" \
  "${no_grpc_proxy-}" "${no_proxy-}"; echo'
step() {
  name=$1
  shift
  srun --overlap "$@" singularity --quiet run --nv "$IMAGE" sh -c "$show" "$name"
}
"""


@dataclass(frozen=True)
class Task:
    """What a program finds in one task of a step."""

    step: str
    rank: int
    node: int
    visible: str
    devices: str
    port: str
    address: str
    no_grpc_proxy: str
    no_proxy: str

    @property
    def gpus(self) -> list[str]:
        """The node's GPUs that this task's devices are."""
        visible = self.visible.split(",")
        return [visible[int(i)] for i in self.devices.split(",") if i]


def job_script() -> str:
    lines = [
        shlex.join(["step", name, *options])
        for name, (options, _) in ALLOCATIONS.items()
    ]
    for name, variables in SETTINGS.items():
        lines.append(f"({'; '.join(f'export {pair}' for pair in variables)}")
        lines.append(f" {shlex.join(['step', name, *TWO_TASKS])})")
    return JOB + "\n".join(lines) + "\n"


def submit(cluster, shell_script: str, name: str, job: str):
    """A shell script on the login node that hands a job to sbatch and prints a file."""
    words = ("bash", "-euo", "pipefail", "-c", f"cd\n{shell_script}", "bash", name)
    return cluster.run("env", f"IMAGE={IMAGE}", *words, text_in=job, limit_s=300)


@pytest.fixture(scope="module")
def output(cluster) -> str:
    """What all steps print, also on standard error."""
    name = f"entry-{uuid.uuid4().hex[:8]}.out"
    done = submit(
        cluster,
        'status=0; sbatch --quiet --wait --output="$1" || status=$?\n'
        'cat "$1"; rm "$1"; exit "$status"',
        name,
        job_script(),
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def steps(output: str) -> dict[str, list[Task]]:
    """The tasks of each step, in the order of their ranks."""
    found: dict[str, list[Task]] = {}
    for line in output.splitlines():
        words = line.split("\t")
        if len(words) > 1:
            task = Task(words[0], int(words[1]), int(words[2]), *words[3:9])
            found.setdefault(task.step, []).append(task)
    return {
        name: sorted(tasks, key=lambda task: task.rank) for name, tasks in found.items()
    }


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_each_task_has_its_devices(steps, name: str) -> None:
    assert ALLOCATIONS[name][1] == [task.devices for task in steps[name]]


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_no_two_tasks_of_a_node_have_the_same_gpu(steps, name: str) -> None:
    taken = [(task.node, gpu) for task in steps[name] for gpu in task.gpus]

    assert len(set(taken)) == len(taken)


def test_every_step_has_a_port_of_its_own_and_its_tasks_agree(steps) -> None:
    ports = [{task.port for task in steps[name]} for name in ALLOCATIONS]

    assert {1} == {len(of_step) for of_step in ports}
    assert len(ALLOCATIONS) == len(set.union(*ports))


def test_switched_off_it_sets_nothing(steps) -> None:
    assert [("", "", "")] * 2 == [
        (task.devices, task.port, task.address) for task in steps["off"]
    ]


def test_verbose_prints_each_choice_with_its_reason(output: str) -> None:
    said = [line for line in output.splitlines() if line.startswith("jax-sif entry: ")]

    assert 2 == sum("JAX_COORDINATOR_PORT=" in line for line in said)
    devices = "JAX_LOCAL_DEVICE_IDS=0,1,2,3 (sees 4 GPU(s), shared by 1 of 1 task(s)"
    assert 2 == sum(devices in line for line in said)
    assert 2 == sum("(only ranks of step " in line for line in said)
    assert 6 == len(said), said


def test_what_the_user_set_stays(steps) -> None:
    def both(name: str, field: str) -> list[str]:
        return [getattr(task, field) for task in steps[name]]

    assert ["5555"] * 2 == both("user's port", "port")
    assert ["3"] * 2 == both("user's devices", "devices")
    assert ["node2:5555"] * 2 == both("user's address", "address")
    assert [""] * 2 == both("user's address", "port")


def test_the_coordinator_is_kept_off_the_proxy(steps) -> None:
    for task in steps["proxy"]:
        assert ("node1", ".example.org") == (task.no_grpc_proxy, task.no_proxy)


def test_a_group_forms_although_a_proxy_is_set(cluster) -> None:
    """The proxy never answers: a rank that asked it would wait for minutes."""
    done = cluster.run(
        *("env", "https_proxy=http://127.0.0.1:9", "STEP_VALUE=1"),
        *("srun", BOTH_NODES, "--ntasks=2", "--kill-on-bad-exit=1"),
        *("singularity", "--quiet", "run", f"--bind={CHECKOUT}", str(IMAGE)),
        *("python", str(CHECKOUT / "tests/cluster/programs/plain_jax.py")),
    )

    assert 0 == done.returncode, done.stderr
    assert 2 == done.stdout.count("of 2: sum 2\n"), done.stdout


def test_a_requeued_job_has_another_port(cluster) -> None:
    job = r"""#!/bin/bash
srun singularity --quiet run "$IMAGE" sh -c 'echo "port $JAX_COORDINATOR_PORT"'
if [ -z "${SLURM_RESTART_COUNT:-}" ]; then
  scontrol requeue "$SLURM_JOB_ID"
  sleep 60
fi
"""
    # Slurm would let a requeued job wait two minutes.
    shell_script = """
        job=$(sbatch --parsable --requeue --open-mode=append --output="$1" --ntasks=1)
        while state=$(squeue --noheader --job "$job" --format=%T) && [ -n "$state" ]; do
          # It may have started since; then Slurm refuses.
          if [ "$state" = PENDING ]; then scontrol update "job=$job" StartTime=now || :; fi
          sleep 1
        done
        cat "$1"
        rm "$1"
    """
    name = f"requeue-{uuid.uuid4().hex[:8]}.out"
    done = submit(cluster, shell_script, name, job)

    ports = [line for line in done.stdout.splitlines() if line.startswith("port ")]
    assert 2 == len(set(ports)) == len(ports), done.stdout + done.stderr


# The guard acts in CUDA images. This makes one of the CPU image, as far as the entry can
# see, and device files and a driver are made likewise.
PLUGIN = (
    f"/opt/jax/lib/python{versions.pins()['PYTHON_VERSION']}/site-packages/"
    "jax_plugins/xla_cuda12"
)
DRIVER = "--bind=driver:/usr/local/nvidia/lib64"
RUN = ("singularity", "--quiet", "run", "--nv", f"--bind=empty:{PLUGIN}")


@pytest.fixture(scope="module")
def guarded(cluster) -> Iterator[object]:
    """Calls the image in a shell of the login node, in a folder with what is bound."""
    folder = f"/home/hpc/guard-{uuid.uuid4().hex[:8]}"
    cluster.bash(
        'mkdir -p "$1/empty" "$1/driver"; : > "$1/driver/libcuda.so.1"', folder
    )

    def call(*command: str, start: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        return cluster.bash('cd "$1"; shift; "$@"', folder, *start, *command)

    yield call
    cluster.run("rm", "-r", folder)


@pytest.fixture
def gpu_files() -> Iterator[None]:
    """The login node shows a GPU."""

    def on_login(*command: str) -> None:
        subprocess.run([MINICLUSTER, "on", "login", "--", *command], check=True)

    on_login("touch", "/dev/nvidiactl", "/dev/nvidia0")
    yield
    on_login("rm", "/dev/nvidiactl", "/dev/nvidia0")


def test_a_task_that_was_given_a_gpu_but_finds_none_fails(guarded) -> None:
    done = guarded(
        *(*RUN, str(IMAGE), "true"),
        start=("srun", "--ntasks=1", "--gpus=1", "env", "--unset=JAX_PLATFORMS"),
    )

    assert 1 == done.returncode
    assert (
        "rank 0 on node1: no GPU is visible (there is no /dev/nvidiactl on this node),"
        " but this task was given GPU 0; submit to a node with GPUs, or choose the CPU"
        " with JAX_PLATFORMS=cpu"
    ) in done.stderr


@pytest.mark.parametrize(
    "sign", ["JAX_SIF_GPU=1", "JAX_SIF_TOPOLOGY=G1N1p1", "CUDA_VISIBLE_DEVICES=0"]
)
def test_where_a_gpu_is_expected_none_is_an_error(guarded, sign: str) -> None:
    done = guarded(*RUN, str(IMAGE), "true", start=("env", sign))

    assert 1 == done.returncode
    assert "no GPU is visible" in done.stderr


@pytest.mark.parametrize(
    "choice",
    [
        ["JAX_SIF_GPU=1", "JAX_PLATFORMS=cpu"],
        ["JAX_SIF_GPU=1", "JAX_PLATFORMS=cpu,cuda"],
        ["JAX_SIF_GPU=1", "JAX_SIF_ENTRY=off"],
        ["JAX_PLATFORMS=cpu"],
    ],
)
def test_who_chose_the_cpu_is_left_alone(guarded, choice: list[str]) -> None:
    done = guarded(*RUN, str(IMAGE), "true", start=("env", *choice))

    assert (0, "") == (done.returncode, done.stderr)


def test_an_unknown_state_has_one_line_of_warning(guarded) -> None:
    done = guarded(*RUN, str(IMAGE), "true")

    assert 0 == done.returncode
    assert 1 == done.stderr.count("\n")
    assert "JAX will run on the CPU (there is no /dev/nvidiactl on" in done.stderr


def test_the_kits_own_tool_needs_no_gpu(guarded) -> None:
    done = guarded(*RUN, str(IMAGE), "jax-sif", "info", start=("env", "JAX_SIF_GPU=1"))

    assert (0, "") == (done.returncode, done.stderr)


def test_the_program_of_the_module_passes_on_that_it_checked(guarded) -> None:
    done = guarded(
        *("bash", "-c", 'module use "$1/modulefiles"; module load "$2"; jax-python -V'),
        *("bash", str(CHECKOUT), f"jax-sif/{versions.jax_version('cpu')}-cpu"),
        start=("env", f"APPTAINER_BIND=empty:{PLUGIN}"),
    )

    assert 1 == done.returncode
    assert "but the container was started with --nv" in done.stderr


def test_a_gpu_without_its_driver_asks_for_nv(guarded, gpu_files) -> None:
    done = guarded(*RUN, str(IMAGE), "true")

    assert 1 == done.returncode
    assert "no NVIDIA driver (no libcuda.so.1)), but this node has" in done.stderr
    assert "singularity run --nv $JAX_IMAGE" in done.stderr


@pytest.mark.parametrize("value", ["", "NoDevFiles", "-1"])
def test_gpus_that_are_hidden_are_an_error(guarded, gpu_files, value: str) -> None:
    hide = f"CUDA_VISIBLE_DEVICES={value}"
    done = guarded(*RUN, DRIVER, str(IMAGE), "true", start=("env", hide))

    assert 1 == done.returncode
    assert f"CUDA_VISIBLE_DEVICES='{value}' hides all" in done.stderr


def test_gpus_of_other_jobs_are_no_gpus(guarded, gpu_files) -> None:
    forbid = [MINICLUSTER, "on", "login", "--", "chmod", "000", "/dev/nvidia0"]
    subprocess.run(forbid, check=True)

    done = guarded(*RUN, DRIVER, str(IMAGE), "true")

    assert 1 == done.returncode
    assert "this task may open none of /dev/nvidia*" in done.stderr
    assert "ask Slurm for GPUs (--gpus-per-node)" in done.stderr


@pytest.mark.parametrize("visible", [[], ["CUDA_VISIBLE_DEVICES=0"]])
def test_with_device_and_driver_it_is_silent(guarded, gpu_files, visible) -> None:
    done = guarded(*RUN, DRIVER, str(IMAGE), "true", start=("env", *visible))

    assert (0, "") == (done.returncode, done.stderr)


def test_without_a_cuda_image_nothing_is_asked(cluster) -> None:
    done = cluster.run(
        *("env", "JAX_SIF_GPU=1", "singularity", "--quiet", "run", str(IMAGE), "true")
    )

    assert (0, "") == (done.returncode, done.stderr)
