"""What the library tells, and the larger things it is told: plain, immutable values.

Times are aware ``datetime`` objects (UTC), durations are ``timedelta``, sizes are bytes, paths of
the host are ``pathlib.Path``. Names and paths of a guest are ``str``; bytes in them that are not
UTF-8 appear as lone surrogates, as in ``os.listdir()``, and go back to the same bytes when the
``str`` is given to the library again.
"""

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type, TypeVar, Union

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
    "FlowKind",
    "FlowRecord",
    "Hooks",
    "IdlePolicy",
    "ImageConfig",
    "ImageInfo",
    "KernelInfo",
    "LaunchTimes",
    "LogSource",
    "NetworkCounters",
    "NetworkDefault",
    "NetworkInfo",
    "NetworkMode",
    "NetworkOptions",
    "NetworkPolicy",
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
    "TapOptions",
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
    NETWORK_FAILED = "network_failed"


class NetworkMode(_Word):
    """What a Vm's network device is connected to."""

    AUTOMATIC = "automatic"  #: user where the image has a network device, else none
    NONE = "none"
    USER = "user"  #: each Vm in a network of its own, made anew from this host; no root
    TAP = "tap"  #: a tap of yours; what is behind it is your word: no policy


class NetworkDefault(_Word):
    """What holds for what no rule says anything about."""

    INTERNET = "internet"  #: allowed, but for loopback, the host itself, link-local, private …
    ALLOW = "allow"
    DENY = "deny"


class FlowKind(_Word):
    """What happened to a flow."""

    OPENED = "opened"
    ENDED = "ended"
    REFUSED = "refused"  #: `reason` is the rule, or the limit
    FAILED = "failed"  #: `reason` is what went wrong
    NAME = "name"  #: the guest asked for `name`


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
class NetworkPolicy:
    """What a Vm may reach (mode user). Its resolver works whatever the rules are.

    A rule is ``allow|deny [tcp|udp|icmp] TARGET[:PORTS]``, and the first that fits counts. TARGET:
    192.0.2.0/24, 2001:db8::7, example.org, ``*.example.org`` (below it, not itself), ``*``, and
    the words internet, private, loopback, link-local, host. PORTS: 443 or 80,443 or 8000-8100;
    behind an IPv6 address only if that is in brackets. Domains are in their ASCII form (xn--…).
    """

    otherwise: Union[NetworkDefault, str] = NetworkDefault.INTERNET
    rules: Sequence[str] = ()  #: at most 1,024 of 512 bytes
    bytes_per_second: int = 0  #: both directions together; 0: no limit
    flows_per_second: int = 0  #: new ones; 0: no limit
    open_flows: int = 1024  #: at a time, at most 16,384


@dataclass(frozen=True)
class TapOptions:
    """The tap of mode tap: one Vm's, so that a fork brings its own. Give its `fd` or its `name`."""

    fd: Optional[int] = None  #: with IFF_NO_PI and IFF_VNET_HDR; borrowed until the call returns
    name: Optional[str] = None  #: one that this process, and whoever resumes the Vm, may open
    addresses: Sequence[str] = ()  #: of the guest, with their prefix: "192.0.2.7/24"
    gateways: Sequence[str] = ()  #: one of a family
    dns: Sequence[str] = ()  #: resolvers; none: the guest's resolv.conf stays
    mac: Optional[str] = None  #: None: one of its own for each Vm


@dataclass(frozen=True)
class NetworkOptions:
    """What a Vm's network is."""

    mode: Union[NetworkMode, str] = NetworkMode.AUTOMATIC
    policy: Optional[NetworkPolicy] = None  #: of mode user; None: the internet
    tap: Optional[TapOptions] = None  #: of mode tap


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
class NetworkCounters:
    """What went through a Vm's network.

    All but the first three are of mode user, since its network was started last, which the guest's
    first packet after a start or resume does.
    """

    packets_from_guest: int  #: of its device, since the start or resume
    packets_to_guest: int
    packets_dropped: int  #: malformed, of another sender than the guest, or for no room
    bytes_from_guest: int  #: of flows
    bytes_to_guest: int
    flows: int  #: that were let through
    flows_open: int
    flows_refused_by_rule: int
    flows_refused_by_limit: int
    flows_failed: int  #: the destination could not be reached
    dns_queries: int
    dns_failed: int  #: no answer in time, or none that could be used


@dataclass(frozen=True)
class NetworkInfo:
    """What a Vm's network is, and what went through it."""

    mode: NetworkMode  #: never AUTOMATIC
    policy: NetworkPolicy
    tap: str  #: its name
    mac: str  #: of mode tap
    is_running: bool  #: its microvm-net, which the guest's first packet starts
    counters: NetworkCounters


@dataclass(frozen=True)
class FlowRecord:
    """What happened to a flow, or to a name that was asked for."""

    time: datetime
    kind: FlowKind
    protocol: str  #: "tcp", "udp", "icmp"
    address: str  #: where to
    port: int
    name: str  #: by which the guest knows the address; printable, the guest's word
    reason: str  #: of OPENED: the rule that allowed it; empty: the default
    bytes_from_guest: int  #: of one that ended
    bytes_to_guest: int
    lost: int  #: records before this one that a slow reader missed


@dataclass(frozen=True)
class VmCounters:
    """What a worker has counted."""

    paused: bool
    exits: int
    start_to_run_ns: int
    network: NetworkCounters


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
_network_counters = _maker(NetworkCounters)
vm_counters = _maker(VmCounters, network=_network_counters)
network_info = _maker(
    NetworkInfo,
    mode=NetworkMode,
    policy=_maker(NetworkPolicy, otherwise=NetworkDefault),
    counters=_network_counters,
)
flow_record = _maker(FlowRecord, time=_time, kind=FlowKind)
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
