"""The records that ranks report: one type per kind."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, TypedDict, TypeVar, get_args

from msgspec import UNSET, Meta, Struct, UnsetType

from jaxsif.core.topology import MAX_PROCESSES

# In the order of a healthy rank.
PHASES = ("started", "connected", "devices", "allreduce", "identity", "done")
# Why a rank did not finish: an exception or a problem, no progress within the deadline,
# a SIGTERM from outside.
FAILED, DEADLINE_EXCEEDED, TERMINATED = "failed", "deadline_exceeded", "terminated"
# Reports of a rank that continues: it waits for the others, or has a problem.
WAITING, WARNINGS = "waiting", "warnings"
# It starts to import JAX, or (`is_over`) has imported it.
IMPORTING = "importing"
# The program requests that its job be requeued after a successful end.
REQUEUE_REQUEST = "requeue"
# How far the program is.
PROGRESS = "progress"

RankNumber = Annotated[int, Meta(ge=0, lt=MAX_PROCESSES)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
MissedReports = Annotated[int, Meta(gt=0, le=1024)]
# Neither NaN nor infinity, and no more than what arithmetic on it bears.
Number = Annotated[float, Meta(ge=-1e18, le=1e18)]
# As JSON has them, which knows finite numbers only.
NonFinite = Literal["nan", "inf", "-inf"]
Time = Annotated[
    Number, Meta(description="Seconds since 1970, by the clock of the rank's node.")
]
Position = Annotated[
    str, Meta(description="Where the rank is: after a phase, or in a collective.")
]
SourceLine = Annotated[
    str, Meta(description="The program's line, such as `train.py:42 in step`.")
]
TimesUs = Annotated[
    list[Number], Meta(description="Microseconds, one number per trial.")
]
WrongElements = Annotated[
    Count, Meta(description="Elements that differ from what was sent.")
]
Repetitions = Annotated[
    Count, Meta(description="Operations per trial; the times are those of one.")
]


class RecordBase(Struct, frozen=True, gc=False, tag_field="phase"):
    """The fields of every record.

    Every field of every kind is required, so that a record of another version of the
    kit is corrupt, and nothing is concluded from it.
    """

    phase: ClassVar[str]

    rank: RankNumber
    step: Annotated[
        str,
        Meta(
            pattern=r"^(.*\.)?[^.]{0,18}$",
            max_length=512,
            description="`cluster.job.step.restart`.",
        ),
    ]
    node: Annotated[str, Meta(max_length=255)]
    time: Time
    left_out: Annotated[
        dict[str, Count] | UnsetType,
        Meta(description="Items of lists that did not fit, by the list's name."),
    ] = UNSET


class StartedRecord(RecordBase, frozen=True, kw_only=True, tag="started"):
    """The process runs; what was requested."""

    processes: Annotated[
        Count, Meta(description="Number of processes that the launcher started.")
    ]
    local_rank: RankNumber
    nodes: Annotated[
        str | None, Meta(description="The node list; null if it is too long.")
    ]
    topology: str | None
    platform: Annotated[str, Meta(description="What was requested: `gpu` or `cpu`.")]
    network: Annotated[
        str | None, Meta(description="The network that the site declares.")
    ]
    image: Annotated[str | None, Meta(description="Fingerprint of the image.")]
    packages: Annotated[
        str | None, Meta(description="Fingerprint of the package overlay.")
    ]
    program: Annotated[str | None, Meta(description="The program's file and checksum.")]
    may_miss: Annotated[
        Annotated[list[MissedReports], Meta(min_length=2, max_length=2)] | None,
        Meta(description="Reports it may miss before it counts as silent."),
    ]
    process_start: Annotated[
        Number | None, Meta(description="When the kernel started the process.")
    ]
    entry_start: Annotated[
        Number | None, Meta(description="When the image's entry point began.")
    ]


class ImportingRecord(RecordBase, frozen=True, kw_only=True, tag=IMPORTING):
    """It starts to import JAX, or has imported it."""

    is_over: bool


class ConnectedRecord(RecordBase, frozen=True, kw_only=True, tag="connected"):
    """`jax.distributed.initialize()` is done."""

    process_index: RankNumber
    process_count: Count
    jax: str
    jaxlib: str
    peers_verified: Annotated[
        bool, Meta(description="Whether the ranks verified each other's step.")
    ]
    preflight_done: Annotated[
        Number | None, Meta(description="When the checks were done, and import began.")
    ]
    jax_imported: Annotated[Number | None, Meta(description="When JAX was imported.")]


class LocalDevice(Struct, frozen=True, gc=False):
    """A device of the process."""

    id: int
    kind: str
    uuid: Annotated[str | None, Meta(description="The physical GPU's, if known.")]


class DevicesRecord(RecordBase, frozen=True, kw_only=True, tag="devices"):
    """JAX's devices."""

    backend: str
    local_devices: list[LocalDevice]
    local_count: Annotated[
        Count, Meta(description="Their number: `local_devices` may be shortened.")
    ]
    total: Annotated[Count, Meta(description="Number of devices of the group.")]
    nccl: str | None


