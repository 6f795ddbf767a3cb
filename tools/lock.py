"""Resolves requirements/*.in to exact versions with hashes: `make lock`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import base_lock
import debian_lock
import host_settings
import versions
from errors import ClusterError
from folders import cache_folder

import modulefiles

# Packages on top of any image; those that the images have are left to them.
EXAMPLES = versions.EXAMPLES
_IMAGE = "cpu"
# What has no wheels: the packages of Debian, and the digest of the base.
DEBIAN, BASE = "debian", "base"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("accel", nargs="*", metavar="ACCEL", help="default: all")
    wheels = (*versions.ACCELERATORS, versions.REPORT, EXAMPLES, versions.TOOLS)
    chosen = parser.parse_args(arguments).accel or [*wheels, DEBIAN, BASE]
    try:
        for accel in set(chosen) - {DEBIAN, BASE}:
            versions.lock_path(accel)
        uv = install_uv(versions.lock_path(versions.TOOLS))
        for accel in chosen:
            if accel == DEBIAN:
                debian_lock.write()
            elif accel == BASE:
                base_lock.renew()
            else:
                lock(uv, accel)
        # The module's versions are named after JAX's.
        modulefiles.write_all()
    except versions.UsageError as error:
        print(f"lock.py: {error}", file=sys.stderr)
        return 2
    except (ClusterError, OSError) as error:
        print(f"lock.py: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(
            f"lock.py: {' '.join(map(str, error.cmd))} ended with status"
            f" {error.returncode} (message above); the old lock is untouched",
            file=sys.stderr,
        )
        return 1
    return 0


def install_uv(lock_file: Path) -> Path:
    """The locked resolver, in its own folder in the cache."""
    key = hashlib.sha256(lock_file.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"uv-{key}"
    program = folder / "bin/uv"
    if not program.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="uv-new-") as name:
            # A virtual environment names its own path, so pip alone is borrowed.
            venv.create(Path(name) / "venv", with_pip=True)
            pip = str(Path(name) / "venv/bin/python")
            new = Path(name) / "uv"
            subprocess.run([pip, *pip_install(lock_file, new)], check=True)
            # Another process may have been as fast, with the same program.
            if not folder.exists():
                new.rename(folder)
    return program


def pip_install(lock_file: Path, target: Path) -> list[str]:
    """The words for Python; pip takes no file whose hash the lock does not name."""
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    return [*words, "--target", str(target), "--requirement", str(lock_file)]


def lock(uv: Path, accel: str) -> None:
    target = versions.lock_path(accel)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".lock-") as name:
        new = Path(name) / target.name
        resolve(uv, accel, new)
        check_platforms(uv, new)
        new.write_text(header(accel) + new.read_text())
        old = target.read_text() if target.exists() else ""
        print(f"{target.name}: {'unchanged' if old == new.read_text() else 'written'}")
        new.replace(target)


def resolve(uv: Path, accel: str, output: Path) -> None:
    subprocess.run(
        [
            *(str(uv), "pip", "compile", "--quiet", "--no-config", "--no-header"),
            *("--universal", "--python-version", versions.pins()["PYTHON_VERSION"]),
            *("--generate-hashes", "--no-emit-index-url", "--no-annotate"),
            *("--only-binary", ":all:", "--emit-build-options"),
            # Nothing of it is run, so it needs nothing.
            *(["--no-deps"] if accel in (versions.REPORT, versions.TOOLS) else []),
            *(on_top_of_the_image() if accel == EXAMPLES else ()),
            *("--output-file", str(output), f"requirements/{accel}.in"),
        ],
        check=True,
        cwd=versions.CHECKOUT,
        env={**os.environ, **host_settings.uv_environment()},
    )


def on_top_of_the_image() -> list[str]:
    """The image's packages stay as they are, and need not be there twice."""
    words = ["--constraints", f"requirements/{_IMAGE}.txt"]
    for name in versions.locked_versions(_IMAGE):
        words += ["--no-emit-package", name]
    return words


def check_platforms(uv: Path, lock_file: Path) -> None:
    """Every platform must find a wheel for every requirement; nothing is installed."""
    pinned = versions.pins()
    for platform in pinned["LOCK_PLATFORMS"].split(","):
        target = lock_file.parent / platform
        subprocess.run(
            [
                *(str(uv), "pip", "install", "--quiet", "--no-config", "--dry-run"),
                *("--target", str(target), "--python-platform", platform),
                *("--python-version", pinned["PYTHON_VERSION"]),
                *("--no-deps", "--require-hashes", "--requirements", str(lock_file)),
            ],
            check=True,
            env={**os.environ, **host_settings.uv_environment()},
        )


def header(accel: str) -> str:
    what = {
        versions.REPORT: "The exact wheel that plotly.js is taken from",
        EXAMPLES: "The exact wheels of the examples",
        versions.TOOLS: "The exact wheels that `make lock` runs",
    }.get(accel, f"The exact wheels of the {accel} image")
    return (
        f"# {what}; made by `make lock`.\n"
        "# SPDX-License-Identifier: Apache-2.0\n"
        f"# inputs: {versions.lock_inputs_hash(accel)}\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
