"""The build context of an image: the kit's files, and the machine's settings."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import host_settings
import versions

# What the recipes copy into the image.
FILES = (
    "Dockerfile",
    "Singularity.def",
    "image.env",
    "requirements/debian-trixie.txt",
    "requirements/report.txt",
    "tools/image_bundle.py",
    "tools/image_debian.py",
    "tools/image_flags.py",
    "tools/image_manifest.py",
    "tools/image_sbom.py",
    "tools/image_post.sh",
    "tools/image_test.py",
    "tools/versions.py",
)
TREES = ("diag", "src/jaxsif")


@dataclass(frozen=True)
class Bundle:
    """Certificates that the build's downloads need, and why these."""

    path: Path
    reason: str


def find_bundle(chosen: str | None) -> Bundle | None:
    if chosen:
        path = Path(chosen)
        reason = "CA_BUNDLE"
    else:
        found = host_settings.certificate_bundle()
        if found is None:
            return None
        path, reason = found
    if not path.is_file() or not os.access(path, os.R_OK):
        raise versions.UsageError(
            f"cannot read the certificates {str(path)!r} (from {reason});"
            " give a PEM file: CA_BUNDLE=/path/of/bundle.crt"
        )
    return Bundle(path, reason)


def files(accel: str) -> list[Path]:
    """The files of the context, relative to the checkout, sorted."""
    checkout = versions.CHECKOUT
    found = {Path(name) for name in FILES}
    found.add(versions.lock_path(accel).relative_to(checkout))
    for tree in TREES:
        for path in (checkout / tree).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.add(path.relative_to(checkout))
    return sorted(found)


def copy(accel: str, target: Path) -> None:
    """Copies the context, with modes that do not depend on the caller's umask."""
    for name in files(accel):
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(versions.CHECKOUT / name, destination)
        destination.chmod(0o644)


def content_hash(accel: str, *choices: str) -> str:
    """Changes with every file and choice that changes the image."""
    digest = hashlib.sha256(repr([*choices, *debian_settings().items()]).encode())
    for name in files(accel):
        content = (versions.CHECKOUT / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def debian_settings() -> dict[str, str]:
    """What the caller chose for Debian's packages, as image_post.sh takes it."""
    strict = os.environ.get("STRICT", "")
    if strict not in ("", "0", "1"):
        raise versions.UsageError(f"STRICT={strict!r} is neither 0 nor 1")
    chosen = {"JAX_SIF_STRICT": "1"} if strict == "1" else {}
    archive = os.environ.get("DEBIAN_SNAPSHOT_URI")
    if archive:
        if not re.fullmatch(r"https?://[\w@./:%~-]*@SNAPSHOTID@[\w@./:%~-]*", archive):
            raise versions.UsageError(
                f"DEBIAN_SNAPSHOT_URI={archive!r} is no address with @SNAPSHOTID@ in"
                " it, and @PATH@ for debian or debian-security"
            )
        chosen["DEBIAN_SNAPSHOT_URI"] = archive
    snapshot = os.environ.get("DEBIAN_SNAPSHOT")
    if snapshot is None:
        return chosen
    if snapshot and not re.fullmatch(r"\d{8}T\d{6}Z", snapshot):
        raise versions.UsageError(
            f"DEBIAN_SNAPSHOT={snapshot!r} is no time as 20261129T210000Z; empty takes"
            " the newest packages"
        )
    return {**chosen, "DEBIAN_SNAPSHOT": snapshot}


def git_revision(accel: str) -> str:
    """The commit, with -dirty where a file of the image differs from it."""
    git = _git()
    try:
        head = _output([*git, "rev-parse", "--verify", "--quiet", "HEAD"])
        names = [str(name) for name in files(accel)]
        changed = _output([*git, "status", "--porcelain", "--", *names])
    except (OSError, subprocess.CalledProcessError):
        # A checkout without git, or an archive of the sources.
        return "unknown"
    return head + ("-dirty" if changed else "")


def _git() -> list[str]:
    git = ["git", "--no-optional-locks", "-C", str(versions.CHECKOUT)]
    return [*git, "-c", f"safe.directory={versions.CHECKOUT}"]


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return done.stdout.strip()


def build_time_s(accel: str) -> int:
    """The time of every file in the image: SOURCE_DATE_EPOCH, or the sources' time.

    So that two builds of the same sources are the same: the time of their commit, or of
    the newest file where git does not know them.
    """
    chosen = os.environ.get("SOURCE_DATE_EPOCH") or ""
    if chosen.isdigit():
        return int(chosen)
    revision = git_revision(accel)
    if revision == "unknown" or revision.endswith("-dirty"):
        names = files(accel)
        return max(int((versions.CHECKOUT / name).stat().st_mtime) for name in names)
    return int(_output([*_git(), "show", "--no-patch", "--format=%ct", revision]))


def as_date(time_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_s))


def lend(folder: Path, bundle: Bundle | None, built_s: int) -> None:
    """Fills the folder that is /mnt during the build; image_post.sh reads it."""
    for name in ("tmp", "wheels"):
        (folder / name).mkdir(parents=True)
    chosen = {"SOURCE_DATE_EPOCH": str(built_s), **debian_settings()}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in chosen.items()]
    script = host_settings.pip_script() + "".join(lines)
    (folder / "settings.sh").write_text(script)
    (folder / "apt.conf").write_text(
        host_settings.apt_configuration(bundle is not None)
    )
    if bundle:
        shutil.copyfile(bundle.path, folder / "ca-bundle.crt")
        (folder / "ca-bundle.crt").chmod(0o644)
