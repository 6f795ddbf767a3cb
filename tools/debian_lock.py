"""Resolves the image's Debian packages to today's versions: a part of `make lock`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

# Makes the mini cluster's modules importable, which know this machine's mirror.
import builder
import host_settings
import image_debian
import mirror
import versions
from errors import ClusterError

ARCHITECTURES = ("amd64", "arm64")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_PLANNED = re.compile(r"^Inst (\S+) (?:\[\S+\] )?\((\S+) .*\[(\w+)\]\)", re.MULTILINE)


def write(checkout: Path = versions.CHECKOUT) -> None:
    """Write the lock, and its time into image.env. Raises ClusterError."""
    target = versions.debian_lock_path(checkout)
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    found: dict[str, str] = {}
    for architecture in ARCHITECTURES:
        found.update(resolve(architecture, checkout))
    old = target.read_text() if target.exists() else ""
    if image_debian.parse(old.splitlines()) == found:
        print(f"{target.name}: unchanged")
        return
    target.write_text(text(found))
    set_snapshot(checkout / "image.env", now)
    print(f"{target.name}: written")


def text(found: dict[str, str]) -> str:
    lines = [f"{name}={version}\n" for name, version in sorted(found.items())]
    return "".join(
        [
            "# The Debian packages of every image; made by `make lock`.\n",
            "# SPDX-License-Identifier: Apache-2.0\n",
            *lines,
        ]
    )


def set_snapshot(pins: Path, now: str) -> None:
    before = pins.read_text()
    after = re.sub(r"(?m)^DEBIAN_SNAPSHOT=.*$", f"DEBIAN_SNAPSHOT={now}", before)
    pins.write_text(after)


def resolve(architecture: str, checkout: Path = versions.CHECKOUT) -> dict[str, str]:
    """What apt would install into an empty tree; nothing is downloaded or installed."""
    pinned = versions.pins(checkout)
    packages = pinned["APT_PACKAGES"].split(",")
    with tempfile.TemporaryDirectory(prefix="jax-sif-apt-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_settings(folder, architecture, pinned["DEBIAN_SUITE"])
        # What mmdebstrap calls minbase.
        wanted = ["?or(?essential,?priority(required))", "apt", *packages]
        # The toolbox has an apt, whatever this machine has.
        apt = ["env", f"APT_CONFIG={folder}/apt.conf", "apt-get", "-qq"]
        install = ["--simulate", "--no-install-recommends", "install", *wanted]
        script = f"{shlex.join([*apt, '--error-on=any', 'update'])} && "
        script += shlex.join([*apt, *install])
        command = [
            builder.MINICLUSTER,
            "toolbox",
            f"--bind={folder}",
            "--",
            "sh",
            "-c",
            script,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ClusterError(f"apt did not resolve {architecture} (message above)")
    return planned(done.stdout)


def planned(simulation: str) -> dict[str, str]:
    """Version by name:architecture, from what `apt-get --simulate` prints."""
    found = {}
    for name, version, architecture in _PLANNED.findall(simulation):
        found[f"{name.partition(':')[0]}:{architecture}"] = version
    return found


def write_settings(folder: Path, architecture: str, suite: str) -> None:
    """A separate apt in the folder: this machine's network settings, no packages."""
    for part in (
        "etc/preferences.d",
        "etc/apt.conf.d",
        "state/lists/partial",
        "cache/archives/partial",
    ):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    sources = [f"deb [signed-by={_KEYRING}] {line}\n" for line in archives(suite)]
    (folder / "etc/sources.list").write_text("".join(sources))
    own = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Dir::Etc": f"{folder}/etc",
        "Dir::State": f"{folder}/state",
        "Dir::State::status": f"{folder}/status",
        "Dir::Cache": f"{folder}/cache",
    }
    lines = [f'{name} "{value}";\n' for name, value in own.items()]
    settings = host_settings.apt_configuration(with_bundle=False) + "".join(lines)
    (folder / "apt.conf").write_text(settings)


def archives(suite: str) -> list[str]:
    """Address, suite and component of each archive that the local base has."""
    return mirror.archives(suite)


if __name__ == "__main__":
    os.umask(0o022)
    write()
