"""Files that are written whole: what is replaced, and what stays as it was."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sample_records import healthy, output

from jaxsif.core.atomic_write import atomic_write, write_file
from jaxsif.core.errors import KitError

BEFORE, AFTER = "before\n" * 9, "after\n"


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text(BEFORE)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(path: Path, text: str = AFTER) -> None:
    atomic_write(path, text, "the rest stands")


def refuse(number: int) -> Callable[..., None]:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


def test_a_file_is_replaced_while_others_read_the_old_one(file):
    with file.open() as reader:
        write(file)
        assert BEFORE == reader.read()
    assert AFTER == file.read_text()
    assert [file] == list(file.parent.iterdir())


@pytest.mark.parametrize("mask, wanted", [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_has_the_rights_of_the_umask(tmp_path, umask, mask, wanted):
    umask(mask)
    write(tmp_path / "new")
    assert wanted == mode(tmp_path / "new")


@pytest.mark.parametrize("wanted", [0o600, 0o664])
def test_a_file_keeps_its_rights(file, umask, wanted):
    umask(0o077)
    file.chmod(wanted)
    write(file)
    assert (AFTER, wanted) == (file.read_text(), mode(file))


def test_a_file_keeps_its_owner(file, monkeypatch):
    given = []
    own = file.stat()
    # As where root writes into a user's folder.
    roots = os.stat_result((*own[:4], own.st_uid + 1, own.st_gid + 1, *own[6:]))
    monkeypatch.setattr(os, "fchown", lambda _, *ids: given.append(ids))
    with monkeypatch.context() as context:
        context.setattr(os, "fstat", lambda _: roots)
        write(file)
    assert [(own.st_uid, own.st_gid)] == given


def test_a_file_whose_owner_cannot_be_kept_is_written_in_place(file, monkeypatch):
    number = file.stat().st_ino
    monkeypatch.setattr(os, "fchmod", refuse(errno.EPERM))
    write(file)
    assert (AFTER, number) == (file.read_text(), file.stat().st_ino)
    assert [file] == list(file.parent.iterdir())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EBUSY])
def test_where_nothing_can_be_replaced_a_file_is_written_in_place(
    file, monkeypatch, number
):
    monkeypatch.setattr(os, "replace", refuse(number))
    write(file)
    assert AFTER == file.read_text()
    with pytest.raises(KitError):
        write(file.parent / "new")
    assert [file] == list(file.parent.iterdir())


def test_a_full_disk_leaves_the_old_file(file, monkeypatch):
    monkeypatch.setattr(os, "fsync", refuse(errno.ENOSPC))
    with pytest.raises(KitError, match="No space left on device; the rest stands"):
        write(file)
    assert BEFORE == file.read_text()
    assert [file] == list(file.parent.iterdir())


def test_a_link_stays_and_its_target_is_replaced(file):
    folder = file.parent / "elsewhere"
    folder.mkdir()
    link = folder / "link"
    link.symlink_to("../file")
    write(link)
    assert (AFTER, True) == (file.read_text(), link.is_symlink())


def test_a_link_that_leads_nowhere_gets_its_target(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "new")
    write(link)
    assert (AFTER, True) == ((tmp_path / "new").read_text(), link.is_symlink())


def test_a_name_may_be_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("n" * 255)
    write(path)
    write(path)
    assert AFTER == path.read_text()


def test_half_a_character_is_written_as_none(file):
    write(file, "a\udc80b")
    assert "a?b" == file.read_text()


def test_a_pipe_is_written_and_stays(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write(pipe)
    reader.join()
    assert [AFTER] == got
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_to_a_pipe_is_written_and_stays(tmp_path):
    pipe, link, got = tmp_path / "pipe", tmp_path / "link", []
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    reader = threading.Thread(target=lambda: got.append(link.read_text()))
    reader.start()
    write(link)
    reader.join()
    assert [AFTER] == got
    assert link.is_symlink() and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_write_that_fails_midway_leaves_the_old_file(file):
    def fail(opened):
        opened.write(b"half")
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        write_file(file, fail)
    assert BEFORE == file.read_text()
    assert [file] == list(file.parent.iterdir())


def verify(path: str, log: str, **options) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "jaxsif", "verify", "--topology", "G8N2p8"]
    return subprocess.run(
        [*words, "--verdict-file", path], input=log.encode(), check=False, **options
    )


# Of the process itself; the machine's own devices are none of a test's.
@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
def test_standard_output_gets_both_in_turn(tmp_path, name):
    link = tmp_path / "link"
    link.symlink_to(name)
    said = tmp_path / "said"
    with said.open("wb") as stdout:
        done = verify(str(link), output(healthy()), stdout=stdout)

    assert 0 == done.returncode
    text = said.read_text()
    assert text.index("PASS  G8N2p8") < text.index('"schema"')
    assert text.endswith("}\n")
    assert link.is_symlink()


def test_a_shell_that_reads_by_another_process_gets_it(tmp_path):
    reader, writer = os.pipe()
    with open(reader, "rb") as end:
        done = verify(
            f"/dev/fd/{writer}",
            output(healthy()),
            pass_fds=[writer],
            stdout=subprocess.DEVNULL,
        )
        os.close(writer)
        assert 0 == done.returncode
        assert end.read().startswith(b'{\n "schema"')


# In a namespace, by a mount that nothing can be renamed over.
DEVICE = """
set -e
mount --bind /dev/null "$1"
"$2" -m jaxsif verify --topology G8N2p8 --verdict-file "$1" 2> /dev/null
stat -c %F "$1"
"""


def test_a_device_is_written_and_stays(file):
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", DEVICE, "sh"]
    done = subprocess.run(
        [*words, file, sys.executable],
        input=output(healthy()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "character special file") == (
        done.returncode,
        done.stdout.splitlines()[-1],
    )
    assert BEFORE == file.read_text()
