"""Debian's packages: their lock, what differs from it, and what is done without a snapshot."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import debian_lock
import image_debian
import mirror
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


def sources(folder: Path, monkeypatch: pytest.MonkeyPatch, *suites: str) -> None:
    monkeypatch.setattr(mirror, "_SETTINGS", folder)
    lines = [f"deb http://{name}.example/debian {name} main\n" for name in suites]
    (folder / "sources.list").write_text("".join(lines))


@pytest.mark.parametrize(
    ("suites", "expected"),
    [
        (["bookworm"], ["http://bookworm.example/debian trixie main"]),
        (
            ["bookworm-security", "bookworm", "bookworm-updates"],
            [
                "http://bookworm.example/debian trixie main",
                "http://bookworm-updates.example/debian trixie-updates main",
                "http://bookworm-security.example/debian trixie-security main",
            ],
        ),
    ],
)
def test_the_local_base_has_the_security_updates_where_this_machine_has_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suites: list[str],
    expected: list[str],
) -> None:
    monkeypatch.delenv(mirror.MIRROR_KNOB, raising=False)
    sources(tmp_path, monkeypatch, *suites)

    assert expected == mirror.archives("trixie")


def test_a_mirror_that_is_named_stands_alone_or_with_its_security(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources(tmp_path, monkeypatch, "bookworm", "bookworm-security")
    monkeypatch.setenv(mirror.MIRROR_KNOB, "http://a.example")
    assert ["http://a.example trixie main"] == mirror.archives("trixie")

    monkeypatch.setenv(mirror.MIRROR_KNOB, "http://a.example http://b.example")
    assert "http://b.example trixie-security main" == mirror.archives("trixie")[-1]


APT_GET = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$* $HAS_SNAPSHOT" in *sourceparts*update*no) exit 100 ;; esac
"""
APT_CONFIG = """#!/bin/sh
echo 'Acquire::Snapshots::URI::Host::x.ubuntu.example "http://other.example/@SNAPSHOTID@/";'
echo 'Acquire::Snapshots::URI::Host::x.debian.example "http://known.example/@PATH@/@SNAPSHOTID@/";'
"""
TIME = "20260101T000000Z"
SOURCES = {
    "sources.list": "deb [signed-by=/a] http://m.example/debian/ trixie main\n",
    "sources.list.d/debian.sources": (
        "Types: deb\nURIs: http://m.example/debian-security\nSuites: trixie-security\n"
    ),
}


def functions(tmp_path: Path) -> str:
    """Those of image_post.sh that get Debian's packages, with programs that note their words."""
    script = POST.read_text()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "apt-get": APT_GET,
        "apt-config": APT_CONFIG,
        "python3": "#!/bin/sh\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name, text in SOURCES.items():
        (tmp_path / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "etc" / name).write_text(text)
    head = (
        f"set -eu\nkit=/opt/jax-sif APT_PACKAGES=python3,numactl etc={tmp_path}/etc\n"
    )
    return head + script[script.index("apt_get() {") : script.index("check_python() {")]


def shell(tmp_path: Path, script: str, **variables: str) -> tuple[int, str]:
    done = subprocess.run(
        ["sh", "-c", script],
        env={
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "CALLS": str(tmp_path / "calls"),
            "HAS_SNAPSHOT": "yes",
            "DEBIAN_SNAPSHOT": TIME,
            **variables,
        },
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


def install(tmp_path: Path, **variables: str) -> tuple[int, list[str], str]:
    script = f"{functions(tmp_path)}install_debian_packages\n"
    status, said = shell(tmp_path, script, **variables)
    return status, (tmp_path / "calls").read_text().splitlines(), said


def with_snapshot(calls: list[str]) -> list[bool]:
    return ["sourceparts" in call for call in calls]


@pytest.mark.parametrize(
    ("chosen", "archive"),
    [
        ("", f"http://known.example/PATH/{TIME}"),
        ("http://s.example/@SNAPSHOTID@/@PATH@", f"http://s.example/{TIME}/PATH"),
    ],
)
def test_the_sources_of_a_snapshot_are_those_of_the_image(
    tmp_path: Path, chosen: str, archive: str
) -> None:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    script = f"{functions(tmp_path)}name_snapshot {folder}\n"

    status, _ = shell(tmp_path, script, DEBIAN_SNAPSHOT_URI=chosen)

    assert 0 == status
    main = archive.replace("PATH", "debian")
    security = archive.replace("PATH", "debian-security")
    assert (
        f"deb [signed-by=/a] {main} trixie main\n"
        == (folder / "sources.list").read_text()
    )
    assert f"URIs: {security}\n" in (folder / "debian.sources").read_text()


def test_a_snapshot_is_used_for_all_that_is_fetched_and_installed(
    tmp_path: Path,
) -> None:
    status, calls, said = install(tmp_path)

    assert (0, "") == (status, said)
    assert [True] * 5 == with_snapshot(calls)
    assert "--no-download" in calls[-1] and "python3 numactl" in calls[-1]


def test_without_the_snapshot_the_build_goes_on_with_the_newest(tmp_path: Path) -> None:
    status, calls, said = install(tmp_path, HAS_SNAPSHOT="no")

    assert 0 == status
    assert said.startswith(image_debian.NOTE)
    assert [True, *[False] * 5] == with_snapshot(calls)


def test_without_the_snapshot_strict_ends_the_build(tmp_path: Path) -> None:
    status, calls, _ = install(tmp_path, HAS_SNAPSHOT="no", JAX_SIF_STRICT="1")

    assert (1, [True]) == (status, with_snapshot(calls))


def test_an_empty_choice_takes_the_newest_and_says_nothing(tmp_path: Path) -> None:
    status, calls, said = install(tmp_path, DEBIAN_SNAPSHOT="")

    assert (0, "") == (status, said)
    assert [False] * 5 == with_snapshot(calls)
