"""Parses options of sbatch, srun and apptainer as getopt_long does."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from jaxsif.lint.model import Word, number

NEVER, MAYBE, ALWAYS = "never", "maybe", "always"  # whether an option has a value


@dataclass(frozen=True)
class Table:
    """The options of a program.

    `long` says of each whether it has a value; `short` and `other_names` lead to the
    long name. An abbreviation is as good as a name, where no other begins like it.
    """

    long: dict[str, str]
    short: dict[str, str]
    other_names: dict[str, str]

    def names(self, written: str) -> list[str]:
        """The long names that a written option, without dashes, can abbreviate."""
        if written in self.other_names:
            return [self.other_names[written]]
        if written in self.long:
            return [written]
        return [name for name in self.long if name.startswith(written)]


def table(
    *, always: str, maybe: str = "", never: str = "", short: str, other_names: str = ""
) -> Table:
    """From names with blanks between; `short` and `other_names` as `n=ntasks`."""
    needs = {ALWAYS: always, MAYBE: maybe, NEVER: never}
    return Table(
        {name: need for need, names in needs.items() for name in names.split()},
        dict(pair.split("=") for pair in short.split()),
        dict(pair.split("=") for pair in other_names.split()),
    )


@dataclass(frozen=True)
class Option:
    """An option as written; `name` is its long name, "" if it is unknown."""

    name: str
    written: str
    line: int
    value: Word | None = None
    fault: str = ""  # why the program refuses it: unknown, ambiguous, no value


@dataclass(frozen=True)
class Options:
    """The options of a command line before its first other argument.

    `unclear` are unknown variables, which may hold more of them, or nothing.
    """

    given: tuple[Option, ...] = ()
    rest: tuple[Word, ...] = ()
    unclear: tuple[Word, ...] = ()

    @property
    def is_open(self) -> bool:
        return bool(self.unclear)

    def last(self, *names: str) -> Option | None:
        """The effective one, of several."""
        found = [option for option in self.given if option.name in names]
        return found[-1] if found else None

    def has(self, *names: str) -> bool:
        return self.last(*names) is not None

    def text(self, name: str) -> str | None:
        """Its value, if known."""
        option = self.last(name)
        value = option.value if option else None
        return value.text if value and value.is_known else None

    def number(self, name: str) -> int | None:
        return number(self.text(name))


NO_OPTIONS = Options()


def read(words: Sequence[Word], known: Table) -> Options:
    """Parse options until the first other argument."""
    waiting = list(words)
    given: list[Option] = []
    unclear: list[Word] = []
    while waiting:
        word = waiting[0]
        if word.is_open and word.text.startswith(("$", "`")):
            # It may be empty, or hold options, or begin the program.
            unclear.append(waiting.pop(0))
        elif word.text == "--":
            del waiting[0]
            break
        elif not word.text.startswith("-") or word.text == "-":
            break
        else:
            del waiting[0]
            given += _take(word, waiting, known)
    return Options(tuple(given), tuple(waiting), tuple(unclear))


def _take(word: Word, waiting: list[Word], known: Table) -> Iterator[Option]:
    if word.text.startswith("--"):
        yield _long(word, waiting, known)
    else:
        yield from _short(word, waiting, known)


def _long(word: Word, waiting: list[Word], known: Table) -> Option:
    written, has_value, text = word.text.partition("=")
    option = Option("", written, word.line)
    names = known.names(written[2:])
    if len(names) != 1:
        return replace(option, fault="ambiguous" if names else "unknown")
    option = replace(option, name=names[0])
    need = known.long[names[0]]
    if has_value:
        value = replace(word, text=text, is_open=False)
        return replace(option, value=value)
    if need != ALWAYS:
        return option
    return _with_next(option, waiting)


def _short(word: Word, waiting: list[Word], known: Table) -> Iterator[Option]:
    letters = word.text[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = Option(known.short.get(letter, ""), f"-{letter}", word.line)
        need = known.long.get(option.name, NEVER)
        if not option.name:
            yield replace(option, fault="unknown")
            return
        if need != NEVER and letters:
            yield replace(option, value=replace(word, text=letters, is_open=False))
            return
        if need == ALWAYS:
            yield _with_next(option, waiting)
            return
        yield option


def _with_next(option: Option, waiting: list[Word]) -> Option:
    if not waiting:
        return replace(option, fault="no value")
    return replace(option, value=waiting.pop(0))


# Tested with Slurm 26.05 one by one; then those of older versions.
_OLDER_ALWAYS = (
    "power tres-per-job tres-per-node tres-per-socket umask workdir immediate"
)

# Of common plug-ins: Pyxis, the Container Engine, uenv, Shifter.
_PLUGINS_ALWAYS = """
    container-image container-mounts container-workdir container-name container-save
    container-env environment uenv view image volume module
"""
_PLUGINS_NEVER = """
    container-mount-home no-container-mount-home container-remap-root
    no-container-remap-root container-entrypoint no-container-entrypoint
    container-entrypoint-log container-writable container-readonly
