"""What the pages give a reader to type, and whether it exists: commands, files, variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from unittest.mock import patch

from checkout import ROOT

from jaxsif.commands import COMMANDS

FENCED = re.compile(r"(?ms)^```.*?^```$")
INDENTED = re.compile(r"(?m)(?:^(?: {4}|\t).*\n?)+")
INLINE = re.compile(r"`([^`]+)`")
# What ends a command within a line: a pipe, a redirection, the next command, a comment.
_END = re.compile(r"\s\|&?(?:\s|$)|;|&&|\s>\s|\s#(?:\s|$)|[`)]|$")


def segments(page: str) -> list[str]:
    """Every line of a block, and every piece of inline code, each in one line."""
    page = page.replace("\\\n", " ")
    found = []
    for block in (FENCED, INDENTED):
        found += [line for text in block.findall(page) for line in text.splitlines()]
        page = block.sub("\n", page)
    return found + [" ".join(code.split()) for code in INLINE.findall(page)]


def words_behind(segment: str, start: int) -> list[str]:
    """The words of the command that is under way at `start`."""
    rest = segment[start:]
    end = _END.search(rest)
    return rest[: end.start()].split() if end else rest.split()


def complaints(page: str) -> list[str]:
    """What a page gives the reader to type that does not exist."""
    kinds = (_tool, _make, _module, _paths, _programs, _cluster, _variables)
    return [
        complaint
        for segment in segments(page)
        for kind in kinds
        for complaint in kind(segment)
    ]


# jax-sif ---------------------------------------------------------------------------------

# The word behind the profile, or the topology, begins a program with options of its own.
_WITH_PROGRAM = ("job", "launch", "scale", "scale plan")
_DESCRIPTIONS = {
    "packages": ("create", "list", "info", "freeze", "check"),
    "baseline": ("add", "show"),
    "scale": ("plan", "show"),
    "profile": ("list", "show"),
    "site": ("list", "show", "detect"),
}
# The others of these go on with a word of the user's, too.
_WITH_DEED = ("packages", "baseline", "profile", "site")
# Takes the name of any command: the image's own program.
_WITHOUT_OPTIONS = ("run",)


def options_of(*words: str) -> dict[str, bool]:
    """Each option of a command, and whether a value follows it; by its real parser."""
    shown: list[argparse.ArgumentParser] = []

    def show(parser: argparse.ArgumentParser, file: object = None) -> None:
        shown.append(parser)

    command = importlib.import_module(f"jaxsif.commands.{words[0]}")
    with (
        patch.object(argparse.ArgumentParser, "print_help", show),
        contextlib.suppress(SystemExit),
    ):
        command.main([*words[1:], "--help"])
    return {
        option: action.nargs != 0
        for action in shown[0]._actions
        for option in action.option_strings
    }


@functools.cache
def _known(name: str) -> dict[str, bool]:
    if name == "accept":
        return {**options_of("accept"), **options_of("job"), "--topology": True}
    return options_of(*name.split())


def _tool(segment: str) -> Iterator[str]:
    for found in re.finditer(r"(?<![\w./:-])jax-sif ([a-z]+)(?![\w:])", segment):
        name, words = found[1], words_behind(segment, found.end())
        if name == "help" and (not words or words[0] in (*COMMANDS, "COMMAND")):
            continue
        if name not in COMMANDS:
            yield f"jax-sif {name}"
            continue
        if words and words[0] in _DESCRIPTIONS.get(name, ()):
            name = f"{name} {words.pop(0)}"
        elif name in _WITH_DEED and words and re.fullmatch("[a-z]+", words[0]):
            yield f"jax-sif {name} {words[0]}"
            continue
        if name not in _WITHOUT_OPTIONS:
            known, limit = _known(name), 1 if name in _WITH_PROGRAM else None
            yield from (f"jax-sif {name} {x}" for x in _unknown(words, known, limit))


def _unknown(
    words: list[str], known: dict[str, bool], most_words: int | None
) -> Iterator[str]:
    """Options that are not known, up to where a program of the user's begins."""
    count, is_value = 0, False
    for word in words:
        option, is_joined, _ = word.partition("=")
        if is_value:
            is_value = False
        elif word == "--" or (most_words is not None and count > most_words):
            return
        elif not word.startswith("-") or word == "-":
            count += 1
        elif option not in known:
            yield option
        else:
            is_value = known[option] and not is_joined