class AllReduceRecord(RecordBase, frozen=True, kw_only=True, tag="allreduce"):
    """The all-reduce of ones."""

    # A device that computes wrongly may give any number, and also NaN.
    sum: Annotated[
        float | NonFinite, Meta(description="The first wrong sum, or the sum.")
    ]
    wrong_elements: Annotated[
        Count, Meta(description="Local devices with a wrong sum.")
    ]
    expected: Count

    @property
    def value(self) -> float:
        return float(self.sum)


class IdentityRecord(RecordBase, frozen=True, kw_only=True, tag="identity"):
    """The all-reduce of tokens that only this run's ranks have."""

    foreign_count: Annotated[
        Count, Meta(description="Slots with a contribution that is not this run's.")
    ]
    foreign_slots: Annotated[
        list[Annotated[list[Count], Meta(min_length=1)]],
        Meta(description="The first of them: rank and device."),
    ]


class DoneRecord(RecordBase, frozen=True, kw_only=True, tag="done"):
    """The program ended successfully."""


class ReportedProblem(Struct, frozen=True, gc=False):
    """A problem with its remedy."""

    kind: str
    text: str
    remedy: str
    ranks: Annotated[
        list[RankNumber],
        Meta(description="The affected ranks; empty for the reporting one."),
    ]


class FailedRecord(RecordBase, frozen=True, kw_only=True, tag=FAILED):
    """An exception ended the program, or problems did not let it start."""

    error: Annotated[str | None, Meta(description="The exception's first line.")]
    problems: list[ReportedProblem]


class WarningsRecord(RecordBase, frozen=True, kw_only=True, tag=WARNINGS):
    """Problems that do not end the program."""

    problems: list[ReportedProblem]


class WaitingRecord(RecordBase, frozen=True, kw_only=True, tag=WAITING):
    """It waits for other ranks."""

    waited_s: Number
    position: Position
    source_line: SourceLine


class RanksAtPosition(Struct, frozen=True, gc=False):
    """Ranks that wait at the same position."""

    count: Count
    position: Position
    ranks: Annotated[list[RankNumber], Meta(description="The first of them.")]


class DeadlineExceededRecord(
    RecordBase, frozen=True, kw_only=True, tag=DEADLINE_EXCEEDED
):
    """It made no progress within its deadline, or the ranks are desynchronized."""

    waited_s: Number
    position: Position
    source_line: SourceLine
    missing_phase: Annotated[
        str, Meta(description="The phase that it did not reach in time.")
    ]
    desynchronized: Annotated[
        list[RanksAtPosition],
        Meta(description="The positions of all ranks, if they differ."),
    ]


class TerminatedRecord(RecordBase, frozen=True, kw_only=True, tag=TERMINATED):
    """It got SIGTERM."""

    waited_s: Number
    position: Position
    source_line: SourceLine


class StalledRecord(RecordBase, frozen=True, kw_only=True, tag="stalled"):
    """It makes no progress, as a process beside it sees."""

    state: Annotated[str, Meta(description="How it stands still: see hangs.md.")]
    stalled_s: Number
    stack: Annotated[
        list[str],
        Meta(description="The main thread's frames, `file:line in function`."),
    ]
    waits_in: Annotated[
        str | None, Meta(description="The kernel's function that it waits in.")
    ]
    is_requested: Annotated[
        bool, Meta(description="Whether it answers `jax-sif stacks`; it may move.")
    ]
    is_alone: Annotated[
        bool, Meta(description="Whether its other threads only wait for one another.")
    ]


class MovingRecord(RecordBase, frozen=True, kw_only=True, tag="moving"):
    """It makes progress again, or has ended."""


class RequeueRecord(RecordBase, frozen=True, kw_only=True, tag=REQUEUE_REQUEST):
    """The program requests that its job be requeued after a successful end."""


