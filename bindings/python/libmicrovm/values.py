"""What the library tells, and the larger things it is told: plain, immutable values.

Times are aware ``datetime`` objects (UTC), durations are ``timedelta``, sizes are bytes, paths of
the host are ``pathlib.Path``. Names and paths of a guest are ``str``; bytes in them that are not
UTF-8 appear as lone surrogates, as in ``os.listdir()``, and go back to the same bytes when the
``str`` is given to the library again.
"""

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Type, TypeVar, Union

__all__ = [
    "BaseInfo",
    "CheckpointInfo",
    "DeepReport",
    "ExecInfo",
    "ExecOutput",
    "ExitStatus",
    "FileEvent",
    "FileEventKind",
    "FileInfo",
    "FileType",
    "Finding",
    "FindingState",
    "Hooks",
    "IdlePolicy",
    "ImageConfig",
    "ImageInfo",
    "KernelInfo",
    "LaunchTimes",
    "LogSource",
    "ProbeStep",
    "ProbeStepState",
    "Progress",
    "PruneReport",
    "PrunedItem",
    "PrunedKind",
    "PtyInfo",
    "PtyOutput",
    "PtySize",
    "PtyWriting",
    "Stream",
    "SuspendTimes",
    "TransferTotals",
    "VmCounters",
    "VmEnd",
    "VmEnding",
    "VmEvent",
    "VmEventKind",
    "VmInfo",
    "VmState",
]

Duration = Union[int, float, timedelta]


class _Word(str, enum.Enum):
    """Members are equal to their names in lower case: ``info.state == "running"``."""

    def __str__(self) -> str:
        return str(self.value)


class VmState(_Word):
    """Where a Vm is in its life."""

    RUNNING = "running"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


class VmEnd(_Word):
    """How a Vm ended."""

    NONE = "none"
    TERMINATED = "terminated"
    POWERED_OFF = "powered_off"
    RESET = "reset"
    PANICKED = "panicked"
    CRASHED = "crashed"
    KILLED = "killed"


class VmEventKind(_Word):
    """What a VmEvent tells of."""

    STARTED = "started"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    RUNS_ON = "runs_on"
    FORKED = "forked"
    CHECKPOINTED = "checkpointed"
    ROLLED_BACK = "rolled_back"
    TERMINATED = "terminated"
    HOOK_FAILED = "hook_failed"


class LogSource(_Word):
    """Which log of a Vm."""

    APP = "app"
    KERNEL = "kernel"


class Stream(_Word):
    """Which output of a program."""

    OUT = "out"
    ERR = "err"


class PtyWriting(_Word):
    """Who may write to a terminal."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


class FileType(_Word):
    """What a FileInfo is of."""

    REGULAR = "regular"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    CHARACTER_DEVICE = "character_device"
    BLOCK_DEVICE = "block_device"


class FileEventKind(_Word):
    """What a FileEvent tells of."""

    CREATED = "created"
    MODIFIED = "modified"
    REMOVED = "removed"
    RENAMED = "renamed"
    OVERFLOW = "overflow"


class PrunedKind(_Word):
    """What a PrunedItem was."""

    VM = "vm"
    FILE = "file"
    LEFTOVER = "leftover"
    IMAGE = "image"
    BASE = "base"
    KERNEL = "kernel"


class FindingState(_Word):
    """How good what was found is."""

    OK = "ok"
    NOTICE = "notice"
    PROBLEM = "problem"


class ProbeStepState(_Word):
    """How a step of a deep probe went."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


# ---- options that are values -------------------------------------------------------------------


