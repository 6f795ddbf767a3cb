"""`make sign` as far as it goes without Apptainer, and what an install does with a signed image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import build_run
import placing
import pytest
import sign
from builder import Builder
from versions import image_name

RUNTIME = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/log"
case "$1 $2" in
  'siftool list')
    echo '3    |1       |NONE    |40960-215814144           |FS (Squashfs/*System/amd64)'
    echo '4    |NONE    |1   (G) |215814144-215815346       |Signature (SHA-256)'
    echo '12   |NONE    |1   (G) |215815346-215816804       |Signature (SHA-256)'
    ;;
  sign*)
    cat "$3" > "$(dirname "$0")/key"
    grep -rlI 'PRIVATE KEY' "$(dirname "$4")" > "$(dirname "$0")/on-disk"
    echo ' and a signature' >> "$4"
    ;;
  verify*) exit "$(cat "$(dirname "$0")/status")" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a build leaves: an image, its facts, and what it was made from."""
    folder = tmp_path / "build"
    folder.mkdir()
    image = folder / f"{image_name('cpu')}.sif"
    built, facts = tmp_path / "built", tmp_path / "facts"
    built.write_text("an image")
    facts.write_text("{}")
    build_run.publish(built, facts, image, "content")
    return folder


@pytest.fixture
def key(tmp_path: Path) -> Path:
    key = tmp_path / "centre.pem"
    command = ["openssl", "genpkey", "-algorithm", "ED25519", "-out", key]
    subprocess.run(command, check=True)
    return key


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an Apptainer that only notes what it was asked."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    program = folder / "apptainer"
    program.write_text(RUNTIME)
    program.chmod(0o755)
    (folder / "status").write_text("0")
    ids = (os.getuid(), os.getgid())
    builder = Builder("root", *ids, tmp_path, tmp_path / "cache")
    monkeypatch.setattr(sign, "find_builder", lambda: builder)
    builder.cache.mkdir()
    found = sign.Runtime((str(program),), "")
    monkeypatch.setattr(sign, "find_runtime", lambda: found)
    return folder


def run(folder: Path, key: Path | None = None) -> int:
    words = ["--accel=cpu", f"--folder={folder}"]
    return sign.main([*words, f"--key={key}"] if key else words)


def image_of(folder: Path) -> Path:
    return folder / f"{image_name('cpu')}.sif"


def test_the_signed_image_takes_the_place_of_the_other(folder, key, runtime):
    assert 0 == run(folder, key)

    image = image_of(folder)
    assert "an image and a signature\n" == image.read_text()
    assert "BEGIN PUBLIC KEY" in build_run.key_file(image).read_text()
    assert build_run.is_up_to_date(image, "content")
    assert [] == [*(runtime.parent / "cache/scratch").iterdir()]


def test_the_private_key_lies_on_no_disk(folder, key, runtime):
    """Not while it is used: a process that is killed then removes nothing."""
    assert 0 == run(folder, key)

    assert key.read_text() == (runtime / "key").read_text()
    assert "" == (runtime / "on-disk").read_text()


def test_an_image_that_is_being_signed_is_held(folder, key, runtime):
    lock = placing.lock_file(image_of(folder))
    (runtime / "apptainer").write_text(f"#!/bin/sh\nflock -n '{lock}' true\n")

    assert 1 == run(folder, key)


def test_signatures_of_before_go(folder, key, runtime):
    run(folder, key)

    did = [line.split()[:3] for line in (runtime / "log").read_text().splitlines()]
    assert [["siftool", "del", "4"], ["siftool", "del", "12"]] == did[1:3]
    assert ["sign", "verify"] == [words[0] for words in did[3:]]


def test_a_signature_that_does_not_hold_changes_nothing(folder, key, runtime, capsys):
    (runtime / "status").write_text("255")

    assert 1 == run(folder, key)

    assert "verify ended with status 255" in capsys.readouterr().err
    assert "an image" == image_of(folder).read_text()
    assert not build_run.key_file(image_of(folder)).exists()


def test_a_build_makes_an_unsigned_image(folder, key, runtime, tmp_path):
    run(folder, key)
    built, facts = tmp_path / "built", tmp_path / "facts"
    built.write_text("another image")
    facts.write_text(json.dumps({}))

    build_run.publish(built, facts, image_of(folder), "another content")

    assert not build_run.key_file(image_of(folder)).exists()


@pytest.mark.parametrize("text", ["", "-----BEGIN PUBLIC KEY-----\n", None])
def test_what_is_no_private_key_is_wrong_usage(folder, tmp_path, text, capsys):
    key = tmp_path / "no.pem"
    if text is not None:
        key.write_text(text)

    assert 2 == run(folder, key)
    assert f"KEY='{key}'" in capsys.readouterr().err


def test_without_a_key_it_says_how_to_make_one(folder, capsys, monkeypatch):
    monkeypatch.delenv("KEY", raising=False)

    assert 2 == run(folder)
    assert "openssl genpkey" in capsys.readouterr().err


def test_without_an_image_it_says_how_to_build_it(tmp_path, key, capsys):
    assert 2 == run(tmp_path / "nowhere", key)
    assert "make build-image ACCEL=cpu" in capsys.readouterr().err
