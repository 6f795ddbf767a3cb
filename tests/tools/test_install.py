"""`make install` from a small pretended checkout: what lands where, and what is refused."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import build_run
import install
import pytest
from build_run import BuildError
from versions import UsageError, image_name

import modulefiles


@pytest.fixture(autouse=True)
def own_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a CPU and a CUDA 12 image of a few bytes."""
    root = tmp_path / "a checkout"
    for folder in ("bin", "diag", "examples", "jobs", "modulefiles/jax-sif", "build"):
        (root / folder).mkdir(parents=True)
    for name in (
        "diag/allreduce.py",
        "jobs/allreduce.slurm",
        "modulefiles/jax-sif/.generic.lua",
        "LICENSE",
        "README.md",
    ):
        (root / name).write_text(name)
    (root / "bin/jax-sif").write_text("#!/bin/sh\n")
    (root / "bin/jax-sif").chmod(0o700)
    for accel in ("cpu", "cuda12"):
        image = root / "build" / f"{image_name(accel)}.sif"
        image.write_text(f"image {accel}")
        build_run.facts_file(image).write_text("{}")
    monkeypatch.setattr(install, "CHECKOUT", root)
    return root


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "a centre"


def tree(prefix: Path) -> dict[str, str]:
    """Every file of a tree with its text, or where it points to."""
    return {
        str(path.relative_to(prefix)): str(path.readlink())
        if path.is_symlink()
        else path.read_text()
        for path in prefix.rglob("*")
        if not path.is_dir()
    }


def default(prefix: Path) -> str:
    return (prefix / "modulefiles/jax-sif/.modulerc.lua").read_text().splitlines()[-1]


@pytest.fixture
def key(checkout: Path) -> Path:
    """What `make sign` leaves beside an image."""
    key = build_run.key_file(checkout / "build" / f"{image_name('cpu')}.sif")
    key.write_text("a public key")
    return key


def test_the_key_of_a_signed_image_goes_with_it(checkout, prefix, key) -> None:
    install.install("cpu", prefix)

    assert "a public key" == tree(prefix)[f"images/{key.name}"]


def test_no_unsigned_image_takes_the_place_of_a_signed_one(
    checkout, prefix, key, golden
) -> None:
    install.install("cpu", prefix)
    before = tree(prefix)
    key.unlink()
    (checkout / "build" / f"{image_name('cpu')}.sif").write_text("another image")

    with pytest.raises(UsageError) as raised:
        install.install("cpu", prefix)

    text = str(raised.value).replace(image_name("cpu"), "IMAGE")
    golden("install-unsigned", text.replace(str(checkout.parent), "DIR"))
    assert before == tree(prefix)


def test_everything_a_user_needs_is_there(checkout: Path, prefix: Path) -> None:
    install.install("cpu", prefix)

    version, name = modulefiles.module_version("cpu"), image_name("cpu")
    found = tree(prefix)
    assert "image cpu" == found.pop(f"images/{name}.sif")
    assert ".generic.lua" == found.pop(f"modulefiles/jax-sif/{version}.lua")
    assert {
        f"images/{name}.sif.json",
        "bin/jax-sif",
        "diag/allreduce.py",
        "jobs/allreduce.slurm",
        "modulefiles/jax-sif/.generic.lua",
        "modulefiles/jax-sif/.modulerc.lua",
        "LICENSE",
        "README.md",
    } == set(found)


def test_under_a_private_umask_everyone_can_read_it(
    checkout: Path, prefix: Path
) -> None:
    install.install("cpu", prefix)

    for path in (prefix, *prefix.rglob("*")):
        executable = path.is_dir() or path.parent.name == "bin"
        wanted = 0o755 if executable else 0o644
        if not path.is_symlink():
            assert wanted == stat.S_IMODE(path.stat().st_mode), path


def test_a_second_version_keeps_the_first_and_the_default(
    checkout: Path, prefix: Path
) -> None:
    install.install("cpu", prefix)
    before = tree(prefix)
    install.install("cuda12", prefix)

    assert before.items() <= tree(prefix).items()
    assert f"images/{image_name('cuda12')}.sif" in tree(prefix)
    assert f"jax-sif/{modulefiles.module_version('cpu')}" in default(prefix)


def test_the_first_version_is_the_default(checkout: Path, prefix: Path) -> None:
    install.install("cuda12", prefix)

    version = modulefiles.module_version("cuda12")
    assert f'module_version("jax-sif/{version}", "default")' == default(prefix)


def test_installing_again_leaves_an_equal_image_alone(
    checkout: Path, prefix: Path
) -> None:
    install.install("cpu", prefix)
    image = prefix / "images" / f"{image_name('cpu')}.sif"
    first = image.stat().st_ino
    image.chmod(0o600)
    install.install("cpu", prefix)

    assert first == image.stat().st_ino
    assert 0o644 == stat.S_IMODE(image.stat().st_mode)


def test_a_new_build_takes_the_place_of_the_old_whole(
    checkout: Path, prefix: Path
) -> None:
    install.install("cpu", prefix)
    image = prefix / "images" / f"{image_name('cpu')}.sif"
    with image.open() as in_use:
        (checkout / "build" / image.name).write_text("a new image")
        install.install("cpu", prefix)

        assert "image cpu" == in_use.read()
    assert "a new image" == image.read_text()


@pytest.mark.parametrize("suffix", [".sif", ".sif.json"])
def test_without_an_image_it_says_how_to_build_it(
    checkout: Path, prefix: Path, suffix: str
) -> None:
    (checkout / "build" / f"{image_name('cpu')}{suffix}").unlink()

    with pytest.raises(UsageError, match="make build-image ACCEL=cpu"):
        install.install("cpu", prefix)
    assert not prefix.exists()


def test_an_unknown_accelerator_is_refused(checkout: Path, prefix: Path) -> None:
    with pytest.raises(UsageError, match="did you mean cuda12"):
        install.install("cuda21", prefix)


def test_too_little_space_is_found_before_a_byte_is_written(
    checkout: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5))

    with pytest.raises(BuildError, match=r"0\.000 GB"):
        install.install("cpu", prefix)
    assert not prefix.exists()


@pytest.mark.parametrize(
    "stop", [OSError(errno.ENOSPC, "No space left on device"), build_run.Interrupted(2)]
)
def test_a_copy_that_stops_leaves_nothing_half_written(
    checkout: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch, stop: Exception
) -> None:
    def copy_some(_: Path, target: Path) -> None:
        target.write_text("ima")
        raise stop

    monkeypatch.setattr(shutil, "copyfile", copy_some)

    with pytest.raises((BuildError, build_run.Interrupted)):
        install.install("cpu", prefix)
    assert {} == tree(prefix)


def test_a_folder_that_cannot_be_written_is_named(
    checkout: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)

    message = rf"cannot write to '{prefix}/images': Permission denied; .* PREFIX="
    with pytest.raises(BuildError, match=message):
        install.install("cpu", prefix)


def test_a_file_in_the_place_of_the_folder_is_named(
    checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(BuildError, match="cannot write to"):
        install.install("cpu", tmp_path / "file")


def test_the_last_words_are_what_users_type(
    checkout: Path, prefix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install.install("cpu", prefix)
    said = capsys.readouterr().out

    assert f"module use '{prefix}/modulefiles'\n" in said
    assert f"module load jax-sif/{modulefiles.module_version('cpu')}\n" in said


def test_a_folder_that_keeps_others_out_is_named(
    checkout: Path, prefix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix.mkdir(parents=True)
    install.install("cpu", prefix)

    assert f"{prefix}: chmod" in capsys.readouterr().out