class ProgressRecord(RecordBase, frozen=True, kw_only=True, tag=PROGRESS):
    """How far the program is, by `jaxsif.report_progress`."""

    done: Annotated[Count, Meta(description="Steps done, by the program's own count.")]
    first_done: Annotated[
        Count, Meta(description="The same in its first report: what was restored.")
    ]
    first_time: Time


class NicInfo(Struct, frozen=True, gc=False):
    """A port of a network card."""

    name: str
    kind: str
    gb_per_s: Number
    is_active: bool


class FabricRecord(RecordBase, frozen=True, kw_only=True, tag="fabric"):
    """The node's GPUs and network cards; from one rank per node."""

    gpu: str | None
    gpus: Count
    nvlink_gb_per_s: Number | None
    nics: list[NicInfo]


class BandwidthRecord(RecordBase, frozen=True, kw_only=True, tag="bandwidth"):
    """One collective at one size."""

    collective: str
    dtype: str
    size_bytes: Annotated[Count, Meta(description="The size that nccl-tests reports.")]
    count: Annotated[Count, Meta(description="Elements, as nccl-tests counts them.")]
    devices: Count
    repetitions: Repetitions
    times_us: TimesUs
    local_us: Annotated[
        list[Number], Meta(description="The rank's own work in each trial.")
    ]
    compile_s: Number
    wrong_elements: WrongElements


class PairRecord(RecordBase, frozen=True, kw_only=True, tag="pair"):
    """One exchange with a rank of another node."""

    round: Count
    kind: str
    partner: RankNumber
    partner_node: str
    switch: Annotated[
        str, Meta(description="The switch above the node; empty if unknown.")
    ]
    size_bytes: Count
    repetitions: Repetitions
    times_us: TimesUs
    wrong_elements: WrongElements
    timed_out: bool


class TransportRecord(RecordBase, frozen=True, kw_only=True, tag="transport"):
    """The network that the node's collectives used; from one rank per node."""

    reported_by: Annotated[str, Meta(description="The library that moves the data.")]
    kind: str
    summary: str
    interfaces: list[str]
    count: Count
    gpudirect: bool | None
    intra_node: str | None
    inter_node: str | None
    version: str | None
    algorithms: list[str]
    reasons: Annotated[
        list[str], Meta(description="Why the library used no faster network.")
    ]


class SpeedRecord(RecordBase, frozen=True, kw_only=True, tag="speed"):
    """The work of the whole job, by `jaxsif.report_speed`."""

    items: Number
    seconds: Annotated[float, Meta(gt=0, le=1e18)]
    unit: str


PhaseRecord = (
    StartedRecord
    | ImportingRecord
    | ConnectedRecord
    | DevicesRecord
    | AllReduceRecord
    | IdentityRecord
    | DoneRecord
    | FailedRecord
    | WarningsRecord
    | WaitingRecord
    | DeadlineExceededRecord
    | TerminatedRecord
    | StalledRecord
    | MovingRecord
    | RequeueRecord
    | ProgressRecord
)
# As many records of a kind as there are results.
Measurement = (
    FabricRecord | BandwidthRecord | PairRecord | TransportRecord | SpeedRecord
)
Record = PhaseRecord | Measurement

for _kind in get_args(Record):
    _kind.phase = _kind.__struct_config__.tag


class Stamp(TypedDict):
    """The fields of every record."""

    rank: int
    step: str
    node: str
    time: float


RecordT = TypeVar("RecordT", bound=RecordBase)


class Reported:
    """What a rank reported: the last record of each phase, and all measurements."""

    __slots__ = ()

    phases: Mapping[str, PhaseRecord]
    measurements: list[Measurement] | tuple[Measurement, ...]

    def last(self, kind: type[RecordT]) -> RecordT | None:
        """The last record of a kind; None if the rank never reported it."""
        record = self.phases.get(kind.phase)
        return record if isinstance(record, kind) else None

    def measured(self, kind: type[RecordT]) -> Iterator[RecordT]:
        """All measurements of a kind, in order of arrival."""
        return (record for record in self.measurements if isinstance(record, kind))

    @property
    def started(self) -> StartedRecord | None:
        return self.last(StartedRecord)

    @property
    def connected(self) -> ConnectedRecord | None:
        return self.last(ConnectedRecord)

    @property
    def devices(self) -> DevicesRecord | None:
        return self.last(DevicesRecord)

    @property
    def is_done(self) -> bool:
        return DoneRecord.phase in self.phases
