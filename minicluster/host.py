"""Makes the host ready: packages, the ordinary user for root, kernel; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import idmaps
from errors import ClusterError

# Root runs the cluster as this user, so that there is one code path for all users.
USER, USER_HOME = "jaxsif", Path("/var/lib/jaxsif")
PROGRAM_PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "ip": "iproute2",
    "tar": "tar",
    "zstd": "zstd",
    "pivot_root": "util-linux",
    # Root's own Python may be where the ordinary user has no access.
    "python3": "python3",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PROXY_NAMES = ("http_proxy", "https_proxy", "no_proxy")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def forwarded_env(*names: str) -> dict[str, str]:
    """The caller's variables that are passed on: the proxies, and those named."""
    proxies = [*_PROXY_NAMES, *(name.upper() for name in _PROXY_NAMES)]
    allowed = (*proxies, *names)
    return {name: os.environ[name] for name in allowed if name in os.environ}


def _missing_packages() -> list[str]:
    missing = {
        package
        for program, package in PROGRAM_PACKAGES.items()
        if shutil.which(program, path=SYSTEM_PATH) is None
    }
    if not KEYRING.exists():
        missing.add("debian-archive-keyring")
    return sorted(missing)


def _apt_get(*words: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ClusterError(
            f"{' '.join(command)} ended with status {done.returncode}:\n"
            f"{done.stdout}{done.stderr}"
        )


def ensure_packages() -> None:
    missing = _missing_packages()
    if not missing:
        return
    if os.geteuid() or shutil.which("apt-get") is None:
        raise ClusterError(
            f"missing on this machine: {' '.join(missing)}; install with: sudo apt-get"
            f" install --no-install-recommends {' '.join(missing)}"
        )
    print(f"minicluster: installing {' '.join(missing)}", file=sys.stderr)
    _apt_get("update")
    _apt_get("install", "--yes", "--no-install-recommends", *missing)


def ensure_ordinary_user() -> idmaps.Account:
    """The account that root switches to, created if it is missing."""
    try:
        user_id = pwd.getpwnam(USER).pw_uid
    except KeyError:
        command = ["useradd", "--create-home", "--home-dir", str(USER_HOME)]
        subprocess.run([*command, "--shell", "/bin/bash", USER], check=True)
        user_id = pwd.getpwnam(USER).pw_uid
    try:
        return idmaps.account_of(user_id)
    except ClusterError:
        ids = idmaps.free_range()
        command = ["usermod", "--add-subuids", ids, "--add-subgids", ids, USER]
        subprocess.run(command, check=True)
        return idmaps.account_of(user_id)


def open_fuse_to_users() -> None:
    """Give /dev/fuse the mode that udev would give it."""
    device = Path("/dev/fuse")
    if device.exists() and stat.S_IMODE(device.stat().st_mode) != 0o666:
        device.chmod(0o666)


def _sysctl(name: str) -> str:
    path = Path("/proc/sys") / name.replace(".", "/")
    return path.read_text().strip() if path.exists() else ""


def check_machine() -> None:
    """Raise ClusterError if this machine cannot run the cluster."""
    blockers = {
        "user.max_user_namespaces": ("0", "10000"),
        "kernel.unprivileged_userns_clone": ("0", "1"),
        "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    }
    for name, (bad, good) in blockers.items():
        if _sysctl(name) == bad:
            raise ClusterError(
                f"this machine forbids user namespaces: {name} is {bad!r}; an"
                f" administrator can allow them: sudo sysctl -w {name}={good}"
            )
    idmaps.account_of(os.getuid())
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise ClusterError(
            "/dev/fuse is missing or closed to you, and Apptainer mounts images with"
            " it; an administrator can open it: sudo modprobe fuse &&"
            " sudo chmod 666 /dev/fuse"
        )


def refused_by_kernel(what: str, error: OSError) -> ClusterError:
    """The message for a mount or link that the kernel refused."""
    return ClusterError(
        f"this kernel refuses {what} inside a user namespace: {error}; try: sudo"
        f" modprobe {what} (overlay needs Linux 5.11 or newer, and a state folder on"
        " a local disk: ext4, xfs, btrfs or tmpfs)"
    )


def check_free_space(folder: Path, needed_bytes: int, knob: str) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ClusterError(
            f"{folder} has {free_bytes >> 20} MiB free and {needed_bytes >> 20} MiB are"
            f" needed; free some, or choose another folder with {knob}"
        )
