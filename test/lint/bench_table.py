"""What bench/beside makes of values, and bench/table of reports: medians, ratios and counts."""

import json
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, "bench/beside_parts")
from figures import Figures  # pylint: disable=wrong-import-position


def table_of(*reports):
    with tempfile.TemporaryDirectory() as directory:
        paths = [pathlib.Path(directory, f"{number}.json") for number in range(len(reports))]
        for path, report in zip(paths, reports):
            path.write_text(json.dumps(report), encoding="utf-8")
        run = subprocess.run([sys.executable, "bench/table", *paths], check=True, stdout=subprocess.PIPE, text=True)
    return {line[:57].strip(): line[58:].split() for line in run.stdout.splitlines()}


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got}, and not {wanted}")


def measured():
    """Of five rounds the machine was slow in three, which both sides met, but in one."""
    figures = Figures()
    for turn, (slow, slower) in enumerate(((1, 1), (10, 10), (1, 1), (10, 10), (10, 900))):
        figures.add(turn, "theirs", "start, ms", [10 * slow, 20 * slow, 30 * slow])
        figures.add_told(turn, "ours", "start, ms", {"n": 3, "p50": 5000 * slower, "min": 2000 * slower}, 1000)
    figures.add(0, "old", "start, ms", [10, 10, 10])
    figures.add(0, "ours", "faults", [0])
    figures.add(0, "theirs", "faults", [0])
    for name, ours in (("a, IO/s", 2), ("b, IO/s", 8)):
        for turn in range(2):
            figures.add(turn, "ours", name, [ours / (turn + 1)])
            figures.add(turn, "theirs", name, [1 / (turn + 1)])
    figures.add_geometric_mean("mean", ["a, IO/s", "b, IO/s", "not measured"])
    return figures.rows()


def rows_of_beside():
    rows = {row["what"]: row for row in measured()}
    start = rows["start, ms"]
    expect("median of theirs", (start["theirs"]["p50"], start["theirs"]["n"]), (200, 15))
    expect("median of ours", (start["ours"]["p50"], start["ours"]["n"]), (50, 15))
    expect("ratio", start["ours_to_theirs"], 0.25)
    expect("ratio to the old build, which has one round", start["ours_to_old"], 0.5)
    expect("best, and its ratio", (start["ours"]["best"], start["best_ours_to_theirs"]), (2, 0.2))
    expect("best of rates", rows["a, IO/s"]["ours"]["best"], 2)
    expect("a ratio to nothing", "ours_to_theirs" in rows["faults"], False)
    expect("geometric mean", round(rows["mean"]["ours_to_theirs"], 9), 4)


def beside_as_a_table():
    lines = table_of({"bench": "beside_start", "rows": measured()})
    expect("heading", lines["beside_start"], ["theirs", "ours", "old", "/theirs", "/old", "best:theirs", "ours", "old", "/theirs", "/old", "n"])
    expect("line", lines["start, ms"], ["200", "50", "10", "0.25", "0.50", "10", "2", "10", "0.20", "0.20", "15"])
    expect("line of a mean", lines["mean"], ["4.00", "4.00"])


def counts_beside_times():
    series = {"p50": 1.5, "p99": 2}
    figures = {"run_to_first_exec_ms": series, "exits_until_first_exec": {"p50": 300}, "counts": {"faults": {"p50": 12.5}, "bytes": 4096}}
    lines = table_of({"bench": "restore", "pooled": figures, "unpooled": figures, "boot_to_pooled_ratio": 2, "boot_to_unpooled_ratio": 1})
    got = " ".join(lines["run() to first exec answered, pooled, ms"])
    expect("counts", got, "1.5 p50, 2.0 p99; 300 exits; 12.50 faults; 4096 bytes")
    calls = {"bench": "calls", "vcpus": 1, "io": "io_uring", "counts": {"system calls": 23, "ioctls": 10}}
    lines = table_of({"bench": "worker_restore", "lines": [calls]})
    expect("calls", lines["system calls of it, 1 vCPUs, io_uring"], ["23,", "of", "them", "10", "ioctls"])


rows_of_beside()
beside_as_a_table()
counts_beside_times()
