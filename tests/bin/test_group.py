"""The programs that the module puts on PATH, with a container runtime that prints its arguments."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT

BIN = ROOT / "bin"
each_program = pytest.mark.parametrize("program", ["jax-sif", "jax-python"])


def call(program: str, environment: dict[str, str], *arguments: str):
    return subprocess.run(
        [BIN / program, *arguments], env=environment, capture_output=True, text=True
    )


def test_the_tool_runs_in_the_image(site):
    done = call("jax-sif", site, "verify", "a b", "")

    assert ["exec", site["JAX_IMAGE"], "jax-sif", "verify", "a b", ""] == (
        done.stdout.split("\0")[:-1]
    )


def test_the_doctor_is_given_the_driver_where_there_is_one(site):
    done = call("jax-sif", site, "doctor", "--quick")

    nv = ["--nv"] if Path("/dev/nvidiactl").exists() else []
    assert ["exec", *nv, site["JAX_IMAGE"], "jax-sif", "doctor", "--quick"] == (
        done.stdout.split("\0")[:-1]
    )


def test_python_runs_through_the_entry_with_gpus(site):
    done = call("jax-python", site, "-c", "print('x')")

    assert ["run", "--nv", site["JAX_IMAGE"], "python", "-c", "print('x')"] == (
        done.stdout.split("\0")[:-1]
    )


def test_a_link_to_a_program_works(site, tmp_path):
    (tmp_path / "link").symlink_to(BIN / "jax-sif")

    assert call(str(tmp_path / "link"), site).returncode == 0


@each_program
def test_without_the_module_it_says_what_to_load(program, site):
    del site["JAX_IMAGE"]

    done = call(program, site)

    assert done.returncode == 2
    assert "module load jax-sif" in done.stderr


@each_program
def test_a_missing_image_is_named(program, site):
    done = call(program, {**site, "JAX_IMAGE": "/no/such.sif"})

    assert done.returncode == 2
    assert "'/no/such.sif'" in done.stderr


@each_program
def test_without_a_runtime_it_says_where_there_may_be_one(program, site, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "basename", "dirname", "readlink"):
        (tools / tool).symlink_to(shutil.which(tool))

    done = call(program, {**site, "PATH": str(tools)})

    assert done.returncode == 2
    assert "apptainer" in done.stderr


def test_the_site_of_the_centre_is_shown_to_the_tool(site, tmp_path):
    (tmp_path / "site.yaml").touch()
    centre = {**site, "JAX_SIF_ROOT": str(tmp_path)}

    done = call("jax-sif", centre, "job")

    bind = ["--bind", f"{tmp_path}/site.yaml"]
    assert ["exec", *bind, site["JAX_IMAGE"], "jax-sif", "job"] == (
        done.stdout.split("\0")[:-1]
    )


def test_a_jobs_folders_are_shown_to_the_tool(site):
    done = call("jax-sif", {**site, "JAX_SIF_BIND": "/data,/scratch"}, "check")

    assert ["exec", "--bind", "/data,/scratch"] == done.stdout.split("\0")[:3]


def test_facts_of_the_host_reach_the_tool(site, tmp_path):
    runtime = tmp_path / "runtime/apptainer"
    runtime.write_text('#!/bin/sh\nprintf "%s" "$JAX_SIF_SITE_FACTS"\n')

    done = call("jax-sif", site, "site", "detect")

    assert done.stdout.startswith("host|")


@pytest.mark.parametrize(
    ("runtime", "program", "words"),
    [
        ("pyxis", "srun", ["--overlap", "--nodes=1", "--ntasks=1"]),
        ("podman-hpc", "podman-hpc", ["run", "--rm", "--interactive"]),
    ],
)
def test_the_tool_runs_by_the_runtime_of_the_job(
    site, tmp_path, runtime, program, words
):
    shutil.copy(tmp_path / "runtime/apptainer", tmp_path / "runtime" / program)
    environment = {**site, "JAX_SIF_RUNTIME": runtime, "JAX_IMAGE": "registry/image"}

    arguments = call("jax-sif", environment, "verify", "a b").stdout.split("\0")[:-1]

    assert words == arguments[: len(words)]
    assert ["jax-sif", "verify", "a b"] == arguments[-3:]
    assert any(word.endswith("registry/image") for word in arguments)


@each_program
def test_an_unknown_runtime_is_answered_with_those_there_are(program, site, golden):
    done = call(program, {**site, "JAX_SIF_RUNTIME": "docker"})

    assert done.returncode == 2
    golden(f"unknown-runtime-{program}", done.stderr)


def test_a_runtime_that_is_not_there_is_named(site, golden):
    done = call("jax-sif", {**site, "JAX_SIF_RUNTIME": "podman-hpc"}, "info")

    assert done.returncode == 2
    golden("runtime-not-on-path", done.stderr)


MOUNTED = ":/opt/jax-sif/env:image-src=/,ro"


@pytest.fixture
def packages(tmp_path):
    path = tmp_path / "my own.sqsh"
    path.touch()
    return str(path)


@pytest.mark.parametrize("how", ["word", "equals", "variable"])
def test_python_mounts_the_packages_that_are_named(site, packages, how):
    words = {
        "word": ["--packages", packages],
        "equals": [f"--packages={packages}"],
    }.get(how, [])
    variables = {"JAX_SIF_PACKAGES": packages} if how == "variable" else {}

    done = call(
        "jax-python", {**site, **variables}, *words, "train.py", "--packages", "x"
    )

    bind = ["--bind", packages + MOUNTED]
    assert [
        "run",
        "--nv",
        *bind,
        site["JAX_IMAGE"],
        "python",
        "train.py",
        "--packages",
        "x",
    ] == (done.stdout.split("\0")[:-1]), done.stderr


def test_the_entry_gets_the_name_of_the_mounted_packages(site, packages, tmp_path):
    (tmp_path / "runtime/apptainer").write_text(
        '#!/bin/sh\nprintf "%s" "$JAX_SIF_PACKAGES"\n'
    )

    assert packages == call("jax-python", site, "--packages", packages, "-c", "").stdout


@pytest.mark.parametrize(
    ("words", "variables", "complaint"),
    [
        (
            ["--packages", "/no/such.sqsh"],
            {},
            "cannot read the packages '/no/such.sqsh'",
        ),
        (["--packages", "/"], {}, "cannot read the packages '/'"),
        (["--packages", "/a:b,c.sqsh"], {}, "no path with : or ,"),
        (["--packages"], {}, "--packages needs a file"),
        (["--packages="], {}, "--packages needs a file"),
        ([], {"JAX_SIF_PACKAGES": "/no/such.sqsh"}, "cannot read the packages"),
    ],
)
def test_packages_that_cannot_be_mounted_end_it(site, words, variables, complaint):
    done = call("jax-python", {**site, **variables}, *words)

    assert 2 == done.returncode
    assert complaint in done.stderr


def test_launch_mounts_packages_and_hands_on_the_rest(site, packages):
    for words in (["--packages", packages], [f"--packages={packages}"]):
        done = call(
            "jax-sif", site, "launch", *words, "G2N2p2", "--", "a b", "--packages"
        )

        mounted = ["--bind", packages + MOUNTED, site["JAX_IMAGE"], "jax-sif"]
        ranks = ["launch", "G2N2p2", "--", "a b", "--packages"]
        assert [*mounted, *ranks] == done.stdout.split("\0")[-10:-1]


def test_the_tool_itself_mounts_no_packages(site, packages):
    done = call("jax-sif", {**site, "JAX_SIF_PACKAGES": packages}, "verify")

    assert ["exec", site["JAX_IMAGE"], "jax-sif", "verify"] == done.stdout.split("\0")[
        :-1
    ]


def shown(done) -> list[str]:
    """What the container is shown."""
    words = done.stdout.split("\0")
    return words[words.index("--bind") + 1].split(",") if "--bind" in words else []


def test_env_shows_the_container_the_folders_of_its_words(site, tmp_path):
    (tmp_path / "wheels").mkdir()
    words = [f"--find-links={tmp_path}/wheels", f"{tmp_path}/my.sqsh", "flax"]

    assert {str(tmp_path), f"{tmp_path}/wheels"} <= set(
        shown(call("jax-sif", site, "packages", "create", *words))
    )
    assert [str(tmp_path)] == shown(
        call("jax-sif", site, "packages", "info", f"{tmp_path}/my.sqsh")
    )
    check = ("check", "--packages", f"{tmp_path}/my.sqsh", "--", "/home/x/train.py")
    assert [str(tmp_path)] == shown(call("jax-sif", site, *check))


@pytest.mark.parametrize(
    "path",
    [
        "/my.sqsh",
        "/opt/my.sqsh",
        "/opt/jax/x",
        "/usr/my.sqsh",
        "/no/such/my.sqsh",
        "my.sqsh",
    ],
)
def test_env_never_hides_what_the_image_has(site, path):
    assert [] == shown(call("jax-sif", site, "packages", "info", path))


def test_pip_is_shown_its_settings_and_certificates(site, tmp_path):
    for name in ("pip.conf", "ca.crt"):
        (tmp_path / name).touch()
    variables = {
        "PIP_CONFIG_FILE": f"{tmp_path}/pip.conf",
        "PIP_CERT": f"{tmp_path}/ca.crt",
        "SSL_CERT_FILE": f"{tmp_path}/ca.crt",
        "TMPDIR": str(tmp_path),
    }

    lines = shown(
        call("jax-sif", {**site, **variables}, "packages", "create", "my.sqsh", "x")
    )

    expected = [f"{tmp_path}/ca.crt", f"{tmp_path}/pip.conf", str(tmp_path)]
    assert expected == [path for path in lines if path.startswith(str(tmp_path))]
    assert [] == shown(
        call("jax-sif", {**site, **variables}, "packages", "info", "my.sqsh")
    )


@pytest.fixture
def signed(site, tmp_path):
    """The same node, whose image has a key beside it; the runtime says what it verifies."""
    key = Path(f"{site['JAX_IMAGE']}.pem")
    key.write_text("a key")
    (tmp_path / "runtime/apptainer").write_text(
        '#!/bin/sh\nif [ "$1" = verify ]; then shift; echo "$@" >> "$LOG"; fi\n'
        'case $* in *other.pem*) echo "not valid" >&2; exit 255 ;; esac\n'
    )
    return {**site, "LOG": str(tmp_path / "log")}


def verified(signed) -> str:
    log = Path(signed["LOG"])
    return log.read_text() if log.exists() else ""


def test_a_signed_image_is_verified_before_the_ranks_of_a_job_start(signed):
    done = call("jax-sif", signed, "check")

    image = signed["JAX_IMAGE"]
    assert 0 == done.returncode, done.stderr
    assert f"--key {image}.pem {image}\n" == verified(signed)


def test_an_image_not_signed_with_the_key_ends_the_job(signed, tmp_path, golden):
    other = tmp_path / "other.pem"
    other.write_text("another key")

    done = call("jax-sif", {**signed, "JAX_SIF_IMAGE_KEY": str(other)}, "check")

    assert 1 == done.returncode
    assert "not valid\n" == done.stderr
    golden("image-of-another-key", done.stdout.replace(str(tmp_path), "DIR"))


def test_a_key_that_is_not_there_is_wrong_usage(signed, golden):
    done = call("jax-sif", {**signed, "JAX_SIF_IMAGE_KEY": "/no/key.pem"}, "check")

    assert 2 == done.returncode
    golden("key-not-there", done.stderr)
    assert "" == verified(signed)


def test_a_signature_is_not_checked_where_a_user_switches_that_off(signed):
    done = call("jax-sif", {**signed, "JAX_SIF_IMAGE_KEY": "off"}, "check")

    assert 0 == done.returncode
    assert "" == verified(signed)


def test_a_runtime_without_signatures_is_named(signed, tmp_path):
    shutil.copy(tmp_path / "runtime/apptainer", tmp_path / "runtime/srun")

    done = call("jax-sif", {**signed, "JAX_SIF_RUNTIME": "pyxis"}, "check")

    assert 2 == done.returncode
    assert "srun cannot tell whether" in done.stderr
