"""Rendered scripts in a real bash: every value arrives unchanged."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxsif.core.errors import UsageError
from jaxsif.job.build import render_job
from jaxsif.job.render import quote_expandable
from jaxsif.job.request import JobOptions

# Slurm's and the runtimes' programs: each writes its arguments and environment to a
# file of its own, item by item with a NUL behind.
WRITES_CALL = r"""#!/bin/sh
{ printf '%s\0' "$#" "$@"; env -0; } > "$CALLS/$$ ${0##*/}"
"""
# srun does what it is for; the judge reads everything, as it does.
SRUN = f"""{WRITES_CALL}
while :; do case $1 in --*) shift ;; *) exec "$@" ;; esac; done
"""
JUDGE = f"""{WRITES_CALL}
case $1 in verify) cat > /dev/null ;; esac
"""
PROGRAMS = {
    "srun": SRUN,
    "singularity": WRITES_CALL,
    "podman-hpc": WRITES_CALL,
    "sbcast": WRITES_CALL,
    "jax-sif": JUDGE,
    "module": WRITES_CALL,
}


def read(folder: Path) -> dict[str, list]:
    """The last words and environment of each program by its name."""
    found = {}
    for path in sorted(folder.iterdir(), key=lambda p: int(p.name.split()[0])):
        count, *items = path.read_bytes().decode().split("\0")[:-1]
        words, variables = items[: int(count)], items[int(count) :]
        found[path.name.split()[1]] = [
            words,
            dict(variable.split("=", 1) for variable in variables),
        ]
        path.unlink()
    return found


JOB = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "a job",
    "SLURM_JOB_NODELIST": "node[1-2]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_CPUS_PER_TASK": "4",
}

# What a shell, sbatch or YAML takes for something else.
nasty = st.text(
    st.one_of(
        st.sampled_from("'\"\\$`!*?[]{}()<>|&;#~%=,:@ \t\n\r-é日😀\u2028"),
        st.characters(exclude_categories=("Cs",), exclude_characters="\0"),
    ),
    max_size=30,
)
line = nasty.map(lambda s: "".join(c for c in s if c >= " " and c != "\x7f")).filter(
    bool
)
often = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def run(tmp_path):
    """Runs a script by bash and returns what each program was given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in PROGRAMS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    calls = tmp_path / "calls"
    calls.mkdir()

    def run(script: str, **environment: str) -> dict[str, list]:
        done = subprocess.run(
            ["bash"],
            input=script.encode("utf-8", "surrogateescape"),
            env={
                "PATH": f"{folder}:/usr/bin:/bin",
                "CALLS": str(calls),
                "LANG": "C.UTF-8",
                "JAX_IMAGE": "/images/an image.sif",
                **JOB,
                **environment,
            },
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
        )
        assert 0 == done.returncode, done.stderr.decode()
        return read(calls)

    return run


def script(*words: str, **options) -> str:
    return render_job(list(words), JobOptions(**options), environment={})


@often
@given(arguments=st.lists(nasty, max_size=4))
def test_arguments_of_a_program_arrive_unchanged(run, arguments):
    calls = run(script("G8N2p8", "train.py", *arguments))

    assert [
        "run",
        "--nv",
        "/images/an image.sif",
        "python",
        "train.py",
        *arguments,
    ] == (calls["singularity"][0])


@often
@given(name=line)
def test_a_program_of_any_name_is_started_and_looked_for(run, name):
    calls = run(script("G8N2p8", f"{name}.py"))

    assert f"{name}.py" == calls["singularity"][0][-1]


@often
@given(value=nasty)
def test_values_of_variables_arrive_unchanged(run, value):
    calls = run(script("G8N2p8", "train.py", environment=[f"MINE={value}"]))

    assert value == calls["singularity"][1]["MINE"]


@often
@given(value=nasty, reason=line)
def test_values_and_reasons_of_a_site_arrive_unchanged(run, tmp_path, value, reason):
    site = {
        "description": "x",
        "environment": {"MINE": {"value": value, "reason": reason}},
    }
    path = tmp_path / "site.yaml"
    # PyYAML writes U+0085 as it is, and reads it as the end of a line.
    is_read_as_written = (
        yaml.safe_load(yaml.safe_dump(site, allow_unicode=True)) == site
    )
    path.write_text(yaml.safe_dump(site, allow_unicode=is_read_as_written))

    calls = run(script("G8N2p8", "train.py", site=str(path)))

    assert value == calls["singularity"][1]["MINE"]


