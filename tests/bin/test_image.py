"""How the programs on PATH look at the image before they run it: signed, whole, undamaged, and able to start."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT

BIN = ROOT / "bin"
# Notes what it is asked; verifies what has no `changed` in it, and starts what it may.
RUNTIME = """#!/bin/sh
echo "$1 $*" | cut -d ' ' -f 1,3- >> "$LOG"
for word; do last=$word; done
case $1 in
  verify) if grep -q changed "$last"; then echo 'not valid' >&2; exit 255; fi ;;
  *) if [ -n "$SAID" ]; then echo "$SAID" >&2; fi; exit "${STATUS:-0}" ;;
esac
"""
DATA = b"squashfs, and JAX's libraries in it" * 300


def sif(data: bytes = DATA, identity: bytes = b"i" * 16) -> bytes:
    """A header as SIF has it, and what it speaks of."""
    launch, magic = b"#!/usr/bin/env run-singularity\n\0", b"SIF_MAGIC\x0001\x0002\0"
    times, descriptors = (7, 7), (45, 48, 128, 0)
    numbers = struct.pack("<8q", *times, *descriptors, 128, len(data))
    return launch + magic + identity + numbers + data


def describe(image: Path) -> None:
    """As tools/build_run.py does."""
    content = image.read_bytes()
    facts = {
        "jax": "1",
        "sif_header": content[:128].hex(),
        "sif_sha256": hashlib.sha256(content).hexdigest(),
    }
    Path(f"{image}.json").write_text(json.dumps(facts, indent=2))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    image = tmp_path / "an image.sif"
    image.write_bytes(sif())
    describe(image)
    return image


class Site:
    """An ordinary user's node, some seconds after the image was put there."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.image, self.programs = image, folder / "programs"
        self.programs.mkdir()
        self.put("apptainer", RUNTIME)
        self.put("id", "#!/bin/sh\necho 1000\n")
        self.put("date", "#!/bin/sh\necho $(($(/bin/date +%s) + 10))\n")
        self.log = folder / "log"
        self.environment = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "JAX_IMAGE": str(image),
            "LOG": str(self.log),
        }

    def put(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def call(self, command: str, *more: str, **variables: str):
        program = BIN / "jax-python" if command == "python" else BIN / "jax-sif"
        words = [*(() if command == "python" else (command,)), *more]
        return subprocess.run(
            [program, *words],
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def asked(self) -> list[str]:
        """What the runtime was asked since the last time, each by its first word."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.write_text("")
        return [line.split()[0] for line in lines]


@pytest.fixture
def site(tmp_path: Path, image: Path) -> Site:
    return Site(tmp_path, image)


@pytest.fixture
def signed(site: Site) -> Site:
    Path(f"{site.image}.pem").write_text("a key")
    return site


COMMANDS = (
    "check",
    "job",
    "doctor",
    "verify",
    "explain",
    "packages",
    "launch",
    "python",
)
each_command = pytest.mark.parametrize("command", COMMANDS)


@each_command
def test_a_changed_image_runs_by_no_command(signed, command):
    signed.image.write_bytes(sif(b"changed"))
    done = signed.call(command)

    assert 1 == done.returncode
    assert ["verify"] == signed.asked()
    assert f"'{signed.image}'" in done.stdout + done.stderr


@each_command
def test_a_refusal_is_a_verdict_only_where_one_is_read(signed, command):
    signed.image.write_bytes(sif(b"changed"))
    last = signed.call(command, JAX_SIF_TOPOLOGY="G8N2p8").stdout.splitlines()[-1:]

    wanted = command in ("check", "verify")
    assert wanted == bool(last)
    assert not last or last[0].startswith("FAIL  G8N2p8: the image '")


@each_command
def test_a_link_hides_no_key(signed, tmp_path, command):
    link = tmp_path / "elsewhere" / "jax-sif.sif"
    link.parent.mkdir()
    link.symlink_to(signed.image)
    signed.image.write_bytes(sif(b"changed"))

    assert 1 == signed.call(command, JAX_IMAGE=str(link)).returncode
    assert ["verify"] == signed.asked()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "check"])
def test_what_was_seen_well_is_not_verified_again(signed, command):
    assert 0 == signed.call("job").returncode
    assert "verify" in signed.asked()
    assert 0 == signed.call(command).returncode
    assert "verify" not in signed.asked()


def test_a_job_verifies_whatever_was_seen(signed):
    signed.call("job")
    signed.asked()
    assert 0 == signed.call("check").returncode
    assert "verify" in signed.asked()


def test_root_verifies_whatever_was_seen(signed):
    signed.call("job")
    signed.asked()
    signed.put("id", "#!/bin/sh\necho 0\n")
    for _ in range(2):
        assert 0 == signed.call("doctor").returncode
        assert "verify" in signed.asked()


@pytest.mark.parametrize("what", ["image", "key"])
def test_what_was_changed_is_verified_again(signed, what):
    signed.call("job")
    signed.asked()
    path = signed.image if what == "image" else Path(f"{signed.image}.pem")
    before = path.stat()
    path.write_bytes(path.read_bytes())
    # Who changes a file can set one of its times back.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    signed.call("job")
    assert "verify" in signed.asked()


def test_what_was_changed_just_now_is_verified_again(signed):
    """The next change may bear the same time."""
    signed.put("date", '#!/bin/sh\nexec /bin/date "$@"\n')
    for _ in range(2):
        signed.call("job")
        assert "verify" in signed.asked()


def test_where_nothing_can_be_remembered_it_verifies_each_time(signed, tmp_path):
    (tmp_path / "file").touch()
    for _ in range(2):
        done = signed.call("job", XDG_CACHE_HOME=str(tmp_path / "file"))
        assert (0, "") == (done.returncode, done.stderr)
        assert "verify" in signed.asked()


def test_a_cache_of_another_user_is_not_written(signed, tmp_path):
    """By a link in it a stranger would have a file of the user's overwritten."""
    cache = tmp_path / "shared"
    (cache / "jax-sif/seen").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(cache / "jax-sif/seen", 2002, 2002)
    else:
        (cache / "jax-sif/seen").chmod(0o500)

    assert 0 == signed.call("job", XDG_CACHE_HOME=str(cache)).returncode
    assert [] == list((cache / "jax-sif/seen").iterdir())


def test_a_node_without_the_usual_tools_runs_it_all_the_same(site):
    for name in ("stat", "od", "sha256sum"):
        site.put(name, "#!/bin/sh\nexit 127\n")
    Path(f"{site.image}.json").unlink()
    for command in ("check", "job"):
        done = site.call(command)
        assert (0, "") == (done.returncode, done.stderr)


@each_command
@pytest.mark.parametrize("length", [200, len(sif()) // 2, len(sif()) - 1])
def test_a_cut_image_is_known_by_every_command(site, command, length):
    os.truncate(site.image, length)
    done = site.call(command)

    assert 1 == done.returncode
    assert f"damaged: it has {length} of {len(sif())} bytes" in (
        done.stdout + done.stderr
    )
    assert [] == site.asked()


def overwrite(image: Path, position: int, content: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(position)
        file.write(content)


@pytest.mark.parametrize(
    "position, content", [(5000, b"\xff" * 64), (0, bytes(4096)), (32, b"\xff")]
)
def test_a_job_does_not_begin_with_a_damaged_image(site, position, content):
    overwrite(site.image, position, content)
    done = site.call("check", JAX_SIF_TOPOLOGY="G8N2p8")

    assert 1 == done.returncode
    assert done.stdout.splitlines()[-1].startswith("FAIL  G8N2p8: the image '")
    assert "is damaged: " in done.stdout.splitlines()[-1]
    assert [] == site.asked()


def test_an_image_that_another_put_there_is_not_called_damaged(site):
    site.image.write_bytes(sif(b"another", identity=b"j" * 16))

    assert 0 == site.call("check").returncode
    assert ["exec"] == site.asked()


@pytest.mark.parametrize("facts", [None, "{}", '{"jax": "1"}', "no JSON"])
def test_where_the_build_left_no_checksum_nothing_is_compared(site, facts):
    overwrite(site.image, 5000, b"\xff" * 64)
    path = Path(f"{site.image}.json")
    path.unlink() if facts is None else path.write_text(facts)

    assert 0 == site.call("check").returncode


@pytest.mark.parametrize("content", [b"hsqs", b"", b"SIF_MAGIC"])
def test_what_is_no_sif_is_left_to_the_runtime(site, content):
    site.image.write_bytes(content)
    Path(f"{site.image}.json").unlink()

    assert 0 == site.call("check").returncode


UNABLE = [
    ("FATAL:   container creation failed: image driver mount failure", 255),
    ("panic: runtime error: slice bounds out of range\n\ngoroutine 1", 2),
    ("Bus error", 135),
    ('Traceback (most recent call last):\n  File "x"\nImportError: no jaxsif', 1),
]


@pytest.mark.parametrize("command", ["check", "verify"])
@pytest.mark.parametrize("said, status", UNABLE)
def test_an_image_that_does_not_start_ends_with_a_verdict(site, command, said, status):
    done = site.call(command, SAID=said, STATUS=str(status), JAX_SIF_TOPOLOGY="G4N1p4")

    assert 1 == done.returncode
    last = done.stdout.splitlines()[-1]
    assert last.startswith("FAIL  G4N1p4: the image '")
    assert "cannot be started" in last
    assert said.splitlines()[0] in done.stderr


@pytest.mark.parametrize(
    "said, status",
    [
        ("jax-sif: JAX_SIF_TOPOLOGY is not set", 2),
        ("INFO: no FUSE\nusage: jax-sif check [-h]", 2),
        ("INFO: the verdict is on standard output", 1),
        ("WARNING: squashfuse is slow here", 0),
    ],
)
def test_what_the_tool_says_of_a_job_stays_as_it_is(site, said, status):
    done = site.call("check", SAID=said, STATUS=str(status))

    assert (status, "", f"{said}\n") == (done.returncode, done.stdout, done.stderr)


def test_a_judge_whose_image_has_started_before_is_not_tried_first(site):
    assert 0 == site.call("check").returncode
    site.asked()
    assert 0 == site.call("verify").returncode
    assert ["exec"] == site.asked()
