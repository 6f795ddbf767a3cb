"""Packages, libraries and modules from outside the image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

from jaxsif.lint.rule import WARNING, Violation, rule
from jaxsif.lint.script import Script
from jaxsif.lint.words import Word

_PACKAGES = re.compile(r"site-packages|dist-packages|/\.local\b|conda|/envs/")
_LIBRARIES = re.compile(r"cuda|cudnn|nccl|nvidia", re.IGNORECASE)
_INSTALLERS = re.compile(r"(?:pip[\d.]*|conda|mamba|micromamba|uv)")


@rule(
    "library-path",
    WARNING,
    fix="leave it out: JAX's wheels bring CUDA, cuDNN and NCCL with them",
    why="libraries on that path come before JAX's own; an older cuDNN or NCCL then ends"
    " in an error, or on the CPU",
    source="jax docs, installation; tried with Apptainer 1.4",
)
def library_path(script: Script) -> Iterator[Violation]:
    """LD_LIBRARY_PATH makes JAX load libraries other than its own"""
    for launch in script.jax_launches:
        setting = launch.variables.get("LD_LIBRARY_PATH")
        if setting is None or setting.value is None or not setting.is_certain:
            continue
        plain = (*script.settings, *launch.command.settings)
        if launch.container and setting.name == "LD_LIBRARY_PATH" and setting in plain:
            # Apptainer takes it away, and keeps only what is meant for the container.
            continue
        is_meant_for_it = setting.name != "LD_LIBRARY_PATH"
        if is_meant_for_it or _LIBRARIES.search(setting.value.text):
            yield Violation(setting.line, f"LD_LIBRARY_PATH={setting.value.text}")


@rule(
    "python-path",
    WARNING,
    fix="leave packages of the host out; put an environment on top of the image's",
    why="Apptainer hands PYTHONPATH to the container, where its packages come before the"
    " image's, made for another Python or with another jax",
    source="tried with Apptainer 1.4; blackfish #366",
)
def python_path(script: Script) -> Iterator[Violation]:
    """PYTHONPATH adds packages of the host to the container"""
    for launch in script.launches:
        setting = launch.variables.get("PYTHONPATH")
        if launch.container is None or setting is None or setting.value is None:
            continue
        if setting.is_certain and _PACKAGES.search(setting.value.text):
            yield Violation(setting.line, f"PYTHONPATH={setting.value.text}")


@rule(
    "pip-install",
    WARNING,
    fix="install before you submit, into an environment that the job only uses",
    why="compute nodes often have no way out, several ranks write the same files at once,"
    " and a second jax may come before the image's",
    source="measured: pip install --target pulled a second jax over the image's",
)
def pip_install(script: Script) -> Iterator[Violation]:
    """The job installs packages"""
    for command in script.commands:
        if _installs(command.words):
            yield Violation(command.line, "packages are installed while the job runs")
    for launch in script.launches:
        if _installs(launch.program):
            yield Violation(launch.line, "packages are installed while the job runs")


def _installs(words: tuple[Word, ...]) -> bool:
    texts = [word.text for word in words]
    if not words or "install" not in texts:
        return False
    before = words[: texts.index("install")]
    return any(_INSTALLERS.fullmatch(word.base) for word in before)


@rule(
    "module-after-use",
    WARNING,
    fix="load it before the first step",
    why="`module load` affects only later commands",
    source="Lmod documentation",
)
def module_after_use(script: Script) -> Iterator[Violation]:
    """A module is loaded after the commands that need it"""
    last = max((launch.line for launch in script.work), default=None)
    for module in script.modules:
        if last is not None and module.line > last:
            yield Violation(
                module.line, f"no command after this line needs {module.text}"
            )


RULES = (library_path, python_path, pip_install, module_after_use)
