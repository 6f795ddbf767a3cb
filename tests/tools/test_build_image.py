"""The build tools as far as they go without building: choices, messages, whole files."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import build_context
import build_image
import build_oci
import build_run
import image_debian
import image_manifest
import pytest
import versions
from builder import MINICLUSTER, Builder

BUILDER = Builder("someone", os.getuid(), os.getgid(), Path("/home/x"), Path("/cache"))
TIMES = "-mkfs-time 7 -all-time 7"
KNOWS_ALL = "--build-arg --mksquashfs-args"
LOCAL = build_image.Base("localimage", "/cache/tree", "local:trixie@sha256:0")


def words_of(command: list[str], option: str) -> list[str]:
    return [command[i + 1] for i, word in enumerate(command) if word == option]


def command_for(
    scratch: Path, runtime: build_image.Runtime, *arguments: str
) -> list[str]:
    options = build_image.parse(["--accel=cpu", *arguments])
    return build_image.build_command(scratch, BUILDER, runtime, LOCAL, options)


@pytest.mark.parametrize("tool", [build_image.main, build_oci.main])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--accel=cuda14"], "choose one of cuda12, cuda13, cpu; did you mean cuda1"),
        (["--accel=cpu", "--base=lcoal"], "BASE='lcoal' is no base; choose registry"),
    ],
)
def test_a_mistyped_choice_is_wrong_usage_and_names_the_choices(
    tool: Callable[[list[str]], int],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tool(arguments) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_compression_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIF_COMPRESSION", "lz4")

    assert build_image.main(["--accel=cpu"]) == 2
    assert "'lz4' is no compression" in capsys.readouterr().err


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(versions.UsageError, match="from CA_BUNDLE"):
        build_context.find_bundle(str(tmp_path / "none.crt"))


def test_the_machine_s_own_certificates_are_used_when_none_are_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "site.crt"
    bundle.write_text("certificates")
    monkeypatch.setenv("PIP_CERT", str(bundle))

    found = build_context.find_bundle(None)

    assert found == build_context.Bundle(bundle, "pip's setting 'cert'")


def test_what_the_machine_lends_is_not_part_of_the_context(tmp_path: Path) -> None:
    certificates = tmp_path / "site.crt"
    certificates.write_text("certificates")
    bundle = build_context.Bundle(certificates, "CA_BUNDLE")

    build_context.copy("cpu", tmp_path / "context")
    build_context.lend(tmp_path / "lent", bundle, built_s=7)

    context = [path for path in (tmp_path / "context").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in context} == {0o644}
    assert not [path for path in context if "__pycache__" in path.parts]
    assert (tmp_path / "lent/ca-bundle.crt").read_text() == "certificates"
    assert "SOURCE_DATE_EPOCH=7\n" in (tmp_path / "lent/settings.sh").read_text()
    assert "CaInfo" in (tmp_path / "lent/apt.conf").read_text()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEBIAN_SNAPSHOT", "2026-11-29"),
        ("DEBIAN_SNAPSHOT_URI", "http://mirror.example/debian"),
        ("STRICT", "yes"),
    ],
)
def test_a_mistyped_choice_of_debian_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(versions.UsageError, match=f"{variable}='{value}'"):
        build_context.debian_settings()


def test_what_is_chosen_of_debian_reaches_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBIAN_SNAPSHOT", "20260101T000000Z")
    monkeypatch.setenv("STRICT", "1")

    build_context.lend(tmp_path / "lent", None, built_s=7)

    lines = (tmp_path / "lent/settings.sh").read_text().splitlines()
    assert "export DEBIAN_SNAPSHOT=20260101T000000Z" in lines
    assert "export JAX_SIF_STRICT=1" in lines


@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_base_without_a_digest_is_said_and_with_strict_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], strict: str
) -> None:
    pins = {**versions.pins(), "BASE_DIGEST": ""}
    monkeypatch.setattr(versions, "pins", lambda *_: pins)
    monkeypatch.setenv("STRICT", strict)

    if strict == "1":
        with pytest.raises(build_run.BuildError, match="BASE_DIGEST"):
            build_image.find_base("registry")
    else:
        base = build_image.find_base("registry")
        assert (pins["BASE_IMAGE"],) * 2 == (base.source, base.name)
        assert "WARNING" in capsys.readouterr().out


def git(folder: Path, *words: str) -> None:
    own = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True)


def test_the_time_of_an_image_is_that_of_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1700000000 +0000")
    names = build_context.files("cpu")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((versions.CHECKOUT / name).read_bytes())
        os.utime(tmp_path / name, (5, 5))
    monkeypatch.setattr(versions, "CHECKOUT", tmp_path)
    monkeypatch.setattr(versions.lock_path, "__defaults__", (tmp_path,))

    os.utime(tmp_path / names[0], (7, 7))
    assert 7 == build_context.build_time_s("cpu")

    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    assert 1700000000 == build_context.build_time_s("cpu")

    (tmp_path / names[0]).write_text("changed")
    os.utime(tmp_path / names[0], (9, 9))
    assert 9 == build_context.build_time_s("cpu")

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "3")
    assert 3 == build_context.build_time_s("cpu")


def test_the_host_s_runtime_builds_with_fakeroot(tmp_path: Path) -> None:
    runtime = build_image.Runtime(("/usr/bin/apptainer",), KNOWS_ALL)

    command = command_for(tmp_path, runtime)

    assert command[0] == "env" and "--fakeroot" in command
    assert "ACCEL=cpu" in words_of(command, "--build-arg")
    assert "FROM=/cache/tree" in words_of(command, "--build-arg")
    assert "BASE=local:trixie@sha256:0" in words_of(command, "--build-arg")
    assert f"{tmp_path}/lent:/mnt" in words_of(command, "--bind")


def test_the_toolbox_is_shown_what_the_build_needs(tmp_path: Path) -> None:
    program = (str(MINICLUSTER), "toolbox", "--", "apptainer")

    command = command_for(tmp_path, build_image.Runtime(program, KNOWS_ALL))

    assert command[:2] == [str(MINICLUSTER), "toolbox"]
    assert f"--bind={tmp_path}" in command and "--bind=/cache/wheels" in command
    assert "--fakeroot" not in command


@pytest.mark.parametrize(
    ("compression", "help_text", "expected"),
    [
        ("zstd", KNOWS_ALL, [f"{TIMES} -comp zstd -Xcompression-level 3"]),
        ("zstd", "--build-arg", []),
        ("gzip", KNOWS_ALL, [TIMES]),
    ],
)
def test_zstd_and_one_time_are_used_where_the_runtime_can(
    tmp_path: Path,
    compression: str,
    help_text: str,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    runtime = build_image.Runtime(("/usr/bin/apptainer",), help_text)

    command = command_for(tmp_path, runtime, f"--compression={compression}")

    assert words_of(command, "--mksquashfs-args") == expected


def test_a_runtime_that_knows_no_templates_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "apptainer"
    old.write_text("#!/bin/sh\necho --sandbox\n")
    new = tmp_path / "singularity"
    new.write_text("#!/bin/sh\necho --build-arg\n")
    for program in (old, new):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert build_image.find_runtime().command == (str(new),)
    assert f"{old} cannot build templates" in capsys.readouterr().out


def test_too_little_room_is_reported_with_what_is_needed(tmp_path: Path) -> None:
    space = build_run.Space(scratch_gb=1e9, image_gb=1)

    with pytest.raises(build_run.BuildError, match="needs 1000000000") as caught:
        build_run.check_free_space("cpu", space, tmp_path, tmp_path)

    assert "JAX_SIF_CACHE" in str(caught.value)


def test_what_the_builder_must_see_is_shown_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    build_run.Stages().read(f"{image_debian.NOTE}one package differs\n")

    assert capsys.readouterr().out == "WARNING: one package differs\n"


def run_script(tmp_path: Path, script: str) -> Path:
    """Runs a shell script as if it were a build; returns its log."""
    log = tmp_path / "build.log"
    stages = build_run.Stages()
    with build_run.registry_advice(stages, "registry", "debian:trixie-slim"):
        build_run.run_stages(["sh", "-c", script], stages, log, None)
    stages.end()
    return log


def test_stages_are_found_in_the_output_and_the_output_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = run_script(tmp_path, "echo fetching; echo '==> Python packages'; echo pip")

    lines = [line.split(" s  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["base", "Python packages"]
    assert log.read_text() == "fetching\n==> Python packages\npip\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo lookup: no such host; exit 255", "use BASE=local"),
        ("echo '==> pip'; echo No space left on device; exit 1", "the disk is full"),
        ("echo '==> pip'; echo hash mismatch; exit 1", "the stage 'pip' ended"),
    ],
)
def test_a_failed_build_says_why_and_where_its_log_is(
    tmp_path: Path, script: str, message: str
) -> None:
    with pytest.raises(build_run.BuildError, match=message) as caught:
        run_script(tmp_path, script)

    assert str(tmp_path / "build.log") in str(caught.value)


def make_facts(folder: Path) -> Path:
    (folder / "facts").write_text("{}")
    return folder / "facts"


def test_an_image_appears_whole_under_its_name_and_nothing_beside_it(
    tmp_path: Path,
) -> None:
    built, image = tmp_path / "scratch/image.sif", tmp_path / "build/jax.sif"
    for path in (built, image):
        path.parent.mkdir()
    built.write_text("image")

    build_run.publish(built, make_facts(tmp_path), image, content="abc")

    assert image.read_text() == "image"
    assert stat.S_IMODE(image.stat().st_mode) == 0o755
    assert {path.name for path in image.parent.iterdir()} == {
        "jax.sif",
        "jax.sif.json",
        ".jax.sif.json",
    }
    assert build_run.is_up_to_date(image, "abc")
    assert not build_run.is_up_to_date(image, "another")


def test_an_image_that_was_changed_by_hand_is_not_up_to_date(tmp_path: Path) -> None:
    built, image = tmp_path / "built", tmp_path / "jax.sif"
    built.write_text("image")
    build_run.publish(built, make_facts(tmp_path), image, content="abc")

    image.write_text("other")

    assert not build_run.is_up_to_date(image, "abc")


def test_a_full_disk_at_the_end_leaves_the_old_image_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, image = tmp_path / "built", tmp_path / "jax.sif"
    built.write_text("new")
    image.write_text("old")

    def fill(source: str, target: str) -> None:
        Path(target).write_text("ne")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build_run.shutil, "move", fill)
    with pytest.raises(build_run.BuildError, match="No space left on device"):
        build_run.publish(built, make_facts(tmp_path), image, content="abc")

    assert image.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"built", "facts", "jax.sif"}


def test_the_scratch_of_a_killed_build_is_removed_by_the_next(tmp_path: Path) -> None:
    scratch, host = tmp_path / "scratch", socket.gethostname()
    killed = scratch / f"{host}-4194305-abc"  # above the highest process id of Linux
    running = scratch / f"{host}-{os.getpid()}-abc"
    elsewhere = scratch / "another-machine-4194305-abc"
    for folder in (killed, running, elsewhere):
        folder.mkdir(parents=True)

    with Builder("x", os.getuid(), os.getgid(), tmp_path, tmp_path).scratch() as mine:
        found = {*scratch.iterdir()}

    assert found == {running, elsewhere, mine}
    assert {*scratch.iterdir()} == {running, elsewhere}


def test_an_ordinary_user_gets_the_way_to_install_buildah(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build_oci.shutil, "which", lambda name: None)
    monkeypatch.setattr(build_oci.os, "geteuid", lambda: 1000)

    with pytest.raises(build_run.BuildError, match="sudo apt-get install"):
        build_oci.ensure_buildah()


def test_a_base_for_oci_must_be_a_tar_file(tmp_path: Path) -> None:
    with pytest.raises(versions.UsageError, match="is no tar file"):
        build_oci.find_archive(str(tmp_path))


def test_the_labels_of_oci_are_those_that_the_image_writes_itself() -> None:
    manifest: dict[str, Any] = {
        "kit": versions.pins()["JAX_SIF_VERSION"],
        "accel": "cuda13",
        "built": "2026-01-01T00:00:00Z",
        "revision": "abc",
        "versions": {"python": "3.13.5", **versions.component_versions("cuda13")},
    }

    ours = versions.image_labels("cuda13", "abc", "2026-01-01T00:00:00Z")

    assert ours == image_manifest.labels(manifest)


def test_the_first_line_of_an_images_packages_changes_with_any_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = {"accel": "cpu", "machine": "x86_64", "versions": {"jax": "1.0"}}
    text = image_manifest.packages(manifest)
    others = [
        image_manifest.packages({**manifest, "machine": "aarch64"}),
    ]
    few = list(metadata.distributions())[1:]
    monkeypatch.setattr(image_manifest.metadata, "distributions", lambda: few)
    others.append(image_manifest.packages(manifest))

    lines = text.splitlines()
    assert re.fullmatch(
        r"# [0-9a-f]{16} jax-sif-1\.0-cpu \(Python 3\.\d+, x86_64\)", lines[0]
    )
    assert f"pytest=={metadata.version('pytest')}" in lines
    assert lines[1:] == sorted(lines[1:])
    assert lines[0].split()[1] not in {other.split()[1] for other in others}
