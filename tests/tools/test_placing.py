"""Files that tools put into their places: whole, and by one process at a time."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import stat
import subprocess
import threading
from pathlib import Path

import build_run
import builder
import placing
import pytest


def held(place: Path) -> bool:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        return not placing.try_lock(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_place_is_held_meanwhile_and_free_afterwards(tmp_path, kind):
    place = tmp_path if kind == "folder" else tmp_path / "lock"
    with placing.one_at_a_time(place, "is here"):
        assert held(place)
    assert not held(place)


def test_who_comes_second_waits_and_says_so(tmp_path, capsys):
    came = threading.Event()

    def second():
        with placing.one_at_a_time(tmp_path, "is here"):
            came.set()

    with placing.one_at_a_time(tmp_path, "is here"):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not came.wait(0.2)
    waiting.join()
    assert came.is_set()
    assert "that is here" in capsys.readouterr().err


def test_where_there_are_no_locks_no_process_waits(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with placing.one_at_a_time(tmp_path, "is here"):
        pass


def test_two_copies_at_once_are_both_whole(tmp_path, monkeypatch):
    """The second begins while the first is writing, and one ends after the other."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(100_000))
    hosts, names, copyfile = iter(("a", "b")), [], shutil.copyfile

    def meanwhile(source: Path, hidden: Path) -> None:
        names.append(hidden.name)
        hidden.write_bytes(source.read_bytes()[:1000])
        if len(names) == 1:
            placing.copy(source, target, 0o755)
        copyfile(source, hidden)

    monkeypatch.setattr(socket, "gethostname", lambda: next(hosts))
    monkeypatch.setattr(shutil, "copyfile", meanwhile)
    placing.copy(source, target, 0o755)

    assert 2 == len(set(names))
    assert source.read_bytes() == target.read_bytes()
    assert 0o755 == stat.S_IMODE(target.stat().st_mode)
    assert {source, target} == set(tmp_path.iterdir())


def test_a_copy_that_is_not_the_original_takes_no_place(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("whole")
    target.write_text("old")
    monkeypatch.setattr(shutil, "copyfile", lambda _, hidden: hidden.write_text("wh"))

    with pytest.raises(OSError, match="changed while"):
        placing.copy(source, target, 0o644)
    assert "old" == target.read_text()
    assert {source, target} == set(tmp_path.iterdir())


def test_the_scratch_of_a_build_in_another_container_stays(tmp_path, monkeypatch):
    """Of the same name, where this one's process numbers mean nothing."""
    parent = tmp_path / "scratch"
    other = parent / f"{socket.gethostname()}-4194305-abc"
    other.mkdir(parents=True)
    descriptor = os.open(other, os.O_RDONLY)
    assert placing.try_lock(descriptor)

    builder.remove_abandoned(parent)
    assert other.exists()
    os.close(descriptor)
    builder.remove_abandoned(parent)
    assert not other.exists()


def test_a_scratch_in_use_is_held(tmp_path):
    own = builder.Builder("x", os.getuid(), os.getgid(), tmp_path, tmp_path)
    with own.scratch() as folder:
        assert held(folder)


def test_an_image_is_published_with_its_checksum(tmp_path):
    built, facts, image = (tmp_path / n for n in ("built", "facts", "image.sif"))
    built.write_bytes(bytes(range(256)) * 10)
    facts.write_text('{"jax": "1"}')

    build_run.publish(built, facts, image, "content")

    found = json.loads(build_run.facts_file(image).read_text())
    words = subprocess.run(["sha256sum", image], capture_output=True, text=True)
    assert {"jax", "sif_header", "sif_sha256"} == set(found)
    assert words.stdout.split()[0] == found["sif_sha256"]
    assert bytes(range(128)).hex() == found["sif_header"]


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    source, real, link = (tmp_path / n for n in ("source", "real", "link"))
    source.write_text("new")
    real.write_text("old")
    link.symlink_to("real")

    placing.copy(source, link, 0o644)

    assert ("new", True) == (real.read_text(), link.is_symlink())


def test_what_a_killed_copy_left_goes_when_it_is_old(tmp_path):
    own = f".target.{socket.gethostname()}-"
    old, new, running = (
        tmp_path / f"{own}{n}" for n in (4194305, 4194306, os.getpid())
    )
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    (tmp_path / "source").touch()

    placing.copy(tmp_path / "source", tmp_path / "target", 0o644)

    assert not old.exists()
    assert new.exists() and not running.exists()
