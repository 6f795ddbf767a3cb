"""Makes Debian trees, cached by their recipe; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import child
import host
import idmaps
import mirror
from errors import ClusterError

# Increase it when a change below alters the content of a tree.
RECIPE_VERSION = 1
CACHE_KNOB = "JAX_SIF_CACHE"
CLUSTER_SUITE = "sid"
# Without fuse2fs and gocryptfs Apptainer prints a warning at each start.
CLUSTER_PACKAGES = (
    *("apptainer", "squashfs-tools", "squashfuse", "fuse3", "fuse2fs", "gocryptfs"),
    *("slurm-wlm", "slurm-client", "munge", "lmod", "uidmap", "ca-certificates"),
    *("iproute2", "nftables", "procps", "make", "python3", "python3-venv"),
)
_NEEDED_BYTES = 2 << 30


@dataclass(frozen=True)
class Recipe:
    suite: str
    packages: tuple[str, ...]
    mirrors: tuple[str, ...]

    @property
    def name(self) -> str:
        parts = (self.suite, *self.packages, *self.mirrors, platform.machine())
        text = "\n".join((*parts, str(RECIPE_VERSION)))
        return f"{self.suite}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def cluster_recipe() -> Recipe:
    return Recipe(CLUSTER_SUITE, CLUSTER_PACKAGES, (mirror.debian_mirror(),))


def base_recipe(suite: str) -> Recipe:
    """A base tree, with the updates and security updates used on this machine."""
    return Recipe(suite, (), tuple(f"deb {line}" for line in mirror.archives(suite)))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock: one process makes an entry, the others wait and then use it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _run_logged(command: list[str], log: Path, environment: dict[str, str]) -> None:
    with log.open("w") as stream:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        remedy = ""
        if "No space left" in tail:
            remedy = f"\nthe disk is full: free some, or set {CACHE_KNOB}"
        raise ClusterError(
            f"{command[0]} ended with status {done.returncode}; the end of {log}:\n"
            f"{tail}{remedy}"
        )


def _hooks(recipe: Recipe, packages_folder: Path) -> list[str]:
    """Hooks that cache downloads (apt verifies them again) and add the job user."""
    archives = "/var/cache/apt/archives"
    hooks = [
        f'--setup-hook=mkdir -p "$1"{archives}',
        f"--setup-hook=sync-in {packages_folder} {archives}",
        f"--customize-hook=sync-out {archives} {packages_folder}",
    ]
    if recipe.packages:
        make_user = (
            f'chroot "$1" useradd --uid {idmaps.JOB_ID} --no-create-home'
            f" --home-dir /home/{idmaps.JOB_USER} --shell /bin/bash"
            f" {idmaps.JOB_USER}"
        )
        hooks.append(f"--customize-hook={make_user}")
    return hooks


def _bootstrap(
    recipe: Recipe, target: Path, cache: Path, work: Path, apt_options: list[str]
) -> None:
    """Makes the tar file of a recipe; runs as root of a namespace."""
    packages = cache / "packages"
    for folder in (work, packages):
        folder.mkdir(exist_ok=True)
    options = ['Acquire::Check-Valid-Until "false"', *apt_options]
    command = [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--skip=download/empty,essential/unlink",
        *[f"--aptopt={option}" for option in options],
        *_hooks(recipe, packages),
    ]
    if recipe.packages:
        command.append(f"--include={','.join(recipe.packages)}")
    environment = host.forwarded_env()
    environment.update(
        PATH=host.SYSTEM_PATH, TMPDIR=str(work), LANG="C.UTF-8", HOME="/root"
    )
    if not recipe.packages:
        # The same packages make the same file, whose hash is in image.json.
        environment["SOURCE_DATE_EPOCH"] = "1"
    command += [recipe.suite, str(target), *recipe.mirrors]
    _run_logged(command, cache / f"{recipe.name}.log", environment)


def tar_file(recipe: Recipe, cache: Path) -> Path:
    """The compressed tree of a recipe, made if the cache has none."""
    cache.mkdir(parents=True, exist_ok=True)
    final = cache / f"{recipe.name}.tar.zst"
    with _locked(cache / f"{recipe.name}.lock"):
        if final.exists():
            return final
        host.check_free_space(cache, _NEEDED_BYTES, CACHE_KNOB)
        print(f"minicluster: making {final.name} (once)", file=sys.stderr)
        part = cache / f"part-{recipe.name}.tar.zst"

        work = cache / f"work-{recipe.name}"

        def make() -> None:
            options = mirror.transport_options()
            child.call_as_first_process(
                lambda: _bootstrap(recipe, part, cache, work, options)
            )
            # Other users, such as a container engine, read it as well.
            os.chown(part, idmaps.JOB_ID, idmaps.JOB_ID)
            part.chmod(0o644)

        _remove("cluster", work)
        try:
            child.call_as_root("cluster", make)
            part.rename(final)
        finally:
            _remove("cluster", work)
            part.unlink(missing_ok=True)
    return final


def tree(recipe: Recipe, map_name: str, cache: Path) -> Path:
    """The unpacked tree, with owners by the named id map."""
    final = cache / map_name / recipe.name
    if final.exists():
        return final
    tar = tar_file(recipe, cache)
    final.parent.mkdir(exist_ok=True)
    with _locked(cache / f"{recipe.name}-{map_name}.lock"):
        if final.exists():
            return final
        host.check_free_space(cache, _NEEDED_BYTES, CACHE_KNOB)
        part = final.with_name(f"part-{final.name}")

        def unpack() -> None:
            part.mkdir()
            part.chmod(0o755)
            # Namespaces have no right to make device nodes.
            command = ["tar", "--extract", "--zstd", "--numeric-owner"]
            command += ["--preserve-permissions", "--exclude=./dev/*"]
            command += [f"--file={tar}", f"--directory={part}"]
            _run_logged(command, cache / f"{recipe.name}-tar.log", dict(os.environ))
            part.rename(final)

        _remove(map_name, part)
        child.call_as_root(map_name, unpack)
    return final


def _remove(map_name: str, folder: Path) -> None:
    """Remove files of subordinate ids, in a namespace without mounts."""
    if folder.exists():
        child.call_as_root(map_name, lambda: shutil.rmtree(folder))


def remove_all(cache: Path) -> None:
    """Remove every cached tree, including files of subordinate ids."""
    if not cache.exists():
        return
    for path in cache.iterdir():
        if path.is_dir():
            _remove("cluster", path)
        else:
            path.unlink()
