"""Debian's packages: their lock, what differs from it, and what is done without a snapshot."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import debian_lock
import image_debian
import pytest
import versions

FOUND = {"libc6:amd64": "2.41-12", "netbase:all": "6.5"}
LOCK = {**FOUND, "libc6:arm64": "2.41-12", "libc6-only:arm64": "1"}
POST = versions.CHECKOUT / "tools/image_post.sh"


def test_the_lock_has_every_package_that_is_asked_for_on_every_platform() -> None:
    lock = image_debian.locked(versions.debian_lock_path())
    wanted = {"libc6", "apt", *versions.pins()["APT_PACKAGES"].split(",")}

    for architecture in debian_lock.ARCHITECTURES:
        kinds = (architecture, "all")
        names = {n.partition(":")[0] for n in lock if n.partition(":")[2] in kinds}
        # Libraries whose times became larger got another name, and provide the old one.
        assert wanted <= names | {name.removesuffix("t64") for name in names}


def test_the_lock_names_no_address() -> None:
    assert "://" not in versions.debian_lock_path().read_text()
    assert re.fullmatch(r"\d{8}T\d{6}Z", versions.pins()["DEBIAN_SNAPSHOT"])


def test_packages_as_locked_do_not_differ() -> None:
    assert [] == image_debian.differences(FOUND, LOCK, "amd64")


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({**FOUND, "libc6:amd64": "2.41-13"}, "libc6:amd64 2.41-13 (lock: 2.41-12)"),
        ({**FOUND, "more:all": "1"}, "more:all 1 (lock: none)"),
        ({"libc6:amd64": "2.41-12"}, "netbase:all missing (lock: 6.5)"),
    ],
)
def test_each_package_that_differs_is_named(found: dict[str, str], line: str) -> None:
    assert [line] == image_debian.differences(found, LOCK, "amd64")


def test_a_lock_without_this_architecture_is_no_agreement() -> None:
    with pytest.raises(LookupError, match="riscv64"):
        image_debian.differences({}, LOCK, "riscv64")


def test_a_lock_reads_as_it_was_written() -> None:
    assert LOCK == image_debian.parse(debian_lock.text(LOCK).splitlines())


def test_what_apt_plans_is_read() -> None:
    simulation = (
        "Inst gcc-14-base (14.2.0-19 Debian:13.8/stable [amd64])\n"
        "Inst libexpat1:arm64 [2.7.1-2] (2.9.0-1~deb13u1 Debian:13.8/stable [arm64]) []\n"
        "Conf gcc-14-base (14.2.0-19 Debian:13.8/stable [amd64])\n"
        "Inst netbase (6.5 Debian:13.8/stable [all])\n"
    )

    assert {
        "gcc-14-base:amd64": "14.2.0-19",
        "libexpat1:arm64": "2.9.0-1~deb13u1",
        "netbase:all": "6.5",
    } == debian_lock.planned(simulation)


def test_the_day_of_each_archive_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "mirror_dists_trixie_InRelease").write_text(
        "-----BEGIN PGP SIGNED MESSAGE-----\nSuite: stable\nCodename: trixie\n"
        "Date: Sat, 21 Nov 2026 09:15:44 UTC\nSHA256:\n Date: none\n"
    )
    (tmp_path / "mirror_dists_trixie_main_Packages").write_text("Date: none\n")

    assert {"trixie": "Sat, 21 Nov 2026 09:15:44 UTC"} == image_debian.archives(
        tmp_path
    )


APT = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$* $HAS_SNAPSHOT" in *--snapshot=*update*no) exit 100 ;; esac
"""


def install(tmp_path: Path, **variables: str) -> tuple[int, list[str], str]:
    """Runs the function of image_post.sh with an apt-get that only notes its words."""
    script = POST.read_text()
    functions = script[script.index("apt_get() {") : script.index("check_python() {")]
    calls = tmp_path / "calls"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"apt-get": APT, "python3": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    head = "set -eu\nkit=/opt/jax-sif APT_PACKAGES=python3,numactl\n"
    done = subprocess.run(
        ["sh", "-c", f"{head}{functions}install_debian_packages\n"],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "CALLS": str(calls),
            "HAS_SNAPSHOT": "yes",
            **variables,
        },
        capture_output=True,
        text=True,
    )
    return done.returncode, calls.read_text().splitlines(), done.stdout


def with_snapshot(calls: list[str]) -> list[bool]:
    return ["--snapshot=" in call for call in calls]


def test_a_snapshot_is_used_for_all_that_is_fetched_and_installed(
    tmp_path: Path,
) -> None:
    status, calls, said = install(tmp_path, DEBIAN_SNAPSHOT="20260101T000000Z")

    assert (0, "") == (status, said)
    assert [True] * 5 == with_snapshot(calls)
    assert "--no-download" in calls[-1] and "python3 numactl" in calls[-1]


def test_without_the_snapshot_the_build_goes_on_with_the_newest(tmp_path: Path) -> None:
    status, calls, said = install(
        tmp_path, DEBIAN_SNAPSHOT="20260101T000000Z", HAS_SNAPSHOT="no"
    )

    assert 0 == status
    assert said.startswith(image_debian.NOTE)
    assert [True, *[False] * 5] == with_snapshot(calls)


def test_without_the_snapshot_strict_ends_the_build(tmp_path: Path) -> None:
    status, calls, _ = install(
        tmp_path,
        DEBIAN_SNAPSHOT="20260101T000000Z",
        HAS_SNAPSHOT="no",
        JAX_SIF_STRICT="1",
    )

    assert (1, [True]) == (status, with_snapshot(calls))


def test_an_empty_choice_takes_the_newest_and_says_nothing(tmp_path: Path) -> None:
    status, calls, said = install(tmp_path, DEBIAN_SNAPSHOT="")

    assert (0, "") == (status, said)
    assert [False] * 5 == with_snapshot(calls)