# make ------------------------------------------------------------------------------------


@functools.cache
def _make_words() -> tuple[set[str], str]:
    makefile = (ROOT / "Makefile").read_text()
    tools = "".join(p.read_text() for p in (ROOT / "tools").iterdir() if p.is_file())
    return set(re.findall(r"^([a-z-]+):.*##", makefile, re.M)), makefile + tools


def _make(segment: str) -> Iterator[str]:
    verbs, text = _make_words()
    # At a line's beginning: in a sample of output it is a word.
    for found in re.finditer(r"(?:^|[$;`] ?|&& )make (?=\S)", segment.strip()):
        for word in words_behind(segment.strip(), found.end()):
            knob = re.match(r"([A-Z_]+)=", word)
            if knob and not re.search(rf"\b{knob[1]}\b", text):
                yield f"make {knob[1]}="
            elif re.fullmatch(r"[a-z-]+", word) and word not in verbs:
                yield f"make {word}"


# The module ------------------------------------------------------------------------------


def _module(segment: str) -> Iterator[str]:
    """A version is renamed with every new JAX."""
    for version in re.findall(r"module load (jax-sif/[\w.-]+)", segment):
        if not (ROOT / "modulefiles" / f"{version}.lua").is_file():
            yield f"module load {version}"


# Files and programs of the checkout ------------------------------------------------------

_FOLDERS = "jobs|examples|diag|benchmarks|tools|minicluster|tests|src|docs|bin"
_PATH = re.compile(
    rf"(?:^|[\s\"'(=]|ROOT/|jax-sif/)((?:{_FOLDERS})/[\w./*-]*[\w/*])(?![\w{{<])"
)


def _paths(segment: str) -> Iterator[str]:
    for path in _PATH.findall(segment):
        # NAME stands for any.
        pattern = re.sub(r"\bNAME\b", "*", path.rstrip("/"))
        if not any(ROOT.glob(pattern)):
            yield path


_PROGRAM = re.compile(r"((?:diag|examples|benchmarks|tools)/\w+(?:\.py)?)(?= )")
# Where options of a program stand besides itself.
_OPTIONS_IN = {"diag": "src/jaxsif/*/*.py", "tools": "tools/*.py"}


def _programs(segment: str) -> Iterator[str]:
    for found in _PROGRAM.finditer(segment):
        program = ROOT / found[1]
        if not program.is_file():
            continue
        more = ROOT.glob(_OPTIONS_IN.get(program.parent.name, found[1]))
        text = "".join(path.read_text() for path in (program, *more))
        for word in words_behind(segment, found.end()):
            option = re.match(r"--[a-z][a-z-]*", word)
            if option and f'"{option[0]}"' not in text:
                yield f"{found[1]} {option[0]}"


def _cluster(segment: str) -> Iterator[str]:
    for found in re.finditer(r"minicluster/minicluster ([a-z-]+)", segment):
        verb, text = found[1], _cluster_help(found[1])
        if text is None:
            yield f"minicluster {verb}"
            continue
        own = words_behind(segment.partition(" -- ")[0], found.end())
        for word in own:
            if word.startswith("--") and not re.search(rf"{word}\b", text):
                yield f"minicluster {verb} {word}"


@functools.cache
def _cluster_help(verb: str) -> str | None:
    """None: there is no such verb."""
    done = subprocess.run(
        [sys.executable, ROOT / "minicluster/minicluster", verb, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout if done.returncode == 0 else None


# Variables -------------------------------------------------------------------------------


@functools.cache
def _variables_read() -> re.Pattern[str]:
    """The kit's variables, as the code names them; `{...}` of an f-string is any word."""
    names = set()
    for folder in ("src", "bin", "tools", "minicluster", "modulefiles"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix not in (".pyc", ".md"):
                names |= set(
                    re.findall(r"JAX_SIF_(?:[A-Z0-9_]|\{[^}]*\})+", path.read_text())
                )
    return re.compile("|".join(re.sub(r"\{[^}]*\}", "[A-Z]+", n) for n in names))


def _variables(segment: str) -> Iterator[str]:
    for name in re.findall(r"\bJAX_SIF_[A-Z0-9_]*", segment):
        if not _variables_read().fullmatch(name):
            yield name