@dataclass(frozen=True)
class IdlePolicy:
    """When a Vm is put to sleep, how long it may sleep, how long it may live.

    Durations are seconds or ``timedelta``; ``None`` and 0 mean never. A Vm is idle while nobody is
    attached to a program or terminal of it, no bytes move between the host and its ports, its
    programs use less CPU than the threshold, and nobody holds a ``KeepAwake``.
    """

    idle_after: Optional[Duration] = None  #: idle without a break: then it is suspended
    suspended_for: Optional[Duration] = None  #: asleep without a break: then it is terminated
    lifetime: Optional[Duration] = None  #: since it was started: then it is terminated
    lifetime_counts_sleep: bool = False  #: whether the time asleep is part of the lifetime
    cpu_threshold: float = 0.05  #: of one CPU
    auto_resume: bool = True  #: False: calls that need a sleeping guest raise Busy


@dataclass(frozen=True)
class Hooks:
    """Which HTTP calls into the app an image has: those with a time for their answer."""

    port: int = 0  #: of the guest; needed when there is a hook
    ready: Optional[Duration] = None
    validate: Optional[Duration] = None
    run: Optional[Duration] = None
    suspend: Optional[Duration] = None
    resume: Optional[Duration] = None
    terminate: Optional[Duration] = None


class PtySize(NamedTuple):
    """The size of a terminal, in characters. A plain ``(rows, columns)`` does as well."""

    rows: int = 24
    columns: int = 80


# ---- what the library tells --------------------------------------------------------------------


@dataclass(frozen=True)
class KernelInfo:
    """An imported kernel."""

    name: str
    digest: str  #: sha256 of the vmlinux, hex
    size_bytes: int


@dataclass(frozen=True)
class BaseInfo:
    """A root file system imported from a tar: what FROM names."""

    name: str
    digest: str  #: sha256 of the ext4 file, hex
    size_bytes: int


@dataclass(frozen=True)
class ImageConfig:
    """What runs when a Vm starts, and how: from the Dockerfile; the hooks are the build's."""

    entrypoint: List[str] = field(default_factory=list)
    cmd: List[str] = field(default_factory=list)
    env: List[str] = field(default_factory=list)  #: "NAME=value"
    workdir: str = "/"
    user: str = ""
    exposed_ports: List[int] = field(default_factory=list)  #: TCP
    labels: Dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    hooks: Hooks = field(default_factory=Hooks)


@dataclass(frozen=True)
class ImageInfo:
    """One version of an image."""

    name: str
    version: str  #: "1", "2", …: the newest is what a bare name means
    created: datetime
    base: str
    kernel: str
    memory_bytes: int
    vcpus: int
    memory_data_bytes: int  #: of the memory snapshot, without holes
    disk_data_bytes: int  #: of the image's own disk layers
    boot: timedelta  #: the build's cold boot, from power-on until the agent was ready
    has_app: bool  #: its command runs in its Vms, which end with it
    config: ImageConfig


@dataclass(frozen=True)
class Progress:
    """How far a long call is."""

    step: str
    done: int
    total: int  #: in the same unit; 0: not known
    output: bytes  #: of a RUN, when there is some


@dataclass(frozen=True)
class CheckpointInfo:
    """A kept state of a Vm."""

    id: str
    name: str
    vm_id: str
    image: str
    created: datetime
    memory_bytes: int
    vcpus: int
    stored_bytes: int


@dataclass(frozen=True)
class PrunedItem:
    """Something that was freed, or would be."""

    kind: PrunedKind
    name: str
    bytes: int


@dataclass(frozen=True)
class PruneReport:
    """What was freed, or would be."""

    items: List[PrunedItem]
    bytes: int


@dataclass(frozen=True)
class VmInfo:
    """A Vm as it is now."""

    id: str
    name: str
    image: str
    state: VmState
    state_reason: str
    end: VmEnd
    created: datetime
    worker_pid: int
    memory_bytes: int
    vcpus: int
    dies_with_owner: bool


@dataclass(frozen=True)
class VmEnding:
    """How a Vm ended."""

    end: VmEnd
    reason: str


@dataclass(frozen=True)
class VmEvent:
    """What happened to a Vm, and why."""

    time: datetime
    vm_id: str
    kind: VmEventKind
    cause: str  #: "call", "idle", "lifetime", …
    took: timedelta
    detail: str
    end: VmEnd  #: of TERMINATED


