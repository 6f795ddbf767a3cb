"""The doctor on simulated nodes: table, reason, JSON, exit status, time limits."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
from checkout import ROOT, SRC
from fake_nodes import STEP, gpus, image, put, well
from fake_nvml import FakeNvml

from jaxsif import cli
from jaxsif.commands import doctor
from jaxsif.commands.doctor import node_name
from jaxsif.core.errors import Problem
from jaxsif.node import DiskSpace
from jaxsif.node.doctor import checks as host_checks
from jaxsif.node.doctor import gpu_checks
from jaxsif.node.doctor.gpu_checks import gpu_health, gpus_on_bus
from jaxsif.node.doctor.isolate import CheckSkipped, CommandResult
from jaxsif.node.doctor.run import (
    NOT_CHECKED,
    PROBLEM,
    Check,
    CheckContext,
    CheckResult,
    NodeReport,
    as_json,
    footer,
    run_checks,
)

QUICK = (*host_checks.QUICK, *gpu_checks.QUICK)


def with_nvml(nvml, checks=QUICK):
    """The checks, asking a made-up driver."""
    return [
        replace(check, run=partial(gpu_health, load=lambda: nvml))
        if check.name == "GPU health"
        else check
        for check in checks
    ]


def diagnose(host_info, checks=QUICK, **facts) -> NodeReport:
    begun = NodeReport(node_name(host_info), "image", True, **facts)
    return doctor.run(begun, host_info, checks, 20.0, is_shown=True)


@pytest.fixture
def gpu_node(tmp_path):
    """A node of four GPUs outside of any job, with nothing in its environment."""
    image(tmp_path)
    gpus(tmp_path)
    put(tmp_path, "/proc/uptime", "3720.00 1.00\n")
    put(tmp_path, "/dev/kmsg")
    return well(tmp_path, {}, host_name="node2.cluster")


FOUR = FakeNvml({}, {}, {}, {})


def test_a_good_gpu_node_is_ok(gpu_node, capsys):
    ended = diagnose(gpu_node, with_nvml(FOUR))

    assert 0 == ended.status
    assert "jax-sif doctor: OK node2" == ended.reason
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == ended.reason
    assert (
        "GPU health        ok           4 NVIDIA H100 80GB HBM3, driver 550.54.15"
        in ("\n".join(shown))
    )
    unchecked = [r.check for r in ended.results if r.outcome == NOT_CHECKED]
    assert ["locked memory", "RDMA ports", "GPUs of the job"] == unchecked


def test_a_node_without_gpus_is_ok_too(tmp_path):
    image(tmp_path, "cpu")

    ended = diagnose(well(tmp_path, {}))

    assert (0, "jax-sif doctor: OK node2") == (ended.status, ended.reason)


def test_a_bad_gpu_drains_the_node(gpu_node, capsys):
    bad = {"TotalEccErrors": {(1, 0): 12, (1, 1): 12}, "CurrPcieLinkWidth": 8}

    ended = diagnose(gpu_node, with_nvml(FakeNvml({}, {}, {}, bad)))

    assert 1 == ended.status
    assert ended.reason == (
        "jax-sif doctor: DRAIN node2: gpu-ecc GPU 3 (GPU-3): 12 uncorrected ECC errors"
        " since the driver was loaded"
    )
    shown = capsys.readouterr().out
    assert "1. gpu-ecc: GPU 3" in shown
    assert "   -> drain the node and reset the GPU" in shown
    assert "2. gpu-pcie: warning: GPU 3" in shown


def test_a_driver_that_hangs_drains_the_node_and_does_not_block(gpu_node):
    started_s = time.monotonic()
    checks = [
        replace(check, timeout_s=0.2) if check.name == "GPU health" else check
        for check in with_nvml(FakeNvml(hangs=True))
    ]

    ended = diagnose(gpu_node, checks)

    assert 1 == ended.status
    assert (
        "DRAIN node2: driver-hangs the NVIDIA driver does not respond" in ended.reason
    )
    assert time.monotonic() - started_s < 10


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (9, "the NVIDIA driver is not loaded"),
        (18, "have different versions"),
        (999, "the NVIDIA driver cannot be queried: NVML error 999"),
    ],
)
def test_a_driver_that_cannot_be_asked_drains_the_node(gpu_node, error, text):
    ended = diagnose(gpu_node, with_nvml(FakeNvml(init=error)))

    assert 1 == ended.status
    assert ended.reason.startswith("jax-sif doctor: DRAIN node2: gpu-driver the NVIDIA")
    assert text in ended.reason


def test_gpus_whose_health_cannot_be_read_are_no_pass_and_no_drain(gpu_node):
    ended = diagnose(gpu_node, with_nvml(FakeNvml(init=12)))

    assert 3 == ended.status
    assert ended.reason.startswith(
        "jax-sif doctor: COULD NOT TELL node2: GPU health not checked: no"
        " libnvidia-ml.so.1 in the container; start it with --nv"
    )


def test_an_image_without_nvml_is_inconclusive(gpu_node):
    def load():
        raise ImportError("pynvml")

    checks = [Check("GPU health", partial(gpu_health, load=load)), *host_checks.QUICK]

    assert 3 == diagnose(gpu_node, checks).status


def test_a_gpu_that_is_missing_is_noticed_outside_of_jobs_only(gpu_node):
    three = with_nvml(FakeNvml({}, {}, {}))
    in_job = replace(gpu_node, environment={"SLURM_JOB_ID": "7"})

    assert (
        "gpu-lost 4 NVIDIA GPUs are on the PCI bus" in diagnose(gpu_node, three).reason
    )
    assert 0 == diagnose(in_job, three).status


def test_before_a_job_its_gpus_must_be_unused(gpu_node):
    used = {"ComputeRunningProcesses": [SimpleNamespace(pid=42, usedGpuMemory=2**30)]}
    nvml = FakeNvml({}, used, {}, {})
    prolog = {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0-1"}
    other = {"SLURM_JOB_ID": "8", "SLURM_JOB_GPUS": "2,3"}

    def reason(environment):
        node = replace(gpu_node, environment=environment)
        return diagnose(node, with_nvml(nvml)).reason

    assert "jax-sif doctor: OK node2, but gpu-busy" == reason(prolog)
    assert "jax-sif doctor: OK node2" == reason(other)
    assert "jax-sif doctor: OK node2" == reason({})


def test_gpus_without_a_driver_are_found_on_the_bus(tmp_path):
    image(tmp_path)
    for name, kind in (("0000:3b:00.0", "0x030200"), ("0000:03:00.0", "0x020000")):
        put(tmp_path, f"/sys/bus/pci/devices/{name}/vendor", "0x10de\n")
        put(tmp_path, f"/sys/bus/pci/devices/{name}/class", f"{kind}\n")
    node = well(tmp_path, {})

    assert ["0000:3b:00.0"] == [gpu.bus_id for gpu in gpus_on_bus(node)]
    ended = diagnose(node, [*gpu_checks.QUICK[:1], *host_checks.QUICK])
    assert "gpu-driver NVIDIA GPUs are on the PCI bus (0000:3b:00.0)" in ended.reason


def test_a_gpu_that_a_virtual_machine_has_is_not_ours(tmp_path):
    gpus(tmp_path, count=1)
    driver = tmp_path / "sys/bus/pci/devices/0000:00:00.0/driver"
    driver.unlink()
    driver.symlink_to("../../../bus/pci/drivers/vfio-pci")

    assert [] == gpus_on_bus(well(tmp_path))


def test_a_node_is_not_drained_for_what_is_wrong_with_the_caller(gpu_node):
    caller = replace(gpu_node, environment={"XLA_FLAGS": "--xla_nosuch=1"})

    ended = diagnose(caller, with_nvml(FOUR))

    assert 1 == ended.status
    assert ended.reason.startswith("jax-sif doctor: FAIL node2: xla-flags XLA_FLAGS")


def test_a_warning_is_no_failure_unless_it_is_asked_for(gpu_node):
    small = replace(
        gpu_node, disk_space=lambda folder: DiskSpace(2**26, 2**26, None, True)
    )

    lenient = diagnose(small, with_nvml(FOUR))
    strict = diagnose(small, with_nvml(FOUR), is_strict=True)

    assert (0, "jax-sif doctor: OK node2, but dev-shm-too-small") == (
        lenient.status,
        lenient.reason,
    )
    assert 1 == strict.status
    assert "DRAIN node2: dev-shm-too-small /dev/shm has 64 MiB" in strict.reason


def test_slurms_name_of_the_node_comes_first(tmp_path):
    assert "n7" == node_name(well(tmp_path, {"SLURMD_NODENAME": "n7"}))
    assert "gpu3" == node_name(well(tmp_path, {}, host_name="gpu3.site.org"))


def result(*problems: Problem, **facts) -> CheckResult:
    return CheckResult("summary", problems, check="check", **facts)


SKIPPED = CheckResult("no GPU", check="a", is_skipped=True)
UNKNOWN = replace(SKIPPED, is_required=True)


@pytest.mark.parametrize("count", [1, 30])
def test_the_reason_is_one_short_line_that_scontrol_takes(count):
    long = Problem("gpu-lost", 'a "quoted"\nword ' * 20, "remedy")
    ended = NodeReport("node2", "image", True, tuple([result(long)] * count))

    assert len(ended.reason) <= 200
    assert not set('"\n') & set(ended.reason)
    assert ended.reason.startswith("jax-sif doctor: DRAIN node2: gpu-lost a 'quoted'")
    assert (count > 1) == ended.reason.endswith(" (and 29 more)")


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([result()], 0),
        ([SKIPPED, result()], 0),
        ([SKIPPED], 3),
        ([], 3),
        ([UNKNOWN, result()], 3),
        (
            [
                UNKNOWN,
                result(Problem("hostname-unresolvable", "text", "remedy")),
            ],
            1,
        ),
        ([result(Problem("dev-shm-too-small", "text", "remedy", is_fatal=False))], 0),
    ],
)
def test_the_exit_status_fails_closed(results, status):
    assert status == NodeReport("node2", "image", True, tuple(results)).status


def test_fatal_problems_come_first():
    warning = Problem("gpu-pcie", "slow", "reseat it", is_fatal=False)
    fatal = Problem("gpu-lost", "gone", "replace it")
    ended = NodeReport("n", "image", True, (result(warning), result(fatal)))

    assert footer(ended).splitlines()[:4] == [
        "1. gpu-lost: gone",
        "   -> replace it",
        "2. gpu-pcie: warning: slow",
        "   -> reseat it",
    ]


def test_json_has_the_same_content_as_the_table(gpu_node):
    bad = {"TotalEccErrors": {(1, 0): 12, (1, 1): 12}}
    ended = diagnose(gpu_node, with_nvml(FakeNvml(bad, {}, {}, {})))

    facts = json.loads(json.dumps(as_json(ended)))

    assert ("jax-sif/doctor/1", "node2", 1) == (
        facts["schema"],
        facts["node"],
        facts["status"],
    )
    assert ended.reason == facts["reason"]
    (health,) = [c for c in facts["checks"] if c["check"] == "GPU health"]
    assert ["gpu-ecc"] == [problem["kind"] for problem in health["problems"]]
    assert [12, 0, 0, 0] == [gpu["uncorrected_errors"] for gpu in facts["gpus"]]


def hang(context: CheckContext) -> CheckResult:
    signal.pause()
    return CheckResult("never")


def test_a_check_that_never_answers_is_itself_the_trouble(gpu_node):
    checks = [Check("temporary files", hang, timeout_s=0.05), *host_checks.QUICK]

    ended = diagnose(gpu_node, checks)

    assert 1 == ended.status
    assert "DRAIN node2: check-timeout temporary files: no response within 0.05 s" in (
        ended.reason
    )


def test_all_checks_together_take_no_longer_than_the_budget(gpu_node):
    checks = [Check(f"check {n}", hang, timeout_s=0.2) for n in range(20)]
    started_s = time.monotonic()

    results = list(run_checks(gpu_node, checks, budget_s=0.3))

    assert time.monotonic() - started_s < 3
    assert PROBLEM == results[0].outcome
    assert NOT_CHECKED == results[2].outcome
    assert "no time left after the checks before it" == results[-1].summary
    assert results[-1].is_required


def test_the_budget_and_the_limits_fit_into_slurms_minute():
    assert doctor.QUICK_BUDGET_S < 30


def test_a_check_that_fails_in_an_unforeseen_way_is_not_a_pass(gpu_node):
    def broken(context: CheckContext) -> CheckResult:
        raise KeyError("surprise")

    ended = diagnose(gpu_node, [Check("odd", broken), *host_checks.QUICK])

    assert 3 == ended.status
    assert "KeyError: 'surprise'" in ended.reason


def test_why_something_is_not_checked_is_said(gpu_node, capsys):
    def look(context: CheckContext) -> CheckResult:
        raise CheckSkipped("no such thing here")

    diagnose(gpu_node, [Check("odd", look), *host_checks.QUICK])

    assert "odd              not checked  no such thing here" in capsys.readouterr().out


def patch_commands(monkeypatch, run):
    for checks in (host_checks, gpu_checks):
        monkeypatch.setattr(checks, "run_commands", run)


SLOW = [*host_checks.SLOW, *gpu_checks.SLOW]


def test_the_full_examination_tries_what_the_quick_one_reads(gpu_node, monkeypatch):
    tried = []

    def run(command, environments, timeout_s):
        tried.append([e.get("CUDA_VISIBLE_DEVICES") for e in environments])
        output = "0.12.0.1" if len(tried) == 1 else "gpu 5559680.0"
        return [CommandResult(0, output, 1.0) for _ in environments]

    patch_commands(monkeypatch, run)
    for folder in ("tmp", "dev/shm"):
        (gpu_node.root / folder).mkdir(parents=True)

    ended = diagnose(gpu_node, with_nvml(FOUR, [*QUICK, *SLOW]))

    assert 0 == ended.status, ended.results
    assert [[None], ["GPU-0", "GPU-1", "GPU-2", "GPU-3"]] == tried
    summaries = {r.check: r.summary for r in ended.results}
    assert "4 GPUs, the slowest in 1.0 s" == summaries["computing on GPUs"]
    assert "jax 0.12.0.1 in 1.0 s" == summaries["importing JAX"]


def test_in_a_job_only_its_own_gpus_are_tried(gpu_node, monkeypatch):
    tried = []

    def run(command, environments, timeout_s):
        tried.extend(e["CUDA_VISIBLE_DEVICES"] for e in environments)
        return [CommandResult(1, "RuntimeError: CUDA_ERROR_ECC_UNCORRECTABLE", 1.0)] * 2

    patch_commands(monkeypatch, run)
    mine = replace(gpu_node, environment={**STEP, "CUDA_VISIBLE_DEVICES": "2,3"})

    ended = diagnose(mine, [*gpu_checks.SLOW, *host_checks.QUICK[:2]])

    assert ["2", "3"] == tried
    assert "DRAIN node2: gpu-compute GPU 2: a product of two small matrices failed" in (
        ended.reason
    )


def test_a_child_that_cannot_be_started_is_no_pass(gpu_node, monkeypatch):
    def run(command, environments, timeout_s):
        raise PermissionError(13, "Permission denied")

    patch_commands(monkeypatch, run)

    ended = diagnose(gpu_node, [*host_checks.SLOW[-1:], *host_checks.QUICK])

    assert 3 == ended.status
    assert "importing JAX not checked: no child could be started" in ended.reason


@pytest.mark.parametrize("options", [["--quick"], ["--quick", "--format=json"]])
def test_it_runs_on_this_machine_with_an_empty_environment(options):
    program = "from jaxsif.cli import main; exit(main())"
    started_s = time.monotonic()

    done = subprocess.run(
        [sys.executable, "-c", program, "doctor", *options],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode in (0, 1, 3), done.stderr
    assert "" == done.stderr
    if "--format=json" in options:
        assert done.returncode == json.loads(done.stdout)["status"]
    else:
        assert done.stdout.splitlines()[-1].startswith("jax-sif doctor: ")
    assert time.monotonic() - started_s < 30


def test_the_doctor_itself_does_not_load_jax():
    program = (
        "import sys, jaxsif.commands.doctor; from jaxsif import cli;"
        "cli.main(['doctor', '--quick']); print('jax' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
    )

    assert "False" == done.stdout.splitlines()[-1]


def test_a_wrong_option_is_wrong_usage():
    with pytest.raises(SystemExit) as caught:
        cli.main(["doctor", "--fast"])

    assert 2 == caught.value.code


def test_every_kind_of_trouble_is_explained():
    kinds = {
        kind
        for source in (SRC / "jaxsif/node").rglob("*.py")
        for kind in re.findall(r'Problem\(\s*"([^"]+)"', source.read_text())
    }
    explained = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs/doctor.md").read_text()))

    assert len(kinds) > 20
    assert set() == kinds - explained


SCRIPTS = [
    re.sub("^ {4}", "", block, flags=re.M)
    for block in re.findall(
        r"((?:^ {4}.*\n)+)", (ROOT / "docs/doctor.md").read_text(), flags=re.M
    )
    if block.startswith("    #!/bin/sh")
]


@pytest.mark.parametrize(
    ("script", "line", "status", "calls"),
    [
        (
            SCRIPTS[0],
            "jax-sif doctor: DRAIN node2: gpu-ecc GPU 3: it's 12 errors",
            0,
            "scontrol [update] [nodename=node2] [state=drain]"
            " [reason=jax-sif doctor: DRAIN node2: gpu-ecc GPU 3: it's 12 errors]",
        ),
        (SCRIPTS[0], "jax-sif doctor: OK node2", 0, ""),
        (SCRIPTS[0], "jax-sif doctor: FAIL node2: xla-flags x", 0, ""),
        (SCRIPTS[0], "", 0, ""),
        (
            SCRIPTS[1],
            "jax-sif doctor: DRAIN node2: x",
            1,
            "logger [-t] [jax-sif] [jax-sif doctor: DRAIN node2: x]",
        ),
        (
            SCRIPTS[1],
            "jax-sif doctor: COULD NOT TELL node2: x",
            0,
            "logger [-t] [jax-sif] [jax-sif doctor: COULD NOT TELL node2: x]",
        ),
    ],
)
def test_the_scripts_for_slurm_do_what_the_page_says(
    tmp_path, script, line, status, calls
):
    words = f"printf 'table\\n%s\\n' \"{line}\""
    programs = {
        "apptainer": words,
        "hostname": "echo node2",
        "scontrol": 'printf scontrol >&3; printf " [%s]" "$@" >&3',
        "logger": 'printf logger >&3; printf " [%s]" "$@" >&3',
    }
    for name, text in programs.items():
        program = put(tmp_path, name, f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    path = f"PATH={tmp_path}:/usr/bin:/bin"
    script = re.sub("PATH=.*", path, script).replace("/sw/jax-sif/bin", f"{ROOT}/bin")
    script = script.replace("/sw/jax-sif/images", str(tmp_path))
    put(tmp_path, "jax-sif.sif", "an image")

    done = subprocess.run(
        ["sh", "-c", f"exec 3> calls; {script}"], cwd=tmp_path, env={}
    )

    assert (status, calls) == (done.returncode, (tmp_path / "calls").read_text())
