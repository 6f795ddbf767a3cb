"""`make info`: what it prints of an image, and what it says when it cannot look into it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import info
import pytest
from build_run import BuildError
from versions import UsageError, image_name

MANIFEST = {
    "schema": 1,
    "kit": "0.1.0",
    "accel": "cpu",
    "machine": "x86_64",
    "versions": {"python": "3.13.5", "jax": "1.0"},
    "debian": "13.7",
    "built": "2026-11-21T02:15:12Z",
    "revision": "a68eec1",
    "lock_sha256": info.lock_hash("cpu"),
    "base": "docker.io/library/debian:trixie-slim@sha256:0",
    "debian_archives": {"trixie": "Sat, 21 Nov 2026 09:15:44 UTC"},
    "debian_lock": "1 packages differ",
    "debian_differences": ["libc6:amd64 2 (lock: 1)"],
    "debian_packages": {"libc6:amd64": "2"},
}
ATTRIBUTES = {
    "deffile": "Bootstrap: docker\nFrom: docker.io/library/debian:trixie-slim\n\n%post",
    "environment": {
        "90-environment.sh": "#!/bin/sh\n# Custom\n\n    export LANG=C\n    export A=b c"
    },
    "labels": {
        "org.label-schema.build-arch": "amd64",
        "org.opencontainers.image.title": "jax-sif",
        "jax-sif.jax": "1.0",
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a CPU image, whatever that is."""
    place = tmp_path / "some images"
    place.mkdir()
    (place / f"{image_name('cpu')}.sif").write_bytes(b"." * 2_000_000)
    return place


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `singularity` that knows `inspect` and `exec IMAGE cat FILE`, and warns."""
    answers = {"inspect": {"data": {"attributes": ATTRIBUTES}}, "exec": MANIFEST}
    program = tmp_path / "bin" / "singularity"
    program.parent.mkdir()
    cases = ""
    for verb, answer in answers.items():
        file = program.with_name(f"{verb}.json")
        file.write_text(json.dumps(answer))
        cases += f"*{verb}*) cat '{file}' ;;\n"
    program.write_text(
        f'#!/bin/sh\necho WARNING: a word >&2\ncase "$*" in\n{cases}esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def shown(
    folder: Path, capsys: pytest.CaptureFixture[str], as_json: bool = False
) -> str:
    info.show(argparse.Namespace(accel="cpu", folder=folder, json=as_json))
    return capsys.readouterr().out


def test_it_shows_what_the_image_holds(folder, runtime, capsys) -> None:
    rows = [line.split(maxsplit=1) for line in shown(folder, capsys).splitlines()]

    for row in (
        ["image", f"{folder}/{image_name('cpu')}.sif"],
        ["size", "0.002 GB"],
        ["jax", "1.0"],
        ["built", "2026-11-21T02:15:12Z"],
        ["revision", "a68eec1"],
        ["lock", f"{info.lock_hash('cpu')} (this checkout's)"],
        ["base", "docker.io/library/debian:trixie-slim@sha256:0"],
        ["debian_lock", "1 packages differ"],
        ["differs", "libc6:amd64 2 (lock: 1)"],
        ["sets", "LANG=C"],
        ["sets", "A=b c"],
        ["label", "org.opencontainers.image.title=jax-sif"],
    ):
        assert row in rows
    assert "label-schema" not in str(rows)


def test_an_image_of_another_lock_is_named(folder, runtime, capsys) -> None:
    other = {**MANIFEST, "lock_sha256": "0" * 64}
    runtime.with_name("exec.json").write_text(json.dumps(other))

    assert f"{'0' * 64} (not this checkout's)" in shown(folder, capsys)


def test_json_holds_recipe_and_labels_too(folder, runtime, capsys) -> None:
    found = json.loads(shown(folder, capsys, as_json=True))

    assert found.items() >= {**MANIFEST, **ATTRIBUTES, "size_bytes": 2_000_000}.items()


def test_a_missing_image_names_path_and_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cpu\.sif.* ACCEL=cpu"):
        info.find_image("cpu", tmp_path)


def test_an_unknown_accelerator_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean cuda13"):
        info.find_image("cuda3", tmp_path)


@pytest.mark.parametrize("verb", ["inspect", "exec"])
def test_an_image_that_cannot_be_read_is_an_error(
    folder, runtime, capsys, verb: str
) -> None:
    runtime.with_name(f"{verb}.json").unlink()

    with pytest.raises(BuildError, match="WARNING: a word"):
        shown(folder, capsys)


def test_where_only_apptainer_exists_spython_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apptainer = tmp_path / "apptainer"
    apptainer.write_text('#!/bin/sh\necho "$@"\n')
    apptainer.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with info.singularity_on_path(tmp_path):
        lent = os.environ["PATH"].split(":")[0]
        text = (Path(lent) / "singularity").read_text()

    assert f"exec {apptainer} " in text
    assert str(tmp_path) == os.environ["PATH"]
    assert not Path(lent).exists()
