"""Parses options of sbatch, srun and apptainer as getopt_long does."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from jaxsif.lint.model import Word, number

# Whether an option has a value.
NO_VALUE, OPTIONAL_VALUE, REQUIRED_VALUE = "none", "optional", "required"


@dataclass(frozen=True)
class OptionTable:
    """The options of a program.

    Attributes:
      long: by long name, whether the option has a value.
      short: the long name of each letter.
      aliases: the long names of other long names.
    """

    long: dict[str, str]
    short: dict[str, str]
    aliases: dict[str, str]

    def names(self, written: str) -> list[str]:
        """Return the long names that `written`, without dashes, can abbreviate."""
        if written in self.aliases:
            return [self.aliases[written]]
        if written in self.long:
            return [written]
        return [name for name in self.long if name.startswith(written)]


def _table(
    *, required: str, optional: str = "", none: str, short: str, aliases: str = ""
) -> OptionTable:
    """Make a table from names between blanks; `short` and `aliases` as `n=ntasks`."""
    kinds = {REQUIRED_VALUE: required, OPTIONAL_VALUE: optional, NO_VALUE: none}
    return OptionTable(
        {name: kind for kind, names in kinds.items() for name in names.split()},
        dict(pair.split("=") for pair in short.split()),
        dict(pair.split("=") for pair in aliases.split()),
    )


@dataclass(frozen=True)
class CommandOption:
    """An option of a command line.

    Attributes:
      name: its long name, "" if it is unknown.
      written: the option as written.
      line: its line in the script.
      value: its value, if it has one.
      error: why the program refuses it: "unknown", "ambiguous", "no value".
    """

    name: str
    written: str
    line: int
    value: Word | None = None
    error: str = ""


@dataclass(frozen=True)
class ParsedOptions:
    """The options of a command line before its first other argument.

    Attributes:
      options: the options in order.
      remaining: the first other argument, and all that follow it.
      unparsed: unknown variables, which may hold more options, or nothing.
    """

    options: tuple[CommandOption, ...] = ()
    remaining: tuple[Word, ...] = ()
    unparsed: tuple[Word, ...] = ()

    @property
    def is_incomplete(self) -> bool:
        """Whether there may be options that are not known."""
        return bool(self.unparsed)

    def last(self, *names: str) -> CommandOption | None:
        """Return the last of the named options, which is the effective one."""
        options = [option for option in self.options if option.name in names]
        return options[-1] if options else None

    def has(self, *names: str) -> bool:
        return self.last(*names) is not None

    def text(self, name: str) -> str | None:
        """Return the value of an option, if it is known."""
        option = self.last(name)
        value = option.value if option else None
        return value.text if value and value.is_literal else None

    def number(self, name: str) -> int | None:
        """Return the value of an option, if it is a known number."""
        return number(self.text(name))


NO_OPTIONS = ParsedOptions()


def parse_options(args: Sequence[Word], table: OptionTable) -> ParsedOptions:
    """Parse options until the first other argument."""
    remaining = list(args)
    options: list[CommandOption] = []
    unparsed: list[Word] = []
    while remaining:
        arg = remaining[0]
        if arg.may_split and arg.text.startswith(("$", "`")):
            # It may be empty, or hold options, or begin the program.
            unparsed.append(remaining.pop(0))
        elif not arg.text.startswith("-") or arg.text == "-":
            break
        else:
            del remaining[0]
            if arg.text == "--":
                break
            parse = _parse_long if arg.text.startswith("--") else _parse_short
            options += parse(arg, remaining, table)
    return ParsedOptions(tuple(options), tuple(remaining), tuple(unparsed))


def _parse_long(
    arg: Word, remaining: list[Word], table: OptionTable
) -> Iterator[CommandOption]:
    written, has_value, text = arg.text.partition("=")
    names = table.names(written[2:])
    option = CommandOption(names[0] if len(names) == 1 else "", written, arg.line)
    if not option.name:
        yield replace(option, error="ambiguous" if names else "unknown")
    elif has_value:
        yield replace(option, value=replace(arg, text=text, may_split=False))
    elif table.long[option.name] == REQUIRED_VALUE:
        yield _with_next(option, remaining)
    else:
        yield option


def _parse_short(
    arg: Word, remaining: list[Word], table: OptionTable
) -> Iterator[CommandOption]:
    letters = arg.text[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = CommandOption(table.short.get(letter, ""), f"-{letter}", arg.line)
        kind = table.long.get(option.name, NO_VALUE)
        if not option.name:
            yield replace(option, error="unknown")
            return
        if kind != NO_VALUE and letters:
            yield replace(option, value=replace(arg, text=letters, may_split=False))
            return
        yield _with_next(option, remaining) if kind == REQUIRED_VALUE else option


def _with_next(option: CommandOption, remaining: list[Word]) -> CommandOption:
    if not remaining:
        return replace(option, error="no value")
    return replace(option, value=remaining.pop(0))


# Tested with Slurm 26.05 one by one; then those of older versions.
_OLDER_WITH_VALUE = (
    "power tres-per-job tres-per-node tres-per-socket umask workdir immediate"
)

# Of common plug-ins: Pyxis, the Container Engine, uenv, Shifter.
_PLUGINS_WITH_VALUE = """
    container-image container-mounts container-workdir container-name container-save
    container-env environment uenv view image volume module
