"""The ordinary user who builds images, even for root; used by tools/ on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import pwd
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import placing
from folders import cache_folder
from versions import CHECKOUT

# The mini cluster's modules switch from root to an ordinary user and map
# subordinate ids.
sys.path.append(str(CHECKOUT / "minicluster"))
import child
import host

MINICLUSTER = CHECKOUT / "minicluster/minicluster"


@dataclass(frozen=True)
class Builder:
    name: str
    user_id: int
    group_id: int
    home: Path
    cache: Path

    def environment(self, **more: str) -> dict[str, str]:
        passed = ("TERM", "http_proxy", "https_proxy", "no_proxy")
        return {
            **{name: os.environ[name] for name in passed if name in os.environ},
            "PATH": host.SYSTEM_PATH,
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "LANG": "C.UTF-8",
            **more,
        }

    def process_options(self) -> dict[str, Any]:
        """Options of subprocess that run root's child as the builder."""
        if os.geteuid():
            return {}
        return {
            "user": self.user_id,
            "group": self.group_id,
            "extra_groups": os.getgrouplist(self.name, self.group_id),
        }

    def give(self, folder: Path) -> None:
        """Make the builder the owner of root's files."""
        if os.geteuid():
            return
        os.chown(folder, self.user_id, self.group_id)
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = os.path.join(parent, name)
                os.chown(path, self.user_id, self.group_id, follow_symlinks=False)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder in the cache."""
        parent = ensure_folder(self, self.cache / "scratch")
        # Between mkdtemp and the lock a folder would look abandoned.
        with placing.one_at_a_time(parent, f"looks through {parent}"):
            remove_abandoned(parent)
            folder = Path(
                tempfile.mkdtemp(dir=parent, prefix=f"{own_prefix()}{os.getpid()}-")
            )
            held = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            placing.try_lock(held)
        # An unpacked image belongs to subordinate ids, which must be able to pass.
        folder.chmod(0o755)
        self.give(folder)
        try:
            yield folder
        finally:
            remove_tree(folder)
            os.close(held)


def find_builder() -> Builder:
    """The calling user; for root, the ordinary user of the mini cluster."""
    if os.geteuid():
        entry = pwd.getpwuid(os.getuid())
        home, cache = Path.home(), cache_folder()
    else:
        entry = pwd.getpwuid(host.ensure_ordinary_user().user_id)
        home = Path(entry.pw_dir)
        chosen = os.environ.get("JAX_SIF_CACHE")
        cache = Path(chosen) if chosen else home / ".cache/jax-sif"
    builder = Builder(entry.pw_name, entry.pw_uid, entry.pw_gid, home, cache.absolute())
    ensure_folder(builder, builder.cache)
    return builder


def ensure_folder(builder: Builder, folder: Path) -> Path:
    """Makes the folder and its missing parents, and each the builder's own."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            os.chown(path, builder.user_id, builder.group_id)
    return folder


def own_prefix() -> str:
    """Of the scratch of this machine; others may have the same cache."""
    return f"{socket.gethostname()}-"


def remove_abandoned(parent: Path) -> None:
    """Removes the scratch of builds on this machine that were killed.

    Their process is gone, and no process holds the folder: a container has process
    numbers of its own, perhaps under the same host name.
    """
    for folder in parent.glob(f"{own_prefix()}*-*"):
        process = folder.name[len(own_prefix()) :].partition("-")[0]
        if not process.isdigit() or Path("/proc", process).exists():
            continue
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if placing.try_lock(descriptor):
                remove_tree(folder)
        finally:
            os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Removes a folder, also what in it belongs to subordinate ids."""
    if os.geteuid() == 0:
        shutil.rmtree(folder)
    else:
        child.call_as_root("toolbox", lambda: shutil.rmtree(folder))
