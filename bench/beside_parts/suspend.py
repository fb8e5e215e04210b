"""The same guest: from the call that suspends it until it is acknowledged, and durable, and from the call that resumes it
until a program in it has answered."""

import json
import os
import time

from figures import THEIRS
from firecracker import Process, ms_since
from linux_guest import boot
from setup import say

IMAGE = "counter"
ACKNOWLEDGED = "suspend to acknowledged, ms"
DURABLE = "suspend to durable, ms"
RESUMED = "resume from disk to the first exec's answer, ms"
FROM_MEMORY = "resume before it is durable to the first exec's answer, ms"
BYTES = "bytes written for a suspend, KiB"


def compare(setup, figures):
    say("beside: booting firecracker's guest")
    with Process(setup.firecracker, setup.work, setup.options) as machine:
        boot(machine, setup, "counter", 128, arguments="app=1", track=True)
        full = f"{setup.work}/full"
        save(machine, full, "Full")
        resume(setup, full)  # reads what the others find in the page cache
        for turn in range(setup.rounds):
            say(f"beside: suspend: round {turn + 1} of {setup.rounds}")
            theirs(setup, figures, turn, machine)
            resumes = [resume(setup, full) for _ in range(setup.each)]
            figures.add(turn, THEIRS, RESUMED, resumes)
            for build in setup.builds_of(turn):
                ours(setup, figures, turn, build)


def save(machine, name, kind):
    """Milliseconds from the pause until the snapshot has been made. It is durable by then: they sync it."""
    machine.run_true()
    time.sleep(0.3)
    asked = time.perf_counter()
    machine.pause()
    machine.snapshot(name, kind)
    made = ms_since(asked)
    machine.resume()
    return made


def theirs(setup, figures, turn, machine):
    """A Diff snapshot, as theirs that does least."""
    name = f"{setup.work}/diff"
    made, kib = [], []
    for _ in range(setup.each):
        made.append(save(machine, name, "Diff"))
        kib.append(sum(os.stat(name + part).st_blocks for part in (".state", ".memory")) / 2)
        for part in (".state", ".memory"):
            os.unlink(name + part)
    figures.add(turn, THEIRS, ACKNOWLEDGED, made)
    figures.add(turn, THEIRS, DURABLE, made)
    figures.add(turn, THEIRS, BYTES, kib)


def resume(setup, image):
    """In a process that is started for it; a Diff would have to be merged first."""
    with Process(setup.firecracker, setup.work, setup.options) as machine:
        machine.load(image)
        machine.run_true()
        return ms_since(machine.started)


def ours(setup, figures, turn, build):
    report = json.loads(build.bench("suspend", IMAGE, setup.each))
    disk, memory = report["from_disk"], report["from_memory"]
    figures.add_told(turn, build.side, ACKNOWLEDGED, memory["acknowledged_us"], 1000)
    figures.add_told(turn, build.side, DURABLE, disk["durable_us"], 1000)
    figures.add_told(turn, build.side, RESUMED, disk["resume_to_first_exec_ms"])
    figures.add_told(turn, build.side, FROM_MEMORY, memory["resume_to_first_exec_ms"])
    figures.add_told(turn, build.side, BYTES, disk["stored_bytes"], 1024)
