"""What is refused before it is submitted, with the arithmetic and the way out."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.core.errors import UsageError
from jaxsif.job.build import render_job
from jaxsif.job.request import JobOptions

NODES = "description: x\nnode: {gpus: 4, cpus: 64, memory: 512G}\n"


@pytest.fixture
def site(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(NODES)
    return str(path)


def refusal(*words: str, **options) -> str:
    with pytest.raises(UsageError) as error:
        render_job(list(words), JobOptions(**options), environment={})
    return str(error.value)


@pytest.mark.parametrize(
    ("label", "complaint"),
    [
        ("G8N3p8", "8 processes do not divide over 3 nodes (8 / 3 = 2.66667)"),
        ("G8N1p3", "8 devices do not divide over 3 processes (8 / 3 = 2.66667)"),
        ("g8n2", "no profile 'g8n2'"),
    ],
)
def test_an_impossible_topology_is_refused_with_the_division(label, complaint):
    assert complaint in refusal(label, "train.py")


@pytest.mark.parametrize(
    ("label", "fits"),
    [
        ("G8N1p8", "use G8N2p8"),
        ("G16N2p2", "use a topology with fewer devices in each process"),
        ("G24N2p6", "use G24N6p6"),
    ],
)
def test_more_gpus_than_a_node_has_are_refused_with_what_would_fit(site, label, fits):
    said = refusal(label, "train.py", site=site)

    assert "GPUs on a node (" in said and "this site's nodes have 4; " in said
    assert said.endswith(fits)


def test_more_cpus_than_a_node_has_are_refused_with_what_would_fit(site):
    said = refusal(
        "G8N2p8", "train.py", site=site, profile_changes={"cpus_per_process": "20"}
    )

    assert "needs 80 CPUs on a node (4 processes x 20)" in said
    assert said.endswith("this site's nodes have 64; use --cpus-per-task=16")


def test_more_memory_than_a_node_has_is_refused(site):
    said = refusal(
        "G8N2p8", "train.py", site=site, profile_changes={"memory_per_process": "200G"}
    )

    assert "needs 4 processes x 200G of memory on a node" in said


def test_what_just_fits_is_not_refused(site):
    changes = {"memory_per_process": "128G", "cpus_per_process": "16"}

    text = render_job(
        ["G8N2p8"], JobOptions(site=site, profile_changes=changes), environment={}
    )

    assert "#SBATCH --mem=512G" in text


def test_a_number_that_does_not_divide_is_refused_with_the_nearest_that_do():
    said = refusal("G24N6p24", "train.py", divisible_by=[512])

    assert "512 is not divisible by the 24 devices of G24N6p24" in said
    assert said.endswith("the nearest that are: 504 and 528")


def test_a_number_that_divides_is_not_refused():
    assert render_job(
        ["medium", "train.py"], JobOptions(divisible_by=[512]), environment={}
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"sbatch_options": ["-w node1"]}, "--sbatch is '-w node1': use the option's"),
        ({"environment": ["A"]}, "--env is 'A', expected NAME=VALUE"),
        ({"environment": ["A B=1"]}, "expected the name of a variable"),
        ({"site": "ibax"}, "no site 'ibax'; there are "),
        ({"site": "ibax"}, "did you mean ibex?"),
        (
            {"profile_changes": {"time_limit": "soon"}},
            "--time is 'soon': expected a time as Slurm writes it",
        ),
        (
            {"profile_changes": {"platform": "tpu"}},
            "--platform is 'tpu': invalid enum value 'tpu'",
        ),
        (
            {"site_changes": {"runtime": "docker"}},
            "--runtime is 'docker': invalid enum value 'docker'",
        ),
        ({"collectives": "mpi"}, "--collectives=mpi is for CPU devices"),
        (
            {"is_staged": True, "site_changes": {"runtime": "pyxis"}},
            "--stage needs Apptainer, and the runtime is 'pyxis'",
        ),
    ],
)
def test_a_wrong_option_is_named_with_what_was_got(options, complaint):
    assert complaint in refusal("G8N2p8", "train.py", **options)


def test_without_a_profile_it_says_how_it_is_called():
    assert "jax-sif job G8N2p8 train.py" in refusal()


def test_the_site_of_the_environment_counts_where_none_is_named():
    text = render_job(["G8N2p8"], JobOptions(), environment={"JAX_SIF_SITE": "ibex"})

    assert "#SBATCH --constraint=a100\n" in text


def test_the_partition_of_gpus_is_asked_for_by_jobs_with_gpus_alone(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("description: x\npartition: cpu\ngpus: {partition: gpu}\n")

    with_gpus = render_job(["G8N2p8"], JobOptions(site=str(path)), environment={})
    without = render_job(["small"], JobOptions(site=str(path)), environment={})

    assert "--partition=gpu\n" in with_gpus
    assert "--partition=cpu\n" in without


def test_what_is_said_now_comes_in_the_place_of_the_sites(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("description: x\npartition: cpu\ngpus: {partition: gpu}\n")
    options = JobOptions(site=str(path), site_changes={"partition": "mine"})

    assert "--partition=mine\n" in render_job(["G8N2p8"], options, environment={})


@pytest.mark.parametrize(
    ("words", "options", "name"),
    [
        (["G8N2p8"], {}, "G8N2p8"),
        (["allreduce"], {}, "allreduce"),
        (["allreduce", "src/my_train.py"], {}, "my_train"),
        (["allreduce", "train.py"], {"profile_changes": {"name": "mine"}}, "mine"),
        (["G8N2p8", "./a.out"], {}, "a.out"),
    ],
)
def test_the_job_is_named_after_what_it_runs(words, options, name):
    text = render_job(words, JobOptions(**options), environment={})

    assert f"#SBATCH --job-name={name}\n" in text


def test_without_a_program_the_cluster_is_accepted():
    text = render_job(["G64N16p64"], JobOptions(), environment={})

    assert (
        "python /opt/jax-sif/diag/allreduce.py 2> >(jax-sif mark) |\n  jax-sif verify"
        " --verdict-file=" in text
    )


def test_a_diagnostic_with_arguments_is_a_diagnostic():
    words = ["bandwidth", "python", "/opt/jax-sif/diag/bandwidth.py", "--trials=9"]

    text = render_job(words, JobOptions(), environment={})

    assert (
        "diag/bandwidth.py --trials=9 2> >(jax-sif mark) |\n  jax-sif verify"
        " --verdict-file=" in text
    )


def test_a_users_program_need_not_report_anything():
    text = render_job(["G8N2p8", "train.py"], JobOptions(), environment={})

    assert text.endswith("jax-sif verify --user-program\n")


@pytest.mark.parametrize(
    ("signal", "runtime", "is_noted"),
    [
        ("USR1@60", "apptainer", True),
        ("URG@60", "apptainer", False),
        ("USR1@60", "pyxis", False),
    ],
)
def test_a_signal_that_ends_the_images_mount_is_noted(
    capsys, signal, runtime, is_noted
):
    options = JobOptions(
        profile_changes={"signal": signal}, site_changes={"runtime": runtime}
    )

    text = render_job(["G8N2p8"], options, environment={})

    assert f"#SBATCH --signal={signal}\n" in text
    assert is_noted == ("use URG" in capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            {"profile_changes": {"packages": "my.sq"}},
            "--packages is 'my.sq', expected an overlay file such as my.sqsh",
        ),
        (
            {"environment": ["my.sqsh"]},
            "for an overlay of packages: --packages my.sqsh",
        ),
        (
            {"profile_changes": {"packages": "a:b.sqsh"}},
            "Apptainer's paths cannot contain : or ,",
        ),
        (
            {
                "profile_changes": {"packages": "my.sqsh"},
                "site_changes": {"runtime": "pyxis"},
            },
            "--packages my.sqsh needs Apptainer, and the runtime is 'pyxis'",
        ),
        (
            {
                "profile_changes": {"packages": "my.sqsh"},
                "site_changes": {"runtime": "bare"},
            },
            "install these packages into the active Python environment",
        ),
    ],
)
def test_packages_that_cannot_be_mounted_are_refused(options, complaint):
    assert complaint in refusal("G8N2p8", "train.py", **options)


def test_a_profile_may_name_its_packages(tmp_path):
    profile = tmp_path / "vmc.yaml"
    profile.write_text(
        "description: x\ntopology: G8N2p8\npackages: $SCRATCH/vmc.sqsh\n"
    )

    text = render_job([str(profile), "train.py"], JobOptions(), environment={})

    assert 'export JAX_SIF_PACKAGES="$SCRATCH/vmc.sqsh"\n' in text


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("train.py", "train"),
        ("bash x.sh", "x"),
        ("/bin/bash -eu src/x.sh --epochs 3", "x"),
        ("bash run.sh train.py", "train"),
        ("python -m trainer", "trainer"),
        ("python3 -c pass", "python3"),
        ("bash", "bash"),
        ("./bin/simulate", "simulate"),
    ],
)
def test_a_job_is_named_after_what_it_runs(program, name):
    script = render_job(["G8N2p8", *program.split()], JobOptions(), environment={})

    assert f"#SBATCH --job-name={name}\n" in script
