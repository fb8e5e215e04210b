"""A Linux guest with the counter app, 128 MiB: from the call that starts it to the answer of the first program in it."""

import json
import time

from figures import THEIRS
from firecracker import Process, ms_since
from linux_guest import snapshot_with_app
from setup import say

IMAGE = "counter"
WITHOUT = "start to the first exec's answer, no pool, ms"
POOLED = "start to the first exec's answer, from a pool, ms"
UP = "the same, their API being up, ms"
EXITS = "exits to the VMM until then"


def compare(setup, figures):
    image = snapshot_with_app(setup)
    launch(setup, image)  # reads what the others find in the page cache
    for turn in range(setup.rounds):
        say(f"beside: start: round {turn + 1} of {setup.rounds}")
        theirs(setup, figures, turn, image)
        for build in setup.builds_of(turn):
            ours(setup, figures, turn, build)


def launch(setup, image):
    """From the start of the process, and from its API being up."""
    with Process(setup.firecracker, setup.work, setup.options) as machine:
        up = time.perf_counter()
        machine.load(image)
        machine.run_true()
        return ms_since(machine.started), ms_since(up)


def exits(setup, image):
    counts = f"{setup.work}/metrics"
    with Process(setup.firecracker, setup.work, setup.options) as machine:
        machine.count_exits_into(counts)
        machine.load(image)
        machine.run_true()
        return machine.exits(counts)


def theirs(setup, figures, turn, image):
    launches = [launch(setup, image) for _ in range(setup.each)]
    from_start = [started for started, _ in launches]
    figures.add(turn, THEIRS, WITHOUT, from_start)
    figures.add(turn, THEIRS, POOLED, from_start)  # it has none
    figures.add(turn, THEIRS, UP, [up for _, up in launches])
    figures.add(turn, THEIRS, EXITS, [exits(setup, image)])


def ours(setup, figures, turn, build):
    report = json.loads(build.bench("restore", IMAGE, setup.each))
    pooled, unpooled = report["pooled"], report["unpooled"]
    figures.add_told(turn, build.side, WITHOUT, unpooled["run_to_first_exec_ms"])
    for what in (POOLED, UP):
        figures.add_told(turn, build.side, what, pooled["run_to_first_exec_ms"])
    figures.add_told(turn, build.side, EXITS, pooled["exits_until_first_exec"])
