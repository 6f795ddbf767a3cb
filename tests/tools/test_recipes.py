"""Both recipes make the same image, as far as their text shows; nothing is built."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import build_context
import pytest
import versions
from spython.main.parse.parsers import DockerParser, SingularityParser

RECIPE = versions.CHECKOUT / "Singularity.def"
DOCKERFILE = versions.CHECKOUT / "Dockerfile"


def default_arguments() -> dict[str, str]:
    section = RECIPE.read_text().partition("%arguments\n")[2].partition("\n\n")[0]
    return dict(line.strip().split("=", 1) for line in section.splitlines())


@pytest.fixture(scope="module")
def singularity(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The recipe as spython reads it, with its holes filled by their defaults."""
    values = default_arguments()
    rendered = tmp_path_factory.mktemp("recipe") / "Singularity.def"
    text = re.sub(r"\{\{ (\w+) \}\}", lambda hole: values[hole[1]], RECIPE.read_text())
    rendered.write_text(text)
    return SingularityParser(str(rendered)).recipe["spython-base"]


@pytest.fixture(scope="module")
def docker() -> Any:
    return DockerParser(str(DOCKERFILE)).recipe["spython-base"]


def variables(lines: list[str]) -> dict[str, str]:
    """Name and default of each variable; `${NAME:-x}` and the rest of PATH cut off."""
    found = {}
    for line in lines:
        name, _, value = line.partition("=")
        default = re.fullmatch(r"\$\{(\w+):-(.*)\}", value.strip('"'))
        found[name] = default[2] if default else value.strip('"')
    return found


def test_every_hole_of_the_template_has_a_default() -> None:
    holes = set(re.findall(r"\{\{ (\w+) \}\}", RECIPE.read_text()))

    assert holes == set(default_arguments())


def test_the_template_is_built_on_the_pinned_base_by_default() -> None:
    defaults = default_arguments()

    assert defaults["BOOTSTRAP"] == "docker"
    assert defaults["FROM"] == versions.base_reference()
    assert defaults["BASE"] == versions.base_name()
    assert defaults["ACCEL"] == versions.DEFAULT_ACCELERATOR


def test_the_base_is_one_image_whatever_its_tag_becomes() -> None:
    digest = versions.pins()["BASE_DIGEST"]

    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert versions.base_reference().endswith(f"@{digest}")
    # Not every program takes both.
    assert ":" not in versions.base_reference().partition("@")[0]
    assert versions.base_name() == f"{versions.pins()['BASE_IMAGE']}@{digest}"


def test_the_dockerfile_repeats_no_version() -> None:
    named = "FROM ${BASE_IMAGE}${BASE_DIGEST:+@}${BASE_DIGEST}\n"
    assert named in DOCKERFILE.read_text()
    assert not re.findall(r"\d+\.\d+", DOCKERFILE.read_text().replace("-2.0", ""))


def test_both_recipes_copy_the_same_files(singularity: Any, docker: Any) -> None:
    accel = default_arguments()["ACCEL"]
    copied = [
        " ".join(pair).replace("${ACCEL}", accel).split() for pair in docker.files
    ]

    assert [line.split() for line in singularity.files] == copied


def test_both_recipes_copy_what_the_build_hands_them(singularity: Any) -> None:
    sources = {line.split()[0] for line in singularity.files}
    handed = {*build_context.FILES, *build_context.TREES} - {
        "Dockerfile",
        "Singularity.def",
    }

    assert sources == handed | {f"requirements/{default_arguments()['ACCEL']}.txt"}


def test_both_recipes_set_the_same_variables(singularity: Any, docker: Any) -> None:
    ours, theirs = variables(singularity.environ), variables(docker.environ)
    prefix = ours.pop("PATH").removesuffix(":$PATH")

    assert theirs.pop("PATH").startswith(prefix + ":/usr/local/sbin")
    assert ours == theirs


def test_the_environment_never_overrides_the_caller(singularity: Any) -> None:
    overriding = [
        line
        for line in singularity.environ
        if not re.fullmatch(r'(\w+)="\$\{\1:-[^}]*\}"', line)
        and line != 'PATH="/opt/jax/bin:/opt/jax-sif/bin:/opt/jax-sif/env/bin:$PATH"'
    ]

    assert overriding == []


def test_no_tuning_of_xla_or_nccl_is_baked_in() -> None:
    text = RECIPE.read_text() + DOCKERFILE.read_text()

    assert not re.findall(r"(?:export|ENV) (?:XLA|NCCL|JAX)_\w+", text)


def test_both_recipes_start_programs_through_the_entry(
    singularity: Any, docker: Any
) -> None:
    assert singularity.cmd == 'exec /opt/jax-sif/lib/jaxsif/entry "$@"'
    assert docker.entrypoint == ["/opt/jax-sif/lib/jaxsif/entry"]


def test_both_recipes_have_the_same_fixed_labels(singularity: Any, docker: Any) -> None:
    ours = dict(line.split(" ", 1) for line in singularity.labels)
    theirs = dict(shlex.split(label[0])[0].split("=", 1) for label in docker.labels)
    # Apptainer would write the hour of the build there; other engines know no such label.
    assert ours.pop("org.label-schema.build-date") == "unknown"

    assert ours == theirs
    assert ours["org.opencontainers.image.title"] == "jax-sif"


def test_both_recipes_leave_the_work_to_the_same_script(
    singularity: Any, docker: Any
) -> None:
    script = "sh /opt/jax-sif/recipe/image_post.sh"
    ours = [line for line in singularity.install if "/tests.sh" not in line]

    accel, base = default_arguments()["ACCEL"], default_arguments()["BASE"]
    assert ours == [f"{script} {accel} unknown {base}"]
    assert f'{script} "$ACCEL" "$REVISION" "$BASE"' in docker.install


def test_the_dockerfile_adds_nothing_from_elsewhere() -> None:
    text = DOCKERFILE.read_text()

    assert not re.findall(r"^ADD |:latest|curl|wget", text, re.MULTILINE)


def test_the_ignore_file_lets_through_what_the_dockerfile_copies(docker: Any) -> None:
    lines = (versions.CHECKOUT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
    sources = {source.replace("${ACCEL}", "*") for source, _ in docker.files}

    assert "*" in lines
    assert allowed == sources


@pytest.mark.parametrize(("name", "value"), [("DEBIAN_SNAPSHOT", ""), ("STRICT", "1")])
def test_the_content_changes_with_what_is_chosen_of_debian(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    before = build_context.content_hash("cpu", "registry")
    monkeypatch.setenv(name, value)

    assert build_context.content_hash("cpu", "registry") != before


def test_the_content_changes_with_the_kit_and_with_choices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in build_context.files("cpu"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((versions.CHECKOUT / name).read_bytes())
    before = build_context.content_hash("cpu", "registry")
    monkeypatch.setattr(versions, "CHECKOUT", tmp_path)
    monkeypatch.setattr(versions.lock_path, "__defaults__", (tmp_path,))

    assert build_context.content_hash("cpu", "registry") == before
    assert build_context.content_hash("cpu", "local") != before
    (tmp_path / "image.env").write_text("JAX_SIF_VERSION=9\n")
    assert build_context.content_hash("cpu", "registry") != before