@often
@given(title=line)
def test_nothing_in_a_comment_is_run(run, title):
    calls = run(
        script("G8N2p8", "train.py", command_line=f"jax-sif job {title}\n exit 9")
    )

    assert "singularity" in calls


FIELDS = ("partition", "account", "qos", "constraint", "reservation")


@often
@given(field=st.sampled_from(FIELDS), value=line)
def test_a_directive_stays_one_comment_for_the_shell(run, field, value):
    text = script("G8N2p8", "train.py", site_changes={field: value})

    assert 1 == sum(x.startswith(f"#SBATCH --{field}=") for x in text.split("\n"))
    assert "singularity" in run(text)


@often
@given(value=line)
def test_an_option_that_is_passed_on_stays_one_comment_for_the_shell(run, value):
    text = script("G8N2p8", "train.py", sbatch_options=[f"--comment={value}"])

    assert 1 == sum(x.startswith("#SBATCH --comment=") for x in text.split("\n"))
    assert "singularity" in run(text)


@given(
    field=st.sampled_from(FIELDS), value=st.sampled_from(["a\nb", "a\rb", "\x1b[0m"])
)
def test_a_directive_of_two_lines_is_refused(field, value):
    with pytest.raises(UsageError, match=f"--{field} is .* expected one line of text"):
        script("G8N2p8", "train.py", site_changes={field: value})


def test_what_the_user_has_set_stays(run):
    text = script("debug", "train.py", environment=["MINE=theirs"])

    calls = run(text, MINE="his own", JAX_PLATFORMS="")

    assert "his own" == calls["singularity"][1]["MINE"]
    assert "" == calls["singularity"][1]["JAX_PLATFORMS"]
    assert "4" == calls["singularity"][1]["JAX_NUM_CPU_DEVICES"]


