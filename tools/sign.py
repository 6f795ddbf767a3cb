"""Signs a built image, so that jobs refuse any other: `make sign`; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import build_run
import placing
from build_image import Runtime, find_runtime
from build_run import BuildError
from builder import MINICLUSTER, Builder, find_builder
from versions import CHECKOUT, DEFAULT_ACCELERATOR, UsageError, check_accelerator

# Standard input, which is there in the toolbox too.
_KEY_FROM_MEMORY = "/dev/stdin"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--accel", default=DEFAULT_ACCELERATOR, help="whose image")
    parser.add_argument("--key", default=os.environ.get("KEY"), help="a private key")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / "build")
    options = parser.parse_args(arguments)
    return build_run.run_tool(
        "sign.py", lambda: sign(options.accel, options.folder.absolute(), options.key)
    )


def sign(accel: str, folder: Path, key: str | None) -> None:
    """Sign a copy, verify its signature, and replace the image by it.

    Jobs may have the image open. Only the new signature counts: Apptainer refuses an
    image of which one signature is another key's.
    """
    image = build_run.find_image(check_accelerator(accel), folder)
    private, public = read_key(key)
    builder = find_builder()
    build_run.check_room(image, builder.cache, "JAX_SIF_CACHE=... make sign")
    lock = placing.one_at_a_time(placing.lock_file(image), f"works on {image}")
    with lock, builder.scratch() as scratch:
        copy, public_key = scratch / "image", scratch / "pub"
        shutil.copyfile(image, copy)
        public_key.write_bytes(public)
        builder.give(scratch)
        signer = Signer(find_runtime(), builder, scratch)
        signer.remove_signatures(copy)
        signer.apptainer("sign", "--key", _KEY_FROM_MEMORY, copy, given=private)
        signer.apptainer("verify", "--key", public_key, copy)
        build_run.publish_signed(copy, public_key, image)
    print(f"signed {image}; its public key is {build_run.key_file(image)}")


def read_key(path: str | None) -> tuple[bytes, bytes]:
    """The private key, and the public one that belongs to it; both PEM."""
    if not path:
        raise UsageError(
            "which key? make sign KEY=centre.pem; a new one: openssl genpkey -algorithm"
            " ED25519 -out centre.pem"
        )
    command = ["openssl", "pkey", "-in", path]
    keys = []
    for option in ((), ("-pubout",)):
        try:
            done = subprocess.run([*command, *option], capture_output=True)
        except FileNotFoundError as error:
            raise BuildError(
                "openssl, which reads the key, is not on PATH: install it"
            ) from error
        if done.returncode:
            errors = done.stderr.decode(errors="replace").strip().splitlines()
            raise UsageError(
                f"KEY={path!r} is no private key in PEM: {errors[0] if errors else ''};"
                " a new one: openssl genpkey -algorithm ED25519 -out centre.pem"
            )
        keys.append(done.stdout)
    return keys[0], keys[1]


@dataclass(frozen=True)
class Signer:
    """Runs Apptainer as the building user, on files in a folder."""

    runtime: Runtime
    builder: Builder
    folder: Path

    def apptainer(self, *words: str | Path, given: bytes = b"") -> str:
        """Run it with an input. Raises BuildError with Apptainer's message."""
        command = [self.runtime.command[-1], *map(str, words)]
        options = self.builder.process_options()
        if self.runtime.in_toolbox:
            toolbox = (str(MINICLUSTER), "toolbox", f"--bind={self.folder}", "--")
            command, options = [*toolbox, *command], {}
        with self.in_memory(given) as file:
            done = subprocess.run(
                command,
                stdin=file,
                capture_output=True,
                text=True,
                env=None if self.runtime.in_toolbox else self.builder.environment(),
                **options,
            )
        if done.returncode:
            raise BuildError(
                f"apptainer {words[0]} ended with status {done.returncode}; the image"
                f" is unchanged:\n{done.stderr.strip()}"
            )
        return done.stdout

    @contextmanager
    def in_memory(self, content: bytes) -> Iterator[BinaryIO]:
        """An unnamed file of the builder in memory, so that a key is on no disk."""
        with open(os.memfd_create("jax-sif-key"), "w+b") as file:
            os.fchmod(file.fileno(), 0o600)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), self.builder.user_id, self.builder.group_id)
            file.write(content)
            file.flush()
            yield file

    def remove_signatures(self, image: Path) -> None:
        listed = self.apptainer("siftool", "list", image)
        for number in re.findall(r"^(\d+) .*\|Signature", listed, flags=re.MULTILINE):
            self.apptainer("siftool", "del", number, image)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