@dataclass(frozen=True)
class LaunchTimes:
    """What a launch cost; each time counts from ``run()`` being called."""

    worker: timedelta  #: a worker was at hand or started
    restore: timedelta  #: … the guest executed its first instruction
    agent: timedelta  #: … the agent connected
    ready: timedelta  #: … user programs run; the run hook comes after it


@dataclass(frozen=True)
class SuspendTimes:
    """What a suspend cost, from its call."""

    pause: timedelta
    acknowledged: timedelta
    durable: timedelta
    changed_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class VmCounters:
    """What a worker has counted."""

    paused: bool
    exits: int
    start_to_run_ns: int


@dataclass(frozen=True)
class ExitStatus:
    """How a program ended."""

    code: int  #: 127 not found, 126 not executable, as a shell says
    signal: int  #: the signal that ended it, or 0
    timed_out: bool  #: ``program_timeout`` passed
    message: str  #: why it could not be started, else empty

    @property
    def returncode(self) -> int:
        """As in ``subprocess``: the exit code, or minus the signal."""
        return -self.signal if self.signal else self.code


@dataclass(frozen=True)
class ExecInfo:
    """A program that runs in a Vm, or has ended lately."""

    id: str
    command: str
    pid: int  #: in the guest; 0 when it has ended
    clients: int
    written: bool
    detached: bool
    output_bytes: int
    ended: Optional[ExitStatus]


@dataclass(frozen=True)
class ExecOutput:
    """A piece of a program's output."""

    stream: Stream
    data: bytes
    lost_bytes: int  #: what this client has missed just before ``data``


@dataclass(frozen=True)
class PtyOutput:
    """A piece of a terminal's output."""

    data: bytes
    lost_bytes: int  #: what this client has missed just before ``data``


@dataclass(frozen=True)
class PtyInfo:
    """A terminal session of a Vm."""

    id: str
    command: str
    pid: int
    size: PtySize
    clients: int
    writers: int
    writing: PtyWriting
    ended: Optional[ExitStatus]