def test_folders_of_the_site_are_bound_with_their_variables_filled_in(run, tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(
        "description: x\nscratch: /scratch/$WHO\nbinds: ['/data:/in $1', '/a`b']\n"
    )

    calls = run(script("G8N2p8", "train.py", site=str(path)), WHO="me too")
    words, variables = calls["singularity"]

    binds = "/data:/in $1,/a`b,/scratch/me too"
    assert ["run", "--nv", "--bind", binds, "/images/an image.sif"] == words[:5]
    assert "/scratch/me too" == variables["SCRATCH"]
    # The tool sees what the program will see.
    assert binds == calls["jax-sif"][1]["JAX_SIF_BIND"]


def test_the_baseline_of_the_site_is_the_verdicts(run, tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("description: x\nbaseline: /sw/$WHO/baseline.toml\n")

    calls = run(script("bandwidth", site=str(path)), WHO="us")

    assert "/sw/us/baseline.toml" == calls["jax-sif"][1]["JAX_SIF_BASELINE"]


def test_the_program_is_looked_for_before_the_ranks_start(run):
    text = script("G8N2p8", "my train.py").replace("jax-sif mark", "cat")
    calls = run(text.replace("jax-sif verify", "cat #"))

    assert ["check", "--", "my train.py"] == calls["jax-sif"][0]


def test_a_command_is_run_as_it_is(run):
    calls = run(script("G8N2p8", "./a.out", "-x"))

    assert ["/images/an image.sif", "./a.out", "-x"] == calls["singularity"][0][-3:]


def test_srun_gets_what_it_does_not_inherit(run):
    calls = run(script("G8N2p8", "train.py"))

    assert ["--cpus-per-task=4", "--kill-on-bad-exit=1", "--unbuffered"] == (
        calls["srun"][0][:3]
    )


def test_a_staged_image_is_the_one_that_is_run(run):
    calls = run(script("G8N2p8", "train.py", is_staged=True))

    copy = "/tmp/jax-sif-7-0.sif"
    assert ["/images/an image.sif", copy] == calls["sbcast"][0]
    assert copy == calls["singularity"][0][2]
    # And removed, by the last srun, from every node.
    assert ["rm", "-f", copy] == calls["srun"][0][-3:]


def run_staging(text: str, stand_ins: str, then: str, **files: str):
    """A job's copying, with functions in the place of Slurm's programs."""
    staging = text[
        text.index("# Copy the image") : text.index("# srun does not inherit")
    ]
    return subprocess.run(
        ["bash", "-euc", f"{stand_ins}\n{staging}\n{then}"],
        env={**JOB, **files},
        capture_output=True,
        text=True,
    )


def test_packages_are_staged_with_the_image():
    done = run_staging(
        script(
            "G8N2p8",
            "train.py",
            is_staged=True,
            profile_changes={"packages": "my own.sqsh"},
        ),
        'sbcast() { echo "$1 -> $2"; }; srun() { echo "$@"; }',
        "echo $JAX_IMAGE $JAX_SIF_PACKAGES",
        JAX_IMAGE="/i/an image.sif",
        JAX_SIF_PACKAGES="my own.sqsh",
    )

    copies = "/tmp/jax-sif-7-0.sif", "/tmp/jax-sif-7-0.sqsh"
    assert [
        f"/i/an image.sif -> {copies[0]}",
        f"my own.sqsh -> {copies[1]}",
        " ".join(copies),
        f"--ntasks-per-node=1 --ntasks=2 rm -f {' '.join(copies)}",
    ] == done.stdout.splitlines(), done.stderr


def test_a_copy_that_fails_ends_the_job_and_leaves_none_behind():
    done = run_staging(
        script(
            "G8N2p8",
            "train.py",
            is_staged=True,
            profile_changes={"packages": "my.sqsh"},
        ),
        'sbcast() { [[ $2 == *.sif ]]; }; srun() { echo "$@"; }',
        "echo started",
        JAX_IMAGE="/i.sif",
        JAX_SIF_PACKAGES="my.sqsh",
    )

    assert 1 == done.returncode
    assert "started" not in done.stdout
    assert "rm -f /tmp/jax-sif-7-0.sif /tmp/jax-sif-7-0.sqsh\n" in done.stdout


def test_a_copy_that_cannot_be_removed_is_named_and_fails_no_job():
    done = run_staging(
        script("G8N2p8", "train.py", is_staged=True),
        "sbcast() { :; }; srun() { return 1; }",
        "true",
        JAX_IMAGE="/i.sif",
    )

    assert 0 == done.returncode
    assert "cannot remove /tmp/jax-sif-7-0 on a node\n" == done.stderr


def test_a_cpu_job_asks_for_no_gpu():
    text = script("small")

    assert "gpus-per-node" not in text and "--nv" not in text


def test_gpus_are_asked_for_as_the_site_wants(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("description: x\ngpus: {request: gres, type: a100}\n")

    assert "#SBATCH --gres=gpu:a100:4\n" in script("G8N2p8", site=str(path))


def test_nccl_gets_the_network_with_the_reason_and_only_for_gpus():
    text = script("G8N2p8", site="infiniband")

    assert "# Otherwise NCCL silently falls back to TCP" in text
    assert "[[ -v NCCL_NET ]] || export NCCL_NET=IB\n" in text
    assert "NCCL" not in script("small", site="infiniband")


def test_the_verdict_gets_the_network_where_it_is_known(run):
    calls = run(script("G8N2p8", site="slingshot"))["singularity"][1]

    assert "slingshot" == calls["JAX_SIF_NETWORK"]
    assert "JAX_SIF_NETWORK" not in script("G8N2p8")
    assert "JAX_SIF_NETWORK" not in script("small", site="slingshot")


@pytest.mark.parametrize("network", ["ethernet", "infiniband", "slingshot"])
def test_the_variables_of_every_network_arrive(run, network):
    calls = run(script("G8N2p8", site=network))

    expected = {"ethernet": "Socket", "infiniband": "IB", "slingshot": "AWS Libfabric"}
    assert expected[network] == calls["singularity"][1]["NCCL_NET"]


def test_a_requeued_job_keeps_what_its_first_run_has_said():
    text = script("G8N2p8", profile_changes={"requeue": True})

    assert "#SBATCH --requeue\n#SBATCH --open-mode=append\n" in text


@pytest.mark.parametrize(
    ("status", "is_requeued"), [(0, False), (1, False), (3, False), (75, True)]
)
def test_a_program_that_wants_to_go_on_is_put_into_the_queue_again(
    tmp_path, status, is_requeued
):
    for name, text in (
        ("srun", "#!/bin/sh\n"),
        ("jax-sif", f"#!/bin/sh\ncase $1 in verify) exit {status} ;; esac\n"),
        ("scontrol", f'#!/bin/sh\necho "$*" > {tmp_path}/calls\n'),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    done = subprocess.run(
        ["bash"],
        input=script("G8N2p8", "train.py", profile_changes={"requeue": True}).encode(),
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "JAX_IMAGE": "/i.sif", **JOB},
        capture_output=True,
    )

    assert status == done.returncode, done.stderr
    assert is_requeued == (tmp_path / "calls").exists()
    if is_requeued:
        assert "requeue 7\n" == (tmp_path / "calls").read_text()


def test_memory_is_that_of_all_processes_of_a_node():
    text = script("G8N2p8", profile_changes={"memory_per_process": "1536M"})

    assert "#SBATCH --mem=6G\n" in text


def test_mpi_is_asked_of_srun_and_of_jax(run):
    calls = run(script("small", collectives="mpi"))

    assert "--mpi=pmix" in calls["srun"][0]
    assert "mpi" == calls["singularity"][1]["JAX_CPU_COLLECTIVES_IMPLEMENTATION"]


def test_pyxis_starts_the_entry_in_the_image(run, tmp_path):
    text = script("G8N2p8", "train.py", "a b", site_changes={"runtime": "pyxis"})
    entry = "/opt/jax-sif/lib/jaxsif/entry"
    role = tmp_path / "entry"
    role.write_text(WRITES_CALL)
    role.chmod(0o755)

    calls = run(text.replace(entry, str(role)))

    assert "--container-image=/images/an image.sif" in calls["srun"][0]
    assert f"--container-workdir={tmp_path}" in calls["srun"][0]
    assert [str(role), "python", "train.py", "a b"] == calls["srun"][0][-4:]
    assert "pyxis" == calls["jax-sif"][1]["JAX_SIF_RUNTIME"]


def test_podman_gets_every_variable_that_the_program_needs(run, tmp_path):
    text = script(
        "G8N2p8",
        "train.py",
        site_changes={"runtime": "podman-hpc"},
        environment=["A=1"],
    )

    words = run(text)["podman-hpc"][0]

    assert {"--env=A", "--env=SLURM*", "--env=JAX*", "--gpu"} <= set(words)
    assert f"--volume={tmp_path}:{tmp_path}" in words
    assert ["/images/an image.sif", "python", "train.py"] == words[-3:]


def test_without_a_container_the_tool_is_the_entry(run):
    calls = run(
        script("G8N2p8", "train.py", site_changes={"runtime": "bare"}).replace(
            "jax-sif verify", "cat #"
        )
    )

    assert ["jax-sif", "run", "python", "train.py"] == calls["srun"][0][-4:]
    assert "singularity" not in calls


@given(text=nasty)
def test_a_word_with_a_variable_keeps_everything_else(text):
    given_text = text.replace("$", "") + "${WHO}" + text.replace("$", "")

    done = subprocess.run(
        ["bash", "-c", f"printf %s {quote_expandable(given_text)}"],
        env={"WHO": "me", "LANG": "C.UTF-8"},
        capture_output=True,
        check=True,
    )

    assert given_text.replace("${WHO}", "me") == done.stdout.decode()


def test_without_options_the_defaults_are_those_of_the_library():
    from jaxsif.commands import job

    chosen, args = job.read(job.parser(), ["G8N2p8"])

    assert ["G8N2p8"] == args
    assert JobOptions(command_line="x") == job.options(chosen, "x")


def test_every_option_reaches_the_library():
    from jaxsif.commands import job

    arguments = """--site ibex -t 5 -p gpu --requeue --packages a.sqsh -o x.out
        --verdict-file v.json --env A=1 --env B=2 --sbatch=--x --divisible-by 8
        --stage --collectives mpi"""
    before, _ = job.read(job.parser(), [*arguments.split(), "G8N2p8"])
    after, _ = job.read(job.parser(), ["G8N2p8", *arguments.split()])

    expected = JobOptions(
        site="ibex",
        profile_changes={"time_limit": "5", "requeue": True, "packages": "a.sqsh"},
        site_changes={"partition": "gpu"},
        environment=["A=1", "B=2"],
        sbatch_options=["--x"],
        output="x.out",
        verdict_file="v.json",
        divisible_by=[8],
        is_staged=True,
        collectives="mpi",
        command_line="x",
    )
    assert expected == job.options(before, "x") == job.options(after, "x")


def test_a_second_overlay_is_refused(capsys):
    from jaxsif.commands import job

    with pytest.raises(SystemExit) as ended:
        job.main(["--packages", "a.sqsh", "G8N2p8", "--packages", "b.sqsh"])

    assert 2 == ended.value.code
    assert "--packages names 'a.sqsh' and 'b.sqsh'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "directive"),
    [
        (["-t", "1:00:00"], "time=1:00:00"),
        (["--time=1:00:00"], "time=1:00:00"),
        (["-p", "gpu"], "partition=gpu"),
        (["-Ame"], "account=me"),
        (["-J", "mine"], "job-name=mine"),
        (["--job-name=mine"], "job-name=mine"),
        (["-c8"], "cpus-per-task=8"),
        (["--cpus-per-task", "8"], "cpus-per-task=8"),
        (["-q", "high"], "qos=high"),
        (["-C", "a100"], "constraint=a100"),
        (["-o", "x.out"], "output=x.out"),
        (["--sbatch=--mail-type=END"], "mail-type=END"),
    ],
)
@pytest.mark.parametrize("is_before", [True, False])
def test_options_have_the_names_that_sbatch_has(
    arguments, directive, is_before, capsys
):
    from jaxsif.commands import job

    words = [*arguments, "G8N2p8"] if is_before else ["G8N2p8", *arguments]

    assert 0 == job.main([*words, "train.py", "-t", "9"])
    assert f"\n#SBATCH --{directive}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--mail-type=END"], "--sbatch=--mail-type=END"),
        (["--mail-type", "END"], "--sbatch=--mail-type[=VALUE]"),
        (["--partion=gpu"], "did you mean --partition?"),
        (["--nodes=2"], "the topology has it"),
        (["-N2"], "the topology has it"),
        (["--mem=8G"], "--memory-per-process=8G"),
        (["-w", "node1"], "use its long name"),
    ],
)
@pytest.mark.parametrize("is_before", [True, False])
def test_an_unknown_option_is_answered_with_what_to_write(
    arguments, hint, is_before, capsys
):
    from jaxsif.commands import job

    with pytest.raises(SystemExit) as ended:
        job.main(
            [*arguments, "G8N2p8", "train.py"]
            if is_before
            else ["G8N2p8", *arguments, "train.py"]
        )

    assert 2 == ended.value.code
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--site", "ibex", "G8N2p8", "train.py", "--site", "his own"],
        ["G8N2p8", "--site", "ibex", "train.py", "--site", "his own"],
        ["G8N2p8", "--site=ibex", "--", "train.py", "--site", "his own"],
    ],
)
def test_options_behind_the_program_are_its_own(arguments):
    from jaxsif.commands import job

    chosen, words = job.read(job.parser(), arguments)

    assert "ibex" == chosen["site"]
    assert ["G8N2p8", "train.py", "--site", "his own"] == words


