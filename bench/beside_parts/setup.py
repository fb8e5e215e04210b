"""What a comparison is given: the programs and files of both sides, and how often."""

import os
import subprocess
import sys
from dataclasses import dataclass

from figures import OLD, OURS


def say(line):
    print(line, file=sys.stderr, flush=True)


@dataclass
class Build:
    """A build directory of ours, and data directories of its own."""

    side: str
    directory: str
    stores: str

    def store(self, image):
        return f"{self.stores}/{self.side}/{image}"

    def bench(self, name, image, *arguments):
        """The report of one of its benches, which writes what it does to standard error."""
        return output_of([f"{self.directory}/bench/bench_{name}", self.store(image), image, *map(str, arguments)])

    def microvm(self, image, *arguments):
        return output_of([f"{self.directory}/examples/cli/microvm", "--data-dir", self.store(image), *arguments])

    @property
    def worker(self):
        return f"{self.directory}/lib/vmm/microvm-vmm"


@dataclass
class Setup:
    firecracker: str
    options: list  # for it
    files: str  # what it boots
    work: str  # a directory of this run
    builds: list
    rounds: int
    each: int  # times in a round
    seconds: int  # of a job of fio

    @property
    def ours(self):
        return self.builds[0]

    def builds_of(self, turn):
        """The other one first in every second round."""
        return self.builds if turn % 2 == 0 else self.builds[::-1]


def output_of(command, environment=None):
    merged = {**os.environ, **(environment or {})}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, env=merged, text=True).stdout


def sides(old):
    return (OURS, OLD) if old else (OURS,)


def builds(ours, old, stores):
    return [Build(side, directory, stores) for side, directory in zip(sides(old), (ours, old))]