@dataclass(frozen=True)
class FileInfo:
    """A file of a guest."""

    name: str  #: in its directory; of ``stat_file()``: the path as given
    type: FileType
    mode: int  #: permissions, set-id bits, sticky bit: 0o7777
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    link_target: str

    @property
    def mtime(self) -> datetime:
        """When its content was changed last."""
        return _EPOCH + timedelta(microseconds=self.mtime_ns // 1000)


@dataclass(frozen=True)
class FileEvent:
    """What happened to a watched file. Paths are relative to what is watched."""

    kind: FileEventKind
    path: str
    old_path: str  #: of RENAMED
    is_directory: bool


@dataclass(frozen=True)
class TransferTotals:
    """What a transfer has carried."""

    entries: int
    bytes: int
    skipped: int  #: devices, fifos and sockets, which are not carried


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at on the host."""

    name: str
    state: FindingState
    is_: str  #: what was found
    advice: str  #: what to change; empty: nothing
    cost: str  #: what it costs to leave it; empty: nothing


@dataclass(frozen=True)
class ProbeStep:
    """One thing that a deep probe did, so many times."""

    name: str
    state: ProbeStepState
    detail: str
    count: int
    p50: timedelta
    most: timedelta


@dataclass(frozen=True)
class DeepReport:
    """Of the machine, its kernel and what was seen; nothing of who uses it."""

    cpu_model: str
    microcode: str
    cpus: int
    memory_bytes: int
    kernel: str
    kvm_parameters: Dict[str, str]
    findings: List[Finding]
    steps: List[ProbeStep]
    took: timedelta
    passed: bool  #: no step failed and no finding is a problem


# ---- from what _native gives -------------------------------------------------------------------

_T = TypeVar("_T")
_Make = Callable[[Any], _T]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _time(text: str) -> datetime:
    """RFC 3339, UTC. Empty, of what is not known: 1970."""
    if not text:
        return _EPOCH
    day, _, clock = text.rstrip("Zz").partition("T")
    clock, _, fraction = clock.partition(".")
    year, month, date = map(int, day.split("-"))
    hour, minute, second = map(int, clock.split(":"))
    microsecond = int((fraction + "000000")[:6])
    return datetime(year, month, date, hour, minute, second, microsecond, timezone.utc)


def _microseconds(count: int) -> timedelta:
    return timedelta(microseconds=count)


def _milliseconds(count: float) -> timedelta:
    return timedelta(milliseconds=count)


def _optional(make: _Make[_T]) -> _Make[Optional[_T]]:
    return lambda fields: None if fields is None else make(fields)


def _seconds_or_none(count: float) -> Optional[timedelta]:
    return timedelta(seconds=count) if count else None


def _maker(cls: Type[_T], **conversions: Any) -> _Make[_T]:
    """Makes a `cls` of a dict; ``new=(old, f)``: the field `new` is f of what `old` has."""
    plain = {new: f for new, f in conversions.items() if not isinstance(f, tuple)}
    renamed = {new: f for new, f in conversions.items() if isinstance(f, tuple)}

    def make(fields: Dict[str, Any]) -> _T:
        for name, convert in plain.items():
            fields[name] = convert(fields[name])
        for new, (old, convert) in renamed.items():
            fields[new] = convert(fields.pop(old))
        return cls(**fields)

    return make


def _list_of(make: _Make[_T]) -> _Make[List[_T]]:
    return lambda items: [make(item) for item in items]


_hooks = _maker(
    Hooks,
    **{
        name: _seconds_or_none
        for name in ("ready", "validate", "run", "suspend", "resume", "terminate")
    },
)
kernel_info = _maker(KernelInfo)
base_info = _maker(BaseInfo)
image_info = _maker(
    ImageInfo,
    created=_time,
    boot=("boot_ms", _milliseconds),
    config=_maker(ImageConfig, hooks=_hooks),
)
progress = _maker(Progress)
checkpoint_info = _maker(CheckpointInfo, created=_time)
prune_report = _maker(PruneReport, items=_list_of(_maker(PrunedItem, kind=PrunedKind)))
vm_info = _maker(VmInfo, state=VmState, end=VmEnd, created=_time)
vm_ending = _maker(VmEnding, end=VmEnd)
vm_event = _maker(
    VmEvent, time=_time, kind=VmEventKind, end=VmEnd, took=("took_us", _microseconds)
)
launch_times = _maker(
    LaunchTimes,
    **{name: (name + "_us", _microseconds) for name in ("worker", "restore", "agent", "ready")},
)
suspend_times = _maker(
    SuspendTimes,
    **{name: (name + "_us", _microseconds) for name in ("pause", "acknowledged", "durable")},
)
vm_counters = _maker(VmCounters)
exit_status = _maker(ExitStatus)
exec_info = _maker(ExecInfo, ended=_optional(exit_status))
pty_info = _maker(
    PtyInfo, size=lambda pair: PtySize(*pair), writing=PtyWriting, ended=_optional(exit_status)
)
file_info = _maker(FileInfo, type=FileType)
file_event = _maker(FileEvent, kind=FileEventKind)
transfer_totals = _maker(TransferTotals)
finding = _maker(Finding, state=FindingState)
probe_step = _maker(
    ProbeStep,
    state=ProbeStepState,
    p50=("p50_ms", _milliseconds),
    most=("most_ms", _milliseconds),
)
deep_report = _maker(
    DeepReport,
    findings=_list_of(finding),
    steps=_list_of(probe_step),
    took=("took_ms", _milliseconds),
)


def exec_output(fields: Optional[Tuple[str, bytes, int]]) -> Optional[ExecOutput]:
    return None if fields is None else ExecOutput(Stream(fields[0]), fields[1], fields[2])


def pty_output(fields: Optional[Tuple[bytes, int]]) -> Optional[PtyOutput]:
    return None if fields is None else PtyOutput(*fields)
