"""The container that a program is started in, and the program's command line."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxsif.lint.options import NO_OPTIONS, Option, Options, read
from jaxsif.lint.programs import is_of_interest
from jaxsif.lint.tables import APPTAINER
from jaxsif.lint.words import Word

_IMAGE = re.compile(r"IMAGE|IMG|SIF|CONTAINER", re.IGNORECASE)
_ACTIONS = ("run", "exec", "shell", "test")
_GPU_WORDS = ("--gpu", "--gpus", "--device", "--nv", "--hooks-dir", "--module=gpu")


@dataclass(frozen=True)
class Container:
    """How a container is started.

    `gives_gpus` says whether its options let it see GPUs; None if unknown.
    """

    runtime: str
    action: str
    line: int
    image: Word | None = None
    options: Options = NO_OPTIONS
    gives_gpus: bool | None = None

    @property
    def is_apptainer(self) -> bool:
        return self.runtime in ("apptainer", "singularity")


def enter(words: Sequence[Word]) -> tuple[Container, tuple[Word, ...]] | None:
    """The container that a runtime's words start, and what runs in it.

    None where they start nothing: `apptainer pull`.
    """
    runtime = words[0]
    if runtime.base in ("apptainer", "singularity"):
        return _apptainer(runtime, words[1:])
    if runtime.base == "shifter":
        return _other(runtime, "run", words[1:])
    action = words[1].text if len(words) > 1 else ""
    return _other(runtime, action, words[2:]) if action in ("run", "exec") else None


def _apptainer(
    runtime: Word, words: Sequence[Word]
) -> tuple[Container, tuple[Word, ...]] | None:
    globally = read(words, APPTAINER)
    if not globally.rest or globally.rest[0].text not in _ACTIONS:
        return None
    action, *behind = globally.rest
    options = _with_image(read(behind, APPTAINER))
    image, program = options.rest[:1], options.rest[1:]
    gives_gpus = options.has("nv", "nvccli", "rocm") or (
        None if options.is_open or _has_unknown(options.given) else False
    )
    container = Container(
        runtime.base,
        action.text,
        runtime.line,
        image[0] if image else None,
        options,
        gives_gpus,
    )
    return container, program


def _with_image(options: Options) -> Options:
    """Of unknown variables in front of the program the last is the image."""
    is_program = not options.rest or is_of_interest(options.rest[0])
    if not options.unclear or not (is_program or _is_image(options.unclear[-1])):
        return options
    *unclear, image = options.unclear
    return replace(options, rest=(image, *options.rest), unclear=tuple(unclear))


def _is_image(word: Word) -> bool:
    return any(_IMAGE.search(name) for name in word.names)


def _has_unknown(options: Sequence[Option]) -> bool:
    return any(option.fault for option in options)


def _other(
    runtime: Word, action: str, words: Sequence[Word]
) -> tuple[Container, tuple[Word, ...]]:
    """Of runtimes with many options: where something familiar begins, they end."""
    start = next((i for i, w in enumerate(words) if is_of_interest(w)), len(words))
    before, program = words[:start], words[start:]
    gives_gpus = any(word.text.startswith(_GPU_WORDS) for word in before)
    # The image is the last argument before a known program.
    names_image = before and program and not before[-1].text.startswith("-")
    image = before[-1] if names_image else None
    container = Container(runtime.base, action, runtime.line, image)
    return replace(container, gives_gpus=gives_gpus), tuple(program)


def of_pyxis(srun: Options) -> Container | None:
    """The container that srun itself starts: Pyxis, or a site's container engine."""
    option = srun.last("container-image", "environment", "uenv")
    if option is None:
        return None
    action = "run" if srun.has("container-entrypoint") else "exec"
    # Their hooks mount the GPUs of the step without an option.
    return Container("pyxis", action, option.line, option.value, srun, True)
