"""The module under real Lmod, on the login node of the mini cluster, and the programs that it puts on PATH."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import versions

import modulefiles

FACTS = {
    "versions": {
        "python": "3.13.5",
        "jax": "2.0",
        "jaxlib": "2.0.1",
        "plugin": "2.0",
        "cuda": "12.9.79",
        "cudnn": "9.12.0.46",
        "nccl": "2.28.3",
    },
    "built": "2026-11-21T01:45:26Z",
    "revision": "4eb4fc3",
}

# A tree with two images and a third version whose image is missing.
MAKE_TREE = """
checkout=$1 tree=$2
mkdir -p "$tree/modulefiles/jax-sif" "$tree/images"
cp -r "$checkout/bin" "$tree"
cp "$checkout/modulefiles/jax-sif/.generic.lua" "$tree/modulefiles/jax-sif"
for version in 1.0-cpu 2.0-cuda12 3.0-cuda13; do
  ln -s .generic.lua "$tree/modulefiles/jax-sif/$version.lua"
done
echo 'module_version("jax-sif/2.0-cuda12", "default")' \
  > "$tree/modulefiles/jax-sif/.modulerc.lua"
touch "$tree/images/jax-sif-1.0-cpu.sif" "$tree/images/jax-sif-2.0-cuda12.sif"
cat > "$tree/images/jax-sif-2.0-cuda12.sif.json"
"""

USE = 'module use "$0/modulefiles"\n'

# `seen LABEL` shows the environment, without what Lmod and bash keep for themselves.
SEEN = r"""
seen() { printf '%s\0' "==$1"; env -0 | grep -zvaE '^(_|LMOD_)'; }
"""


@dataclass(frozen=True)
class Tree:
    """An installed tree whose path has blanks, and a shell that uses it."""

    cluster: object
    path: str

    def bash(self, script: str, *arguments: str, start: tuple[str, ...] = ()):
        """A bash script on the login node that can load the tree's modules.

        Args:
          start: a command that starts another, here bash.
        """
        words = ("bash", "-euo", "pipefail", "-c", script, self.path, *arguments)
        return self.cluster.run(*start, *words)

    def environments(self, script: str, **how: tuple[str, ...]):
        """The variables at each `seen LABEL` of the script, by label."""
        done = self.bash(USE + SEEN + script, **how)
        assert 0 == done.returncode, done.stderr
        variables: dict[str, str] = {}
        found = {"": variables}
        for item in done.stdout.split("\0")[:-1]:
            name, _, value = item.partition("=")
            if name:
                variables[name] = value
            else:
                variables = found[value.removeprefix("=")] = {}
        return found

    def image(self, version: str) -> str:
        return f"{self.path}/images/jax-sif-{version}.sif"


@pytest.fixture(scope="module")
def tree(cluster) -> Iterator[Tree]:
    path = f"/home/hpc/a centre {uuid.uuid4().hex[:8]}"
    made = cluster.run(
        *("bash", "-euc", MAKE_TREE, "bash", str(cluster.checkout), path),
        text_in=json.dumps(FACTS, indent=2),
    )
    assert 0 == made.returncode, made.stderr
    yield Tree(cluster, path)
    cluster.run("rm", "-r", path)


def test_it_sets_the_image_the_kit_and_path(tree: Tree) -> None:
    loaded = tree.environments("module load jax-sif/1.0-cpu; seen loaded")["loaded"]

    assert tree.image("1.0-cpu") == loaded["JAX_IMAGE"]
    assert tree.path == loaded["JAX_SIF_ROOT"]
    assert f"{tree.path}/bin" == loaded["PATH"].split(":")[0]
    assert "jax-sif/1.0-cpu" == loaded["LOADEDMODULES"]


def test_the_default_is_what_modulerc_names(tree: Tree) -> None:
    loaded = tree.environments("module load jax-sif; seen loaded")["loaded"]

    assert tree.image("2.0-cuda12") == loaded["JAX_IMAGE"]


@pytest.mark.parametrize(
    "own",
    [
        "",
        "export JAX_IMAGE=/my/own.sif JAX_SIF_ROOT='/my kit'",
        "export APPTAINER_BINDPATH=/a,'/b c:/d:ro'",
        "export SINGULARITY_BINDPATH=/a APPTAINER_BINDPATH=/b,/a",
    ],
)
def test_unloading_restores_every_byte(tree: Tree, own: str) -> None:
    seen = tree.environments(
        f"{own}\nseen before; module load jax-sif; seen loaded\n"
        "module unload jax-sif; seen after"
    )

    assert seen["before"] != seen["loaded"]
    assert seen["before"] == seen["after"]


def test_loading_twice_is_loading_once(tree: Tree) -> None:
    seen = tree.environments(
        "seen before; module load jax-sif; seen once; module load jax-sif; seen twice\n"
        "module unload jax-sif; seen after"
    )

    assert seen["once"] == seen["twice"]
    assert seen["before"] == seen["after"]


def test_swapping_versions_leaves_nothing_of_the_first(tree: Tree) -> None:
    seen = tree.environments(
        "seen before; module load jax-sif/2.0-cuda12; seen direct\n"
        "module swap jax-sif/1.0-cpu; module load jax-sif/2.0-cuda12; seen detour\n"
        "module unload jax-sif; seen after"
    )

    assert seen["direct"] == seen["detour"]
    assert seen["before"] == seen["after"]


def test_another_module_of_the_family_takes_its_place(tree: Tree) -> None:
    seen = tree.environments(
        "native=$(mktemp -d); echo 'family(\"jax\")' > $native/native-jax.lua\n"
        "module use $native; module load jax-sif; module load native-jax; seen swapped"
    )

    assert "native-jax" == seen["swapped"]["LOADEDMODULES"]
    assert "JAX_IMAGE" not in seen["swapped"]


# Apptainer reads the second name only where the first is unset, and warns in every rank
# where both are set and differ.
PRIVATE_ETC = r"""
mount -t tmpfs etc /mnt
mkdir /mnt/real /mnt/etc
mount --rbind /etc /mnt/real
ln -s /mnt/real/* /mnt/etc
touch /mnt/etc/nccl.conf
mount --rbind /mnt/etc /etc
"""


@pytest.mark.parametrize(
    ("own", "apptainer", "singularity"),
    [
        (":", "/etc/nccl.conf", "/etc/nccl.conf"),
        ("export APPTAINER_BINDPATH=/a", "/a,/etc/nccl.conf", None),
        ("export SINGULARITY_BINDPATH=/a", None, "/a,/etc/nccl.conf"),
        (
            "export APPTAINER_BINDPATH=/a SINGULARITY_BINDPATH='/b c:/d:ro'",
            "/a,/etc/nccl.conf",
            "/b c:/d:ro,/etc/nccl.conf",
        ),
        (
            "export APPTAINER_BINDPATH=/a,/etc/nccl.conf",
            "/a,/etc/nccl.conf",
            None,
        ),
    ],
)
def test_binds_join_those_of_the_user_and_go_again(
    tree: Tree, own: str, apptainer: str | None, singularity: str | None
) -> None:
    seen = tree.environments(
        f"{PRIVATE_ETC}{own}\nseen before; module load jax-sif; seen loaded\n"
        "module load jax-sif; seen twice; module swap jax-sif/1.0-cpu; seen swapped\n"
        "umount /etc; module unload jax-sif; seen after",
        start=("unshare", "--user", "--map-root-user", "--mount"),
    )

    for when in ("loaded", "twice", "swapped"):
        assert apptainer == seen[when].get("APPTAINER_BINDPATH")
        assert singularity == seen[when].get("SINGULARITY_BINDPATH")
    assert seen["before"] == seen["after"]


def test_a_node_without_that_file_gets_no_bind(tree: Tree) -> None:
    assert "BINDPATH" not in str(tree.environments("module load jax-sif; seen loaded"))


def test_help_shows_what_to_type_and_the_versions(tree: Tree) -> None:
    text = tree.bash(USE + "module help jax-sif 2>&1").stdout

    assert "sbatch $JAX_SIF_ROOT/jobs/allreduce.slurm" in text
    assert "JAX 2.0, jaxlib 2.0.1, CUDA 12.9.79, cuDNN 9.12.0.46, NCCL 2.28.3" in text


def test_whatis_shows_versions_build_and_image(tree: Tree) -> None:
    text = tree.bash(USE + "module whatis jax-sif/2.0-cuda12 2>&1").stdout

    assert (
        "Contents: JAX 2.0, jaxlib 2.0.1, CUDA 12.9.79, cuDNN 9.12.0.46, NCCL 2.28.3,"
        " Python 3.13.5\n"
    ) in text
    assert "Built: 2026-11-21T01:45:26Z, revision 4eb4fc3\n" in text
    assert f"Image: {tree.image('2.0-cuda12')}\n" in text


def test_whatis_says_where_versions_are_unknown(tree: Tree) -> None:
    ask = "module whatis jax-sif/1.0-cpu 2>&1; module whatis jax-sif/3.0-cuda13 2>&1"
    text = tree.bash(USE + ask).stdout

    assert f"Contents: unknown (no {tree.image('1.0-cpu')}.json)\n" in text
    assert "Contents: image not built\n" in text


def test_avail_and_spider_list_every_version_and_the_default(tree: Tree) -> None:
    avail = tree.bash(USE + "module avail jax-sif 2>&1").stdout
    spider = tree.bash(USE + "module spider jax-sif 2>&1").stdout
    one = tree.bash(USE + "module spider jax-sif/2.0-cuda12 2>&1").stdout

    for version in ("1.0-cpu", "2.0-cuda12", "3.0-cuda13"):
        assert f"jax-sif/{version}" in avail
        assert f"jax-sif/{version}" in spider
    assert "jax-sif/2.0-cuda12 (D)" in avail
    assert "generic" not in avail + spider
    assert "NCCL 2.28.3" in one


def test_a_missing_image_stops_a_load_and_names_path_and_command(tree: Tree) -> None:
    done = tree.bash(USE + "module load jax-sif/3.0-cuda13")
    text = " ".join(done.stderr.split())

    assert 0 != done.returncode
    assert f"is missing: {tree.image('3.0-cuda13')}" in text
    assert f"make build-image install ACCEL=cuda13 PREFIX='{tree.path}'" in text


def test_in_a_checkout_the_command_builds_the_image(tree: Tree) -> None:
    done = tree.bash(
        'cp -r "$0" "$0 checkout"; rm -r "$0 checkout/images"\n'
        'module use "$0 checkout/modulefiles"; module load jax-sif/1.0-cpu 2>&1 || :\n'
        'rm -r "$0 checkout"'
    )
    text = " ".join(done.stdout.split())

    assert f"is missing: {tree.path} checkout/build/jax-sif-1.0-cpu.sif" in text
    assert f"build it: make -C '{tree.path} checkout' build-image ACCEL=cpu" in text


def test_an_unreadable_image_stops_a_load_with_the_reason(tree: Tree) -> None:
    done = tree.bash(
        USE + 'chmod 000 "$0/images/jax-sif-1.0-cpu.sif"\n'
        "module load jax-sif/1.0-cpu 2>&1 || :\n"
        'chmod 644 "$0/images/jax-sif-1.0-cpu.sif"'
    )

    text = " ".join(done.stdout.split())
    assert f"{tree.image('1.0-cpu')}: Permission denied" in text
    assert "chmod a+r" in text


@pytest.mark.parametrize("verb", ["show", "whatis", "help", "spider", "-t avail"])
def test_only_a_load_needs_the_image(tree: Tree, verb: str) -> None:
    done = tree.bash(USE + f"module {verb} jax-sif/3.0-cuda13 2>&1")

    assert 0 == done.returncode, done.stdout
    assert "3.0-cuda13" in done.stdout
    assert "error" not in done.stdout.lower()


def test_an_image_that_vanished_does_not_hinder_unloading(tree: Tree) -> None:
    seen = tree.environments(
        'seen before; module load jax-sif/1.0-cpu; mv "$0/images/jax-sif-1.0-cpu.sif" '
        '"$0/away"; trap \'mv "$0/away" "$0/images/jax-sif-1.0-cpu.sif"\' EXIT\n'
        "module unload jax-sif; seen after"
    )

    assert seen["before"] == seen["after"]


def test_it_loads_where_no_container_runtime_is_on_path(tree: Tree) -> None:
    done = tree.bash(
        USE + 'PATH=/nonexistent; module load jax-sif; echo "$JAX_IMAGE"; echo "$PATH"'
    )

    assert 0 == done.returncode, done.stderr
    assert f"{tree.image('2.0-cuda12')}\n{tree.path}/bin:/nonexistent\n" == done.stdout


def test_a_centre_may_link_it_among_its_own_modules(tree: Tree) -> None:
    done = tree.bash(
        'own=$(mktemp -d); ln -s "$0/modulefiles/jax-sif" "$own/jax-sif"\n'
        'module use "$own"; module load jax-sif; echo "$JAX_SIF_ROOT"; type -p jax-sif'
    )

    assert f"{tree.path}\n{tree.path}/bin/jax-sif\n" == done.stdout


def test_a_relative_folder_works(tree: Tree) -> None:
    done = tree.bash('cd "$0"; module use modulefiles; cd /; module load jax-sif; env')

    assert f"JAX_SIF_ROOT={tree.path}\n" in done.stdout


def test_every_image_of_this_checkout_has_a_module(cluster) -> None:
    script = 'module use "$1/modulefiles"; module -t avail jax-sif 2>&1'
    done = cluster.bash(script, str(cluster.checkout))

    for accel in versions.ACCELERATORS:
        assert f"jax-sif/{modulefiles.module_version(accel)}\n" in done.stdout


# What a user types on a login node and in a job, with the CPU image of this checkout.
LOADED = 'module use "$1/modulefiles"; module load "$2"; cd\n'


def loaded(cluster, script: str, limit_s: float = 120):
    arguments = (str(cluster.checkout), cluster.module)
    return cluster.bash(LOADED + script, *arguments, limit_s=limit_s)


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ("srun --ntasks=2 jax-python -c 'print(6 * 7)'", "42\n42\n"),
        ("printf '%s\\n' 1 'a b' | xargs -I{} jax-python -c 'import sys;"
         " print(sys.argv[1:])' {}", "['1']\n['a b']\n"),
        ("printf 'all:\\n\\t@jax-python -c \"print(42)\"\\n' | make -f -", "42\n"),
        ("sh -c 'jax-python -c \"print(42)\"'", "42\n"),
        ("echo 'print(42)' | jax-python -", "42\n"),
        ("env -u BASH_ENV bash --norc -c 'jax-python -c \"print(42)\"'", "42\n"),
    ],
    ids=["srun", "xargs", "make", "sh", "standard input", "another bash"],
)  # fmt: skip
def test_the_programs_work_wherever_a_program_works(cluster, script, printed) -> None:
    done = loaded(cluster, script)

    assert (0, printed) == (done.returncode, done.stdout), done.stderr


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("jax-python -c 'raise SystemExit(7)'", 7),
        ("srun --ntasks=1 jax-python -c 'raise SystemExit(7)'", 7),
        ("jax-sif verify --topology nonsense </dev/null", 2),
        ("JAX_SIF_TOPOLOGY=G1N1p1 jax-sif verify /dev/null", 3),
        ("JAX_IMAGE=/no/such.sif jax-python", 2),
    ],
)
def test_the_exit_status_passes_through(cluster, script: str, status: int) -> None:
    assert status == loaded(cluster, script).returncode


def test_the_tool_shows_what_the_image_of_the_module_holds(cluster) -> None:
    done = loaded(cluster, "jax-sif info --format json")

    assert versions.jax_version("cpu") == json.loads(done.stdout)["versions"]["jax"]


def test_apptainer_reads_the_second_name_only_without_the_first(cluster) -> None:
    """The fact that the module's binds stand on."""
    show = 'apptainer exec "$JAX_IMAGE" ls /first /second'
    only, both = (
        loaded(
            cluster,
            f"mkdir bound; export {names}\n{show} 2>&1 || :\nrmdir bound",
        ).stdout
        for names in (
            "SINGULARITY_BINDPATH=$PWD/bound:/second",
            "SINGULARITY_BINDPATH=$PWD/bound:/second"
            " APPTAINER_BINDPATH=$PWD/bound:/first",
        )
    )

    assert "/second:" in only
    assert "/second:" not in both
    assert "/first:" in both
    assert "WARNING" in both
