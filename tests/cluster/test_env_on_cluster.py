"""A user's own packages on the mini cluster: made on the login node without a network, mounted in jobs on two nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster import CHECKOUT, Job

sys.path.insert(0, str(CHECKOUT / "tests/helpers"))
from wheels import wheel

READY = 'cd "$3"; module use "$1/modulefiles"; module load "$2"; export APPTAINER_BIND="$1"\n'
CREATE = "jax-sif packages create --no-index --find-links wheels"
PLACE = "/opt/jax-sif/env/lib/python3.13/site-packages"
# Lists of images that differ from the real one in their first line.
OTHER_IMAGE = """
apptainer exec "$JAX_IMAGE" cat /opt/jax-sif/packages.txt > ours.txt
sed -e '1s/# ..../# ffff/' -e 's/^numpy==.*/numpy==1.0/' ours.txt > other.txt
export APPTAINER_BIND="$APPTAINER_BIND,$PWD/other.txt:/opt/jax-sif/packages.txt"
"""


@dataclass(frozen=True)
class Desk:
    """A folder of a user with wheels, and the packages `my.sqsh` made from them."""

    cluster: object
    folder: str

    def bash(self, script: str, *words: str, limit_s: float = 120):
        checkout, module = str(self.cluster.checkout), self.cluster.module
        return self.cluster.bash(
            READY + script, checkout, module, self.folder, *words, limit_s=limit_s
        )

    def must(self, script: str, *words: str) -> str:
        done = self.bash(script, *words)
        assert 0 == done.returncode, done.stderr
        return done.stdout

    def submit(self, before: str, *words: str, **environment: str) -> Job:
        """Writes a job's script as a user does, and submits it."""
        script = f"{self.folder}/{uuid.uuid4().hex[:8]}.slurm"
        self.must(f'{before}\njax-sif job "${{@:5}}" > "$4"', script, *words)
        binds = environment.pop("binds", "")
        return self.cluster.submit(
            Path(script),
            APPTAINER_BIND=f"{self.cluster.checkout}{binds}",
            **environment,
        )


@pytest.fixture(scope="module")
def desk(cluster, tmp_path_factory) -> Iterator[Desk]:
    wheels = tmp_path_factory.mktemp("wheels")
    wheel(wheels, "good", "1.0", "jax>=0.10", "helper", scripts=["good-tool"])
    wheel(wheels, "helper", "2.0")
    wheel(wheels, "old", "1.0", "jax<0.9")
    # A package of another name that has a module of the image's.
    wheel(wheels, "impostor", "9.9", module="opt_einsum")
    folder = f"/home/hpc/env-test-{uuid.uuid4().hex[:8]}"
    made = cluster.bash(f"mkdir -p {folder}/wheels")
    assert 0 == made.returncode, made.stderr
    for path in wheels.glob("*.whl"):
        text = base64.b64encode(path.read_bytes()).decode()
        words = ("sh", "-c", 'base64 -d > "$0"', f"{folder}/wheels/{path.name}")
        assert 0 == cluster.run(*words, text_in=text).returncode
    desk = Desk(cluster, folder)
    desk.must(f"{CREATE} my.sqsh good impostor")
    yield desk
    cluster.run("rm", "-rf", folder)


def program(cluster) -> str:
    return str(cluster.checkout / "tests/cluster/programs/with_packages.py")


def test_packages_and_their_programs_are_there(desk):
    show = "import good, shutil; print(good.__file__, shutil.which('good-tool'))"

    for start in (
        "jax-python --packages my.sqsh",
        "JAX_SIF_PACKAGES=my.sqsh jax-python",
    ):
        assert f"{PLACE}/good/__init__.py /opt/jax-sif/env/bin/good-tool\n" == (
            desk.must(f'{start} -c "$4"', show)
        )
    assert "good 1.0\n" == desk.must(
        "jax-python --packages my.sqsh -c 'import subprocess;"
        ' subprocess.run(["good-tool"], check=True)\''
    )


def test_what_it_does_is_said_in_a_line(desk):
    done = desk.bash("JAX_SIF_VERBOSE=1 jax-python --packages my.sqsh -c 'pass'")

    assert (
        "jax-sif entry: packages of my.sqsh (made for this image; behind its own)\n"
        in done.stderr
    )


def test_modules_of_the_image_win(desk):
    show = "import opt_einsum; from importlib.metadata import version as v; print(v('impostor'))"

    out = desk.must(
        f'jax-python --packages my.sqsh -c "{show}; print(opt_einsum.__file__)"'
    )

    assert "9.9\n/opt/jax/lib/python3.13/site-packages/opt_einsum/__init__.py\n" == out


def test_nothing_comes_from_the_home(desk):
    leak = "$HOME/.local/lib/python3.13/site-packages"
    show = "import sys, importlib.util as u; print(u.find_spec('leaky'), sys.path[-1])"

    out = desk.must(
        f'mkdir -p "{leak}"; touch "{leak}/leaky.py"\n'
        f'jax-python --packages my.sqsh -c "{show}"\nrm "{leak}/leaky.py"'
    )

    assert f"None {PLACE}\n" == out


