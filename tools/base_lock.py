"""Renews the digest of the base image, or prints how to: a part of `make lock`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import versions

_LIMIT_S = 60
_INDEX_KINDS = (b"manifest.list.v2+json", b"image.index.v1+json")


def renew(checkout: Path = versions.CHECKOUT) -> None:
    """Write today's digest into image.env and the recipe, or print why not."""
    image = versions.pins(checkout)["BASE_IMAGE"]
    command = ["skopeo", "inspect", "--raw", f"docker://{image}"]
    manifest, problem = fetch(command)
    if manifest is None:
        print(
            f"base: not renewed, {problem}; where the registry can be reached:"
            f" {' '.join(command)} | sha256sum, then make it BASE_DIGEST in image.env"
            " and the digest in Singularity.def"
        )
        return
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    old = versions.pins(checkout)["BASE_DIGEST"]
    print(f"base: {'unchanged' if digest == old else digest}")
    for name in ("image.env", "Singularity.def"):
        replace(checkout / name, digest)


def fetch(command: list[str]) -> tuple[bytes | None, str]:
    """The index as the registry has it, whose hash is its digest; or what is wrong."""
    if shutil.which(command[0]) is None:
        return None, f"this machine has no {command[0]}"
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        return None, f"the registry did not answer in {_LIMIT_S} s"
    if done.returncode:
        return None, done.stderr.decode(errors="replace").strip()
    if not any(kind in done.stdout for kind in _INDEX_KINDS):
        # The digest of one architecture would be no base for another.
        return None, "the registry gave no index of all architectures"
    return done.stdout, ""


def replace(path: Path, digest: str) -> None:
    before = path.read_text()
    after = re.sub(
        r"(?m)(BASE_DIGEST=|@)(sha256:[0-9a-f]{64})?$", rf"\g<1>{digest}", before
    )
    path.write_text(after)