def test_bytes_that_are_no_text_arrive_unchanged(run):
    name = b"caf\xe9.py".decode("utf-8", "surrogateescape")

    text = script("G8N2p8", name)

    assert name in text and Path(name).suffix == ".py"


def test_packages_are_checked_and_mounted_in_every_rank(run):
    calls = run(
        script(
            "G8N2p8",
            "train.py",
            environment=["A=1"],
            profile_changes={"packages": "runs/my own.sqsh"},
        )
    )

    mount = ["--bind", "runs/my own.sqsh:/opt/jax-sif/env:image-src=/,ro"]
    words, variables = calls["singularity"]
    assert ["run", "--nv", *mount] == words[:4]
    assert ("1", "runs/my own.sqsh") == (variables["A"], variables["JAX_SIF_PACKAGES"])


def test_packages_may_lie_where_a_variable_says(run):
    text = script("G8N2p8", "train.py", profile_changes={"packages": "$MINE/my.sqsh"})

    calls = run(text.replace("set -euo pipefail", "set -euo pipefail; MINE=/a"))

    assert "/a/my.sqsh" == calls["singularity"][1]["JAX_SIF_PACKAGES"]


def test_a_jobs_check_looks_at_its_packages_first():
    text = script("G8N2p8", "train.py", profile_changes={"packages": "my.sqsh"})

    assert 'jax-sif check --packages "$JAX_SIF_PACKAGES" -- train.py\n' in text
    assert 'jax-sif check --packages "$JAX_SIF_PACKAGES"\n' in script(
        "G8N2p8", profile_changes={"packages": "my.sqsh"}
    )
