"""The root disk of a Linux guest: fio's jobs in guests of both sides, one after the other, and what a request costs."""

import json

import counters
import linux_guest
from figures import THEIRS
from firecracker import Process
from setup import say

IMAGE, NAME = "fio", "beside-block"
MEMORY_MIB = 256
JOBS = [(kind, block, depth) for kind, block in (("randread", "4k"), ("randwrite", "4k"), ("read", "1m"), ("write", "1m")) for depth in (1, 32)]
FIO = "fio --name=bench --filename=/var/tmp/bench.fio --size=64m --ioengine=libaio --direct=1 --thread --group_reporting=1"
# As fio wants to read it; the processors that an emulator shows have none.
CACHE = "/sys/devices/system/cpu/cpu0"
CACHE_LINE = f"{CACHE}/cache/index0/coherency_line_size"
MAKE_CACHE_LINE = f"grep -qx 64 {CACHE_LINE} || {{ mount -t tmpfs cpu0 {CACHE} && mkdir -p {CACHE}/cache/index0 && echo 64 >{CACHE_LINE}; }}"


class Ours:
    def __init__(self, build):
        self.side, self.kind = build.side, ""
        self._build = build
        build.microvm(IMAGE, "run", "-d", "--name", NAME, IMAGE)
        listed = json.loads(build.microvm(IMAGE, "ps", "--json"))
        self.pid = next(vm["worker_pid"] for vm in listed if vm["name"] == NAME)

    def shell(self, command):
        return self._build.microvm(IMAGE, "exec", NAME, "sh", "-c", command)

    def end(self):
        self._build.microvm(IMAGE, "rm", "-f", NAME)


class Theirs:
    side = THEIRS

    def __init__(self, setup, kind, engine, options):
        self.kind = kind
        more = [option for option in options if option not in setup.options]
        self._machine = Process(setup.firecracker, setup.work, setup.options + more)
        self.pid = self._machine.pid
        try:
            linux_guest.boot(self._machine, setup, "fio", MEMORY_MIB, engine=engine)
            self.shell(MAKE_CACHE_LINE)
        except BaseException:
            self.end()
            raise

    def shell(self, command):
        return self._machine.shell(command)

    def end(self):
        self._machine.end()


def compare(setup, figures):
    guests = []
    try:
        for build in setup.builds:
            guests.append(Ours(build))
        for kind, engine, options in (("Async", "Async", []), ("Sync", "Sync", []), ("Async, PCI", "Async", ["--enable-pci"])):
            say(f"beside: booting firecracker's guest: {kind}")
            guests.append(Theirs(setup, kind, engine, options))
        for guest in guests:
            guest.shell(f"{FIO} --rw=write --bs=1m --end_fsync=1 --output=/dev/null")
        measure_all(setup, figures, guests)
    finally:
        for guest in guests:
            guest.end()
    add_means(figures, [guest.kind for guest in guests if guest.side == THEIRS])


def measure_all(setup, figures, guests):
    counters.mount_debugfs()
    for job in JOBS:
        say(f"beside: block: counting {name_of(job)}")
        for guest in guests:
            count(setup, figures, guests, guest, job)
    for turn in range(setup.rounds):
        say(f"beside: block: round {turn + 1} of {setup.rounds}")
        first = turn % len(guests)
        for job in JOBS:
            for guest in guests[first:] + guests[:first]:
                rate = run(setup, guest, job)["iops"]
                add(figures, turn, guests, guest, f"{name_of(job)}, IO/s", rate)


def name_of(job):
    kind, block, depth = job
    return f"{kind} {block} depth {depth}"


def add(figures, turn, guests, guest, what, value):
    """Ours stands beside each kind of theirs."""
    kinds = [guest.kind] if guest.side == THEIRS else [other.kind for other in guests if other.side == THEIRS]
    for kind in kinds:
        figures.add(turn, guest.side, f"{what}, {kind}", [value])


def add_means(figures, kinds):
    for kind in kinds:
        figures.add_geometric_mean(f"geometric mean of IO/s, {kind}", [f"{name_of(job)}, IO/s, {kind}" for job in JOBS])


def run(setup, guest, job):
    kind, block, depth = job
    command = f"{FIO} --rw={kind} --bs={block} --iodepth={depth} --time_based --runtime={setup.seconds} --output-format=json"
    output = guest.shell(command)
    told = json.loads(output[output.index("{"):output.rindex("}") + 1])["jobs"][0]
    return told["write" if "write" in kind else "read"]


def count(setup, figures, guests, guest, job):
    """Apart from the times: each call costs more while it is counted."""
    before = counters.kvm(guest.pid)
    calls = counters.CallCounter(guest.pid, setup.work)
    requests = run(setup, guest, job)["total_ios"]
    counts = calls.end()
    counts |= {name: value - before[name] for name, value in counters.kvm(guest.pid).items()}
    for name, value in counts.items():
        add(figures, 0, guests, guest, f"{name_of(job)}, {name} each", value / requests)
