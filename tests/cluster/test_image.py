"""The real CPU images, SIF and OCI, built and looked into; runs where the mini cluster runs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import versions

MINICLUSTER = versions.CHECKOUT / "minicluster/minicluster"
# The only base that every machine can have.
BASE = "local"
LIMIT_S = 1200


@dataclass(frozen=True)
class Image:
    """A SIF, and the folder that the toolbox must be shown to see it."""

    path: Path

    def toolbox(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        words = [MINICLUSTER, "toolbox", "--bind", self.path.parent, "--", *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S)

    def apptainer(self, *verb: str, command: tuple[str, ...] = ()) -> str:
        """What `apptainer VERB [OPTION...] IMAGE [COMMAND...]` prints."""
        done = self.toolbox("apptainer", "--silent", *verb, self.path, *command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, *command: str) -> str:
        """What a command prints that runs in the image, without its entry."""
        return self.apptainer("exec", "--cleanenv", command=command)

    def python(self, program: str) -> str:
        return self.run("/opt/jax/bin/python", "-c", program)

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("cat", "/opt/jax-sif/image.json"))
        return found

    def labels(self) -> dict[str, str]:
        """The labels that the recipes set, and none that a program adds."""
        answer = json.loads(self.apptainer("inspect", "--json", "--labels"))
        found = answer["data"]["attributes"]["labels"]
        own = ("org.opencontainers.image.", "jax-sif.")
        return {name: value for name, value in found.items() if name.startswith(own)}


def run_tool(name: str, *words: str | Path, **variables: str) -> Any:
    return subprocess.run(
        [sys.executable, versions.CHECKOUT / "tools" / name, *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, **variables},
    )


def built(tool: str, suffix: str) -> Path:
    """The CPU image of this checkout; the tool returns at once if it is up to date."""
    done = run_tool(tool, "--accel=cpu", f"--base={BASE}")
    assert done.returncode == 0, done.stdout + done.stderr
    return versions.CHECKOUT / "build" / f"{versions.image_name('cpu')}{suffix}"


@pytest.fixture(scope="module")
def sif() -> Image:
    return Image(built("build_image.py", ".sif"))


@pytest.fixture(scope="module")
def oci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The OCI image, turned into a SIF so that the same commands look into it."""
    archive = built("build_oci.py", ".oci.tar")
    image = Image(tmp_path_factory.mktemp("oci") / "image.sif")
    quick = ("--mksquashfs-args", "-comp zstd -Xcompression-level 1")
    words = ("apptainer", "build", *quick, image.path, f"oci-archive:{archive}")
    done = image.toolbox(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    yield image
    image.path.unlink()


def test_the_image_passes_its_own_test(sif: Image) -> None:
    assert "image test: pass (cpu)" in sif.apptainer("test")


def test_any_user_can_run_it_and_no_one_can_change_it(sif: Image) -> None:
    other = "setpriv --reuid=54321 --regid=54321 --clear-groups apptainer --silent"
    done = sif.toolbox(
        "sh",
        "-ec",
        "useradd --no-create-home --home-dir=/tmp --uid=54321 someone\n"
        f'{other} test "$1"\n'
        f'{other} exec --contain --no-home "$1" sh -c "id --user; touch /opt/file"',
        "sh",
        str(sif.path),
    )

    assert "image test: pass (cpu)" in done.stdout
    assert done.stdout.endswith("54321\n")
    assert "Read-only file system" in done.stderr


def test_running_it_without_words_says_what_it_holds(sif: Image) -> None:
    text = sif.apptainer("run")

    assert versions.jax_version("cpu") in text
    assert "jax-sif info" in text


def test_a_program_that_fails_ends_the_run_with_its_status(sif: Image) -> None:
    command = ("apptainer", "run", sif.path, "python", "-c", "raise SystemExit(7)")

    assert sif.toolbox(*command).returncode == 7


def test_the_manifest_has_what_was_built(sif: Image) -> None:
    manifest = sif.manifest()

    assert manifest["accel"] == "cpu"
    assert manifest["kit"] == versions.pins()["JAX_SIF_VERSION"]
    assert manifest["versions"].items() >= versions.component_versions("cpu").items()
    assert re.fullmatch(r"(unknown|[0-9a-f]{40})(-dirty)?", manifest["revision"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest["built"])


def test_info_prints_the_same_as_json(sif: Image) -> None:
    printed = json.loads(sif.run("jax-sif", "info", "--format=json"))

    assert printed.items() >= {"accel": "cpu", "built": sif.manifest()["built"]}.items()


def test_everything_is_byte_compiled_and_stays_valid(sif: Image) -> None:
    program = """
import pathlib, importlib.util, sysconfig
stdlib = pathlib.Path(sysconfig.get_path("stdlib"))
roots = "/opt/jax/lib", "/opt/jax-sif/lib", "/opt/jax-sif/diag", stdlib
files = [f for root in roots for f in pathlib.Path(root).rglob("*.py")]
def flags(file):
    cached = pathlib.Path(importlib.util.cache_from_source(str(file)))
    return cached.read_bytes()[4] if cached.exists() else None
UNCHECKED_HASH = 1
print(len(files) > 1000, [str(f) for f in files if flags(f) != UNCHECKED_HASH])
"""
    assert sif.python(program) == "True []\n"


def test_everything_in_the_image_has_the_time_of_its_sources(sif: Image) -> None:
    built = sif.manifest()["built"]
    # Apptainer binds /var/tmp.
    places = "/opt /usr /var/lib /etc/debian_version /.singularity.d/labels.json"
    times = sif.run("sh", "-c", f"find {places} -xdev -printf '%TFT%TTZ\\n' | sort -u")

    assert times.replace(".0000000000Z", "Z").splitlines() == [built]


def test_the_manifest_has_the_origin_of_the_system(sif: Image) -> None:
    manifest = sif.manifest()

    assert re.fullmatch(r"local:trixie@sha256:[0-9a-f]{64}", manifest["base"])
    assert versions.pins()["DEBIAN_SUITE"] in manifest["debian_archives"]
    assert manifest["debian_packages"]["libibverbs1:amd64"]
    differ = bool(manifest["debian_differences"])
    assert differ == (manifest["debian_lock"] != "same")


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_a_bill_of_materials_that_is_not_so_fails_the_images_test(
    sif: Image, tmp_path: Path, change: str
) -> None:
    bill = json.loads(sif.run("jax-sif", "info", "--sbom"))
    if change == "missing":
        bill["components"].pop()
    else:
        bill["components"].append({"bom-ref": "pkg:pypi/more@1", "purl": "more@1"})
    file = tmp_path / "sbom.json"
    file.write_text(json.dumps(bill))
    tmp_path.chmod(0o755)

    words = [
        MINICLUSTER,
        "toolbox",
        "--bind",
        sif.path.parent,
        "--bind",
        tmp_path,
        "--",
    ]
    words += ["apptainer", "--silent", "test"]
    words += ["--bind", f"{file}:/opt/jax-sif/sbom.cdx.json", sif.path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S)

    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert done.returncode == 1
    assert len(failed) == 1 and "bill of materials" in failed[0]


def test_two_builds_of_one_revision_are_the_same_file() -> None:
    done = run_tool("reproducible.py", "--accel=cpu", f"--base={BASE}")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_holds_few_files_and_no_caches(sif: Image) -> None:
    count = sif.run("sh", "-c", "find / -xdev 2> /dev/null | wc -l")
    left = sif.run("sh", "-c", "ls -A /mnt /var/lib/apt/lists")

    assert int(count) < 12_000
    assert left == "/mnt:\n\n/var/lib/apt/lists:\n"


def test_no_certificate_or_index_of_the_building_machine_stays(sif: Image) -> None:
    files = "/etc/apt/apt.conf.d /etc/pip.conf /root /opt/jax/pip.conf /opt/jax-sif"
    search = f"grep -rlE '/mnt/ca-bundle|PIP_INDEX_URL=' {files} 2> /dev/null"
    found = sif.run("sh", "-c", f"{search} | sort")

    assert found == "/opt/jax-sif/recipe/image_post.sh\n"


def test_spython_inspects_the_image(
    sif: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spython.main import Client

    for name in ("apptainer", "singularity"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nexec {MINICLUSTER} toolbox -- apptainer "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    found = Client.inspect(str(sif.path))["attributes"]

    recipe = (versions.CHECKOUT / "Singularity.def").read_text()
    helped = recipe.partition("%help\n")[2].strip()
    environment = recipe.partition("%environment\n")[2].partition("\n\n")[0]
    assert found["labels"]["jax-sif.jax"] == versions.jax_version("cpu")
    assert found["helpfile"].strip() == helped
    assert environment.strip() in "".join(found["environment"].values())
    assert "%post\n    sh /opt/jax-sif/recipe/image_post.sh cpu " in found["deffile"]


@pytest.mark.parametrize(
    "command",
    [
        ("dpkg-query", "--show"),
        ("/opt/jax/bin/python", "-m", "pip", "freeze", "--all"),
        ("find", "/opt", "-printf", "%M %p -> %l\\n"),
        ("find", "/usr", "-xdev", "-printf", "%y %p -> %l\\n"),
        ("cat", "/etc/debian_version", "/opt/jax-sif/recipe/image.env"),
    ],
    ids=["Debian packages", "Python packages", "paths", "system paths", "pins"],
)
def test_both_images_hold_the_same(
    sif: Image, oci: Image, command: tuple[str, ...]
) -> None:
    ours, theirs = (image.run(*command) for image in (sif, oci))

    assert sorted(ours.splitlines()) == sorted(theirs.splitlines())


def test_both_images_set_the_same_variables(sif: Image, oci: Image) -> None:
    def variables(image: Image) -> set[str]:
        lines = image.run("env").splitlines()
        name = re.compile(r"(APPTAINER|SINGULARITY)_(CONTAINER|NAME)=")
        return {line for line in lines if not name.match(line)}

    assert variables(sif) == variables(oci)
    assert "PYTHONNOUSERSITE=1" in variables(oci)


def test_both_images_have_the_same_labels(sif: Image, oci: Image) -> None:
    ours, theirs = sif.labels(), oci.labels()
    for labels in (ours, theirs):
        assert labels.pop("org.opencontainers.image.created")
        assert labels.pop("org.opencontainers.image.revision")

    assert ours == theirs


def test_both_images_give_the_same_info(sif: Image, oci: Image) -> None:
    def info(image: Image) -> dict[str, Any]:
        found = json.loads(image.run("jax-sif", "info", "--format=json"))
        return {k: v for k, v in found.items() if k not in ("built", "revision")}

    ours, theirs = info(sif), info(oci)
    # Debian publishes a few times a day, perhaps between the two builds.
    if ours.pop("debian_archives") != theirs.pop("debian_archives"):
        for found in (ours, theirs):
            del found["debian_lock"], found["debian_differences"]
            found["debian_packages"] = sorted(found["debian_packages"])

    assert ours == theirs


def test_the_caller_can_change_a_default_of_both(sif: Image, oci: Image) -> None:
    # Apptainer lets the image win over a plain variable of the host, `:-` or not.
    for image in (sif, oci):
        shown = image.apptainer(
            "exec", "--env", "LC_ALL=POSIX", command=("printenv", "LC_ALL")
        )

        assert shown == "POSIX\n"


def test_an_interrupted_build_leaves_nothing_under_the_final_name(
    tmp_path: Path,
) -> None:
    words = [sys.executable, versions.CHECKOUT / "tools/build_image.py"]
    words += ["--accel=cpu", f"--base={BASE}", f"--output={tmp_path}"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    log = tmp_path / f"{versions.image_name('cpu')}.log"
    deadline_s = time.monotonic() + 120
    while not (log.exists() and "==> Debian packages" in log.read_text()):
        assert time.monotonic() < deadline_s and process.poll() is None
        time.sleep(0.2)

    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM
    assert b"nothing half-built is left" in errors
    # A process that waits for a lock holds its file open, so a lock file always stays.
    lock = f".{log.stem}.sif.lock"
    assert {path.name for path in tmp_path.iterdir()} == {log.name, lock}
