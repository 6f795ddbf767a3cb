"""The mini cluster's command line; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import cluster
import execute
import host
import rootfs
import slurm
import state as cluster_state
import toolbox
import user_switch
from errors import ClusterError, UsageError
from machine import Bind

CHECKOUT = Path(__file__).resolve().parent.parent
_ABOUT = """\
A real Slurm cluster on one Linux machine, without root: a login node and any number of
compute nodes with placeholder GPUs, made of namespaces. Exit status: that of the
command for run, on and toolbox; else 0 done, 1 failed, 2 wrong usage, 3 could not tell.
"""
_LIMITS = {"nodes": (1, 99), "gpus_per_node": (1, 16)}
# These need packages on the host; the others do not.
_STARTING = ("up", "toolbox", "base-tree")
_WITH_COMMAND = ("run", "on", "toolbox")


def _add_state(verb: argparse.ArgumentParser) -> None:
    text = (
        "folder of this cluster (several may run beside each other); default:"
        f" {cluster_state.STATE_KNOB}, or one in the home"
    )
    chosen = os.environ.get(cluster_state.STATE_KNOB)
    default = Path(chosen) if chosen else None
    verb.add_argument("--state", type=Path, metavar="DIR", default=default, help=text)


def _add_bind(verb: argparse.ArgumentParser) -> None:
    text = "mount this path of the host, at the same or another path inside"
    verb.add_argument(
        "--bind", action="append", default=[], metavar="SRC[:DST]", help=text
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="minicluster", description=_ABOUT)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def verb(name: str, text: str, tail: str = "") -> argparse.ArgumentParser:
        usage = f"minicluster {name} [options]{tail}"
        return verbs.add_parser(name, help=text, description=text, usage=usage)

    up = verb("up", "start the cluster; returns when every node is idle")
    up.add_argument("--nodes", type=int, default=2, help="default: 2")
    up.add_argument("--gpus-per-node", type=int, default=4, help="default: 4")
    up.add_argument(
        "--reversed-switches",
        action="store_true",
        help="topology/tree with a switch for each node, the last node's first",
    )
    run = verb("run", "run a command as user hpc on the login node", " -- CMD...")
    on = verb("on", "run a command as root on a node", " NODE -- CMD...")
    on.add_argument("node", metavar="NODE")
    status = verb("status", "show the nodes; status 0: each is idle or at work")
    logs = verb("logs", "show the end of the logs of a node, or of all", " [NODE]")
    logs.add_argument("node", nargs="?", default="", metavar="NODE")
    down = verb("down", "stop the cluster and remove its files; /home is kept")
    down.add_argument("--purge", action="store_true", help="remove /home as well")
    text = "run a command as root in the nodes' tree, with the host's network"
    toolbox = verb("toolbox", text, " -- CMD...")
    text = "make a minimal Debian tree and print its path, seen in the toolbox too"
    base = verb("base-tree", text, " SUITE")
    base.add_argument("suite", metavar="SUITE", help="for example: trixie")
    base.add_argument("--tar", action="store_true", help="as a .tar.zst file instead")
    verb("clean", "remove the cached root file systems and downloads")
    for added in (up, run, on, status, logs, down):
        _add_state(added)
    for added in (up, toolbox):
        _add_bind(added)
    return parser


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options, with everything behind `--` untouched in `command`."""
    own, command = arguments, []
    if "--" in arguments:
        at = arguments.index("--")
        own, command = arguments[:at], arguments[at + 1 :]
    options = _parser().parse_args(own)
    takes_command = options.verb in _WITH_COMMAND
    if takes_command and not command:
        example = f"minicluster {' '.join(own)} -- hostname"
        raise UsageError(f"no command: write it behind `--`, as in: {example}")
    if command and not takes_command:
        raise UsageError(f"{options.verb!r} takes no command, got {command!r}")
    options.command = command
    for name, (low, high) in _LIMITS.items():
        value = getattr(options, name, low)
        if not low <= value <= high:
            knob = name.replace("_", "-")
            raise UsageError(f"--{knob} must be {low} to {high}, got {value!r}")
    return options


def _absolute(path: Path | str, cwd: str) -> Path:
    return Path(os.path.normpath(Path(cwd) / path))


def _bind(text: str, cwd: str) -> Bind:
    source, _, target = text.partition(":")
    found = Bind(_absolute(source, cwd), _absolute(target or source, cwd))
    if target and not target.startswith("/"):
        raise UsageError(f"--bind {text!r}: the path inside must start with `/`")
    return found


def _cache_folder() -> Path:
    chosen = os.environ.get(rootfs.CACHE_KNOB)
    if chosen:
        return Path(chosen) / "minicluster"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jax-sif" / "minicluster"