"""

SBATCH = table(
    always="""
    account acctg-freq array autocomplete batch bb bbf begin chdir cluster-constraint
    clusters comment constraint container container-id container-type context core-spec
    cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency
    distribution error exclude export export-file extra extra-node-info gid gpu-bind
    gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint input
    job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind
    mem-per-cpu mem-per-gpu mem-update mincpus network nodefile nodelist nodes ntasks
    ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket ntasks-per-tres
    open-mode output partition prefer priority profile qos reservation resources segment
    signal sockets-per-node switches thread-spec threads-per-core time time-min tmp
    tres-bind tres-per-task uid wait-all-nodes wckey wrap jobid
    """
    + _PLUGINS_ALWAYS
    + _OLDER_ALWAYS,
    maybe="""
    exclusive get-user-env nice no-kill oom-kill-step propagate requeue resv-ports x11
    """,
    never="""
    consolidate-segments contiguous external help hold ignore-pbs no-requeue overcommit
    oversubscribe parsable quiet reboot share spread-job spread-segments stepmgr
    test-only usage use-min-nodes verbose version wait
    """
    + _PLUGINS_NEVER,
    short="""
    a=array b=begin c=cpus-per-task d=dependency e=error i=input m=distribution n=ntasks
    o=output p=partition q=qos t=time w=nodelist x=exclude A=account B=extra-node-info
    C=constraint D=chdir F=nodefile G=gpus J=job-name L=licenses M=clusters N=nodes
    S=core-spec h=help k=no-kill s=oversubscribe v=verbose H=hold O=overcommit Q=quiet
    V=version W=wait I=immediate
    """,
    other_names="tasks-per-node=ntasks-per-node cluster=clusters",
)

SRUN = table(
    always="""
    accel-bind account acctg-freq autocomplete bb bbf bcast-exclude begin chdir
    cluster-constraint clusters comment constraint container container-id container-type
    context core-spec cores-per-socket cpu-bind cpu-freq cpus-per-gpu cpus-per-task
    deadline delay-boot dependency distribution epilog error exclude export extra
    extra-node-info gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task
    gres gres-flags het-group hint ignore-signals input job-name jobid licenses mail-type
    mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mem-update mincpus mpi
    msg-timeout network nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu
    ntasks-per-node ntasks-per-socket ntasks-per-tres open-mode partition prefer output
    priority profile prolog qos relative reservation resources segment signal
    slurmd-debug sockets-per-node switches task-epilog task-prolog thread-spec threads
    threads-per-core time time-min tmp treewidth tres-bind tres-per-task wait wckey
    """
    + _PLUGINS_ALWAYS
    + _OLDER_ALWAYS.replace(" immediate", ""),
    maybe="""
    bcast compress exclusive external-launcher immediate kill-on-bad-exit nice no-kill
    oom-kill-step overlap propagate pty resv-ports send-libs x11
    """,
    never="""
    async consolidate-segments contiguous debugger-test disable-status exact help hold
    interactive label multi-prog no-allocate overcommit oversubscribe parsable
    preserve-env quiet quit-on-interrupt reboot share spread-job spread-segments stepmgr
    test-only unbuffered usage use-min-nodes verbose version wait-for-children whole
    """
    + _PLUGINS_NEVER,
    short="""
    b=begin c=cpus-per-task d=dependency e=error i=input m=distribution n=ntasks o=output
    p=partition q=qos r=relative t=time w=nodelist x=exclude A=account B=extra-node-info
    C=constraint D=chdir F=nodefile G=gpus J=job-name L=licenses M=clusters N=nodes
    S=core-spec T=threads W=wait h=help k=no-kill l=label s=oversubscribe u=unbuffered
    v=verbose E=preserve-env H=hold I=immediate K=kill-on-bad-exit O=overcommit Q=quiet
    V=version X=disable-status Z=no-allocate
    """,
    other_names="""
    tasks-per-node=ntasks-per-node cluster=clusters cpu_bind=cpu-bind
    pack-group=het-group
    """,
)

# Of Apptainer 1.4, then those of SingularityCE.
APPTAINER = table(
    always="""
    add-caps app apply-cgroups authfile bind blkio-weight blkio-weight-device cpu-shares
    cpus cpuset-cpus cpuset-mems cwd dns docker-host drop-caps env env-file fusemount
    home hostname memory memory-reservation memory-swap mount netns-path network
    network-args no-mount overlay pem-path pids-limit runscript-timeout scratch security
    workdir shell pwd config
    """,
    never="""
    allow-setuid cleanenv compat contain containall disable-cache docker-login fakeroot
    help ipc keep-privs net no-eval no-home no-https no-init no-pid no-privs no-umask nv
    nvccli oom-kill-disable passphrase pid rocm sharens unsquash userns uts writable
    writable-tmpfs vm nohttps oci no-compat underlay debug nocolor quiet silent verbose
    """,
    short="""
    B=bind e=cleanenv c=contain C=containall f=fakeroot h=help H=home i=ipc n=net
    o=overlay p=pid S=scratch u=userns W=workdir w=writable d=debug q=quiet s=silent
    v=verbose
    """,
)