"""
_PLUGINS_WITHOUT_VALUE = """
    container-mount-home no-container-mount-home container-remap-root
    no-container-remap-root container-entrypoint no-container-entrypoint
    container-entrypoint-log container-writable container-readonly
"""

SBATCH = _table(
    required="""
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
    + _PLUGINS_WITH_VALUE
    + _OLDER_WITH_VALUE,
    optional="""
    exclusive get-user-env nice no-kill oom-kill-step propagate requeue resv-ports x11
    """,
    none="""
    consolidate-segments contiguous external help hold ignore-pbs no-requeue overcommit
    oversubscribe parsable quiet reboot share spread-job spread-segments stepmgr
    test-only usage use-min-nodes verbose version wait
    """
    + _PLUGINS_WITHOUT_VALUE,
    short="""
    a=array b=begin c=cpus-per-task d=dependency e=error i=input m=distribution n=ntasks
    o=output p=partition q=qos t=time w=nodelist x=exclude A=account B=extra-node-info
    C=constraint D=chdir F=nodefile G=gpus J=job-name L=licenses M=clusters N=nodes
    S=core-spec h=help k=no-kill s=oversubscribe v=verbose H=hold O=overcommit Q=quiet
    V=version W=wait I=immediate
    """,
    aliases="tasks-per-node=ntasks-per-node cluster=clusters",
)

SRUN = _table(
    required="""
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
    + _PLUGINS_WITH_VALUE
    + _OLDER_WITH_VALUE.replace(" immediate", ""),
    optional="""
    bcast compress exclusive external-launcher immediate kill-on-bad-exit nice no-kill
    oom-kill-step overlap propagate pty resv-ports send-libs x11
    """,
    none="""
    async consolidate-segments contiguous debugger-test disable-status exact help hold
    interactive label multi-prog no-allocate overcommit oversubscribe parsable
    preserve-env quiet quit-on-interrupt reboot share spread-job spread-segments stepmgr
    test-only unbuffered usage use-min-nodes verbose version wait-for-children whole
    """
    + _PLUGINS_WITHOUT_VALUE,
    short="""
    b=begin c=cpus-per-task d=dependency e=error i=input m=distribution n=ntasks o=output
    p=partition q=qos r=relative t=time w=nodelist x=exclude A=account B=extra-node-info
    C=constraint D=chdir F=nodefile G=gpus J=job-name L=licenses M=clusters N=nodes
    S=core-spec T=threads W=wait h=help k=no-kill l=label s=oversubscribe u=unbuffered
    v=verbose E=preserve-env H=hold I=immediate K=kill-on-bad-exit O=overcommit Q=quiet
    V=version X=disable-status Z=no-allocate
    """,
    aliases="""
    tasks-per-node=ntasks-per-node cluster=clusters cpu_bind=cpu-bind
    pack-group=het-group
    """,
)

# Of Apptainer 1.4, then those of SingularityCE.
APPTAINER = _table(
    required="""
    add-caps app apply-cgroups authfile bind blkio-weight blkio-weight-device cpu-shares
    cpus cpuset-cpus cpuset-mems cwd dns docker-host drop-caps env env-file fusemount
    home hostname memory memory-reservation memory-swap mount netns-path network
    network-args no-mount overlay pem-path pids-limit runscript-timeout scratch security
    workdir shell pwd config
    """,
    none="""
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
