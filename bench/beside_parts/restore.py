"""A tiny guest without a kernel, directly on /dev/kvm: from the request to restore it to its first byte."""

import json
import re
import subprocess
import time

from counters import minor_faults
from figures import THEIRS
from firecracker import Process, ms_since
from setup import output_of, say

MEMORY_MIB = (128, 1024)
KVM_TESTS = "test/kvm/kvm_tests"
CASES = {"restores": "bench: restore*", "calls": "restore: at most 60 system calls*"}


def compare(setup, figures):
    images = {mib: snapshot_of_tiny_guest(setup, mib) for mib in MEMORY_MIB}
    for mib, image in images.items():
        figures.add(0, THEIRS, calls_of(mib), [calls_of_theirs(setup, image)])
    for build in setup.builds:
        figures.add(0, build.side, calls_of(MEMORY_MIB[0]), [calls_of_ours(setup, build)])
    for turn in range(setup.rounds):
        say(f"beside: restore: round {turn + 1} of {setup.rounds}")
        for mib, image in images.items():
            theirs(setup, figures, turn, mib, image)
        for build in setup.builds_of(turn):
            ours(setup, figures, turn, build)


def calls_of(mib):
    return f"{mib} MiB: system calls, request to KVM_RUN"


def names(mib):
    return {
        "reply": f"{mib} MiB: request to reply, ms",
        "byte": f"{mib} MiB: request to the guest's first byte, ms",
        "process": f"{mib} MiB: the same with the start of its process, ms",
        "faults": f"{mib} MiB: minor faults, request to first byte",
    }


# ---- theirs ----


def snapshot_of_tiny_guest(setup, mib):
    image = f"{setup.work}/tiny{mib}"
    with Process(setup.firecracker, setup.work, setup.options) as machine:
        machine.boot(f"{setup.files}/tiny", mib)
        machine.read_until(b"T")
        machine.pause()
        machine.snapshot(image, "Full")
    return image


def theirs(setup, figures, turn, mib, image):
    values = {name: [] for name in names(mib)}
    for _ in range(setup.each):
        with Process(setup.firecracker, setup.work, setup.options) as machine:
            faults = minor_faults(machine.pid)
            asked = time.perf_counter()
            machine.load(image)
            values["reply"].append(ms_since(asked))
            machine.read_until(b"T")
            byte = ms_since(asked)
            values["faults"].append(minor_faults(machine.pid) - faults)
            values["byte"].append(byte)
            values["process"].append(machine.start_to_api_ms + byte)
    for name, what in names(mib).items():
        figures.add(turn, THEIRS, what, values[name])


def calls_of_theirs(setup, image):
    """Of all its threads, from the accepted connection to the first KVM_RUN: what strace tells of them."""
    trace = f"{setup.work}/strace"
    with Process(setup.firecracker, setup.work, setup.options) as machine:
        with subprocess.Popen(["strace", "-f", "-q", "-o", trace, "-p", str(machine.pid)], stderr=subprocess.DEVNULL) as strace:
            time.sleep(1)
            machine.load(image)
            machine.read_until(b"T")
            strace.terminate()
    with open(trace, encoding="utf-8", errors="replace") as file:
        return calls_until_run(file)


def calls_until_run(lines):
    count = 0
    for line in lines:
        call = line.partition(" ")[2].lstrip()
        if not re.match(r"\w+\(", call):  # the second half of one, a signal, an end
            continue
        count += count > 0 or call.startswith("accept")
        if "KVM_RUN" in call:
            break
    return count


# ---- ours: the bench and a count of kvm_tests, with one worker or the other ----


def kvm_tests(setup, build, case):
    command = [f"{setup.ours.directory}/{KVM_TESTS}", "--no-skip", f"--test-case={case}"]
    return output_of(command, {"MICROVM_VMM": build.worker, "RUNS": str(setup.each)})


def ours(setup, figures, turn, build):
    for line in kvm_tests(setup, build, CASES["restores"]).splitlines():
        if not line.startswith("{"):
            continue
        told = json.loads(line)
        byte = told["request_to_first_byte_read_us"]
        series = {
            "reply": in_ms(told["request_to_reply_us"]),
            "byte": in_ms(byte),
            "process": in_ms(told["spawn_us"], told["shape_us"], byte),
            "faults": told["minor_faults"],
        }
        for name, what in names(told["memory_mib"]).items():
            figures.add_told(turn, build.side, what, {"n": setup.each} | series[name])


def in_ms(*parts):
    """Of what follows each other."""
    return {name: sum(part[name] for part in parts) / 1000 for name in ("p50", "min")}


def calls_of_ours(setup, build):
    """As the test tells it of one vCPU with io_uring."""
    told = re.search(r"vcpus 1, io_uring: (\d+) calls", kvm_tests(setup, build, CASES["calls"]))
    return int(told[1])