def _become_user(options: argparse.Namespace, arguments: list[str]) -> None:
    """Prepare what only root can, and continue as the ordinary user."""
    if options.verb in _STARTING:
        host.ensure_packages()
        host.open_fuse_to_users()
    cwd = user_switch.working_directory()
    owned = []
    if getattr(options, "state", None):
        owned.append(_absolute(options.state, cwd))
    if os.environ.get(rootfs.CACHE_KNOB):
        owned.append(_absolute(_cache_folder(), cwd))
    binds = [_bind(text, cwd).source for text in getattr(options, "bind", [])]
    for path in binds:
        if not path.exists():
            raise UsageError(f"--bind: there is no {str(path)!r}")
    program = CHECKOUT / "minicluster" / "minicluster"
    user_switch.become_user(arguments, program, owned, [CHECKOUT, *binds])


class Command:
    """One command, with the caller's paths mapped to reachable ones."""

    def __init__(self, options: argparse.Namespace, lent: dict[str, str], cwd: str):
        self.options = options
        self.lent = lent
        self.cwd = cwd
        self.terminal = os.environ.get("TERM", "dumb")
        self.shown_cache = _absolute(_cache_folder(), self.cwd)
        self.cache = self._reach(self.shown_cache)
        # Root's checkout is mounted at another path; `lent` has its own path.
        moved = {target: source for source, target in lent.items()}
        self.checkout = Bind(CHECKOUT, user_switch.reach(CHECKOUT, moved))

    def _reach(self, path: Path) -> Path:
        return user_switch.reach(path, self.lent)

    def _show(self, path: Path) -> Path:
        """The caller's own name of a path in the cache."""
        return self.shown_cache / path.relative_to(self.cache)

    def _state(self) -> cluster_state.State:
        chosen = self.options.state or cluster_state.default_folder()
        shown = _absolute(chosen, self.cwd)
        return cluster_state.State(self._reach(shown), shown)

    def _binds(self) -> list[Bind]:
        binds = (_bind(text, self.cwd) for text in self.options.bind)
        return [Bind(self._reach(bind.source), bind.target) for bind in binds]

    def up(self) -> int:
        state = self._state()
        options = self.options
        shape = slurm.ClusterShape(
            options.nodes, options.gpus_per_node, options.reversed_switches
        )
        spec = cluster.ClusterSpec(shape, self.checkout, tuple(self._binds()))
        started = cluster.up(state, spec, self.cache)
        print(f"minicluster: {'' if started else 'already '}up, {shape}")
        return 0

    def run(self) -> int:
        running = self._state().require()
        command = self.options.command
        return execute.run_as_user(running, command, self.cwd, self.terminal)

    def on(self) -> int:
        running = self._state().require()
        options = self.options
        return execute.run_as_root(
            running, options.node, options.command, self.terminal
        )

    def status(self) -> int:
        table, healthy = execute.status_table(self._state().require())
        print(table, end="")
        return 0 if healthy else 1

    def logs(self) -> int:
        state = self._state()
        running = state.read()
        if running is None:
            raise ClusterError(f"no cluster was started in {state.shown}")
        names = [slurm.LOGIN, *running.shape.node_names]
        if self.options.node and self.options.node not in names:
            raise UsageError(
                f"no node is called {self.options.node!r}; there are:"
                f" {', '.join(names)}"
            )
        print(cluster.tail(state, self.options.node))
        return 0

    def down(self) -> int:
        left = cluster.down(self._state(), self.options.purge)
        print(f"minicluster: {'down' if left else 'was not up; nothing was left'}")
        return 0

    def toolbox(self) -> int:
        host.check_machine()
        tree = rootfs.tree(rootfs.cluster_recipe(), "toolbox", self.cache)
        trees = Bind(tree.parent, self._show(tree.parent))
        binds = [self.checkout, trees, *self._binds()]
        return toolbox.run(tree, self.cache, binds, self.options.command, self.cwd)

    def base_tree(self) -> int:
        recipe = rootfs.base_recipe(self.options.suite)
        if self.options.tar:
            made = rootfs.tar_file(recipe, self.cache)
        else:
            made = rootfs.tree(recipe, "toolbox", self.cache)
        print(self._show(made))
        return 0

    def clean(self) -> int:
        rootfs.remove_all(self.cache)
        return 0


def main(arguments: list[str]) -> int:
    """Runs one command; prints an error once, and returns the exit status."""
    lent, cwd = user_switch.reachable_folders()
    try:
        options = parse(arguments)
        if os.geteuid() == 0:
            _become_user(options, arguments)
        if options.verb in _STARTING:
            host.ensure_packages()
        return getattr(Command(options, lent, cwd), options.verb.replace("-", "_"))()
    except (ClusterError, OSError) as error:
        text = str(error)
        for source, target in lent.items():
            text = text.replace(target, source)
        print(f"minicluster: {text}", file=sys.stderr)
        return getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        print("minicluster: interrupted", file=sys.stderr)
        return 130
