"""Builds the root file system of a node or the toolbox; in a namespace."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import kernel
from errors import ClusterError
from host import SYSTEM_PATH, refused_by_kernel

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


@dataclass(frozen=True)
class Bind:
    source: Path
    target: Path


@dataclass(frozen=True)
class Machine:
    tree: Path
    folder: Path
    binds: tuple[Bind, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    device_names: tuple[str, ...] = ()


def _mount_overlay(machine: Machine) -> Path:
    root = machine.folder / "root"
    for name in ("upper", "work", "root"):
        (machine.folder / name).mkdir(parents=True, exist_ok=True)
    # Relative names, because `:` and `,` in a path would end an option.
    os.chdir(machine.folder)
    lower = machine.folder / "lower"
    lower.mkdir(exist_ok=True)
    kernel.mount(str(machine.tree), str(lower), flags=kernel.MS_BIND)
    options = "lowerdir=lower,upperdir=upper,workdir=work,userxattr"
    try:
        kernel.mount("overlay", str(root), "overlay", data=options)
    except OSError as error:
        raise refused_by_kernel("overlay", error) from error
    return root


def _mount_devices(root: Path, placeholders: tuple[str, ...]) -> None:
    dev = root / "dev"
    kernel.mount("tmpfs", str(dev), "tmpfs", data="mode=755")
    sources = {name: f"/dev/{name}" for name in _DEVICES}
    # Slurm needs a character device for each GPU, and cannot make one here.
    sources.update(dict.fromkeys(placeholders, "/dev/null"))
    for name, source in sources.items():
        (dev / name).touch()
        kernel.mount(source, str(dev / name), flags=kernel.MS_BIND)
    for name, target in _LINKS.items():
        (dev / name).symlink_to(target)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    options = "newinstance,ptmxmode=0666,mode=620,gid=5"
    kernel.mount("devpts", str(dev / "pts"), "devpts", data=options)
    kernel.mount("tmpfs", str(dev / "shm"), "tmpfs", data="mode=1777")


def _mount_system(root: Path, own_network: bool) -> None:
    try:
        kernel.mount("proc", str(root / "proc"), "proc")
    except OSError as error:
        raise ClusterError(
            f"/proc of this machine is partly covered, so no namespace may have its"
            f" own ({error}); a container must be started so that it is not (podman:"
            " --security-opt unmask=ALL, docker: --security-opt systempaths=unconfined)"
        ) from error
    if own_network:
        flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount("sysfs", str(root / "sys"), "sysfs", flags)
    else:
        flags = kernel.MS_BIND | kernel.MS_REC
        kernel.mount("/sys", str(root / "sys"), flags=flags)
    kernel.mount("tmpfs", str(root / "run"), "tmpfs", data="mode=755")
    (root / "run/lock").mkdir(mode=0o1777)


def _make_mount_point(root: Path, target: Path, is_folder: bool) -> Path:
    """Create the mount point of a bind, accessible to all users."""
    place = root / target.relative_to("/")
    for parent in reversed(place.relative_to(root).parents):
        step = root / parent
        if not step.exists():
            step.mkdir()
        if step.stat().st_mode & 0o011 != 0o011:
            step.chmod(step.stat().st_mode | 0o011)
    if is_folder:
        place.mkdir(exist_ok=True)
    else:
        place.touch()
    return place


def _bind(root: Path, bind: Bind) -> None:
    place = _make_mount_point(root, bind.target, bind.source.is_dir())
    flags = kernel.MS_BIND | kernel.MS_REC
    kernel.mount(str(bind.source), str(place), flags=flags)


def _write(root: Path, name: str, text: str) -> None:
    path = root / name.lstrip("/")
    # It may be a link of the distribution, into /run or elsewhere.
    path.unlink(missing_ok=True)
    path.write_text(text)


def enter(machine: Machine, own_network: bool) -> None:
    """Make the machine's root file system that of this process."""
    root = _mount_overlay(machine)
    temporary = machine.folder / "tmp"
    temporary.mkdir(exist_ok=True)
    temporary.chmod(0o1777)
    _mount_system(root, own_network)
    _mount_devices(root, machine.device_names)
    kernel.mount(str(temporary), str(root / "tmp"), flags=kernel.MS_BIND)
    for bind in machine.binds:
        _bind(root, bind)
    for name, text in machine.texts.items():
        _write(root, name, text)
    os.chdir(root)
    # In a chroot a job (Apptainer) could not make namespaces.
    # The program is in /usr/sbin, which an ordinary user's PATH may lack.
    subprocess.run(["pivot_root", ".", "."], env={"PATH": SYSTEM_PATH}, check=True)
    kernel.detach(".")
    os.chdir("/")