def test_a_conflict_names_both_sides_and_leaves_nothing(desk):
    done = desk.bash(f"{CREATE} old.sqsh old; ls")

    assert 1 == done.returncode
    assert "old 1.0 requires jax<0.9; the image has jax 0." in done.stderr
    assert "old.sqsh" not in desk.must("ls -a")


def test_the_same_wheels_make_the_same_file(desk):
    out = desk.must(
        f"{CREATE} again.sqsh good impostor > /dev/null; sha256sum my.sqsh again.sqsh"
    )

    one, other = (line.split()[0] for line in out.splitlines())
    assert one == other


def test_its_content_and_whether_it_fits_are_shown(desk):
    assert "good      1.0  requested\nhelper    2.0\nimpostor  9.9  requested\n" == (
        desk.must("jax-sif packages list my.sqsh")
    )
    assert "on top of  jax-sif-" in desk.must("jax-sif packages info my.sqsh")
    assert "my.sqsh: fits jax-sif-" in desk.must("jax-sif packages check my.sqsh")
    desk.must(
        "jax-sif packages freeze my.sqsh > mine.txt\n"
        f"{CREATE} frozen.sqsh -r mine.txt > /dev/null"
    )


def test_another_image_is_refused_unless_one_says_so(desk):
    start = "jax-python --packages my.sqsh -c 'import good; print(good.__name__)'"
    refused = desk.bash(OTHER_IMAGE + start)
    forced = desk.bash(f"{OTHER_IMAGE}export JAX_SIF_PACKAGES_ANY_IMAGE=1\n{start}")
    checked = desk.bash(f"{OTHER_IMAGE}jax-sif packages check my.sqsh")

    assert (1, "") == (refused.returncode, refused.stdout)
    assert "the packages in my.sqsh were made for " in refused.stderr
    assert (0, "good\n") == (forced.returncode, forced.stdout), forced.stderr
    assert 1 == checked.returncode
    assert ", here 1.0\n  -> create them again on this image" in checked.stdout


def test_what_is_no_file_of_packages_is_refused(desk):
    missing = desk.bash("jax-python --packages no.sqsh -c pass")
    text = desk.bash("echo text > text.sqsh; jax-sif packages info text.sqsh")

    assert (2, True) == (missing.returncode, "'no.sqsh'" in missing.stderr)
    assert (2, True) == (text.returncode, "not a squashfs file" in text.stderr)


def test_a_job_on_two_nodes_has_them_in_every_rank(desk, cluster):
    job = desk.submit(
        "", "G4N2p4", "--packages", f"{desk.folder}/my.sqsh", program(cluster)
    )

    assert 0 == job.status, job.output
    for rank in range(4):
        assert f"rank {rank}: {PLACE}/good/__init__.py" in job.output
    assert "PASS  G4N2p4" in job.output


def test_a_staged_job_runs_from_copies_of_image_and_packages_and_removes_them(
    desk, cluster
):
    words = ("--stage", "--packages", f"{desk.folder}/my.sqsh", program(cluster))
    job = desk.submit("", "G2N2p2", *words, JAX_SIF_VERBOSE="1")

    assert 0 == job.status, job.output
    assert 2 == len(re.findall(r"packages of /tmp/jax-sif-\d+-0\.sqsh ", job.output))
    assert 2 == job.output.count(f"{PLACE}/good/__init__.py")
    for node in ("node1", "node2"):
        assert "jax-sif-" not in cluster.on(node, "ls", "/tmp")


def test_a_job_with_packages_of_another_image_ends_before_its_ranks_start(
    desk, cluster
):
    desk.must(OTHER_IMAGE)

    job = desk.submit(
        *("", "G2N2p2", "--packages", f"{desk.folder}/my.sqsh", program(cluster)),
        binds=f",{desk.folder}/other.txt:/opt/jax-sif/packages.txt",
    )

    assert 1 == job.status
    assert job.verdict.startswith("FAIL  G2N2p2: the packages were made for jax-sif-")
    assert "rank 0" not in job.output


def test_other_packages_on_one_node_are_a_finding(desk, cluster):
    desk.must(
        f"{CREATE} more.sqsh good ./wheels/helper-2.0-py3-none-any.whl > /dev/null"
    )
    for node, name in (("node1", "my"), ("node2", "more")):
        cluster.on(
            node, "install", "-m644", f"{desk.folder}/{name}.sqsh", "/tmp/p.sqsh"
        )

    job = desk.submit("", "G2N2p2", "--packages", "/tmp/p.sqsh", program(cluster))

    assert 1 == job.status
    assert ("packages-differs", [1]) == job.cause, job.output


def test_launch_gives_them_to_its_ranks(desk):
    out = desk.must(
        "jax-sif launch --packages my.sqsh G2N2p2 -- python -c 'import good; print(good.__file__)'"
    )

    assert 2 == out.count(f"{PLACE}/good/__init__.py")
