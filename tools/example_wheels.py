"""Downloads the wheels of the examples for nodes without network; prints the folder."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import versions

# What manylinux_2_28 and older, as LOCK_PLATFORMS promises, are called in wheels'
# names.
_GLIBC = [f"manylinux_2_{minor}" for minor in range(28, 4, -1)]
_TAGS = [*_GLIBC, "manylinux2014", "manylinux2010", "manylinux1"]


def main() -> int:
    print(fetch())
    return 0


def fetch(checkout: Path = versions.CHECKOUT) -> Path:
    """The folder with the wheels; they are fetched once."""
    lock = versions.lock_path(versions.EXAMPLES, checkout)
    key = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = checkout / "build" / f"example-wheels-{key}-{platform.machine()}"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wheels-") as name:
            # Users of the cluster read them.
            new = Path(name) / "wheels"
            new.mkdir()
            subprocess.run(pip_download(lock, new), check=True)
            # Another process may have been as fast, with the same files.
            if not folder.exists():
                new.rename(folder)
    return folder


def pip_download(lock: Path, folder: Path) -> list[str]:
    """Fetches for the image's Python, whatever this one is."""
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet"),
        *("--disable-pip-version-check", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--implementation", "cp"),
        *("--python-version", versions.pins()["PYTHON_VERSION"]),
        *(f"--platform={tag}_{platform.machine()}" for tag in _TAGS),
        *("--dest", str(folder), "--requirement", str(lock)),
    ]


if __name__ == "__main__":
    sys.exit(main())
