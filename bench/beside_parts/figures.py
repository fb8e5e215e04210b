"""What was measured, of both sides in turn, and the report that it makes. bench/table prints it."""

import math
import os
import statistics

THEIRS, OURS, OLD = "theirs", "ours", "old"
SIDES = (THEIRS, OURS, OLD)
MORE_IS_BETTER = "IO/s"


class Figures:
    """Values by what they are of, by side and by round: the sides of a round were measured one after the other, so what
    else the machine did met all of them."""

    def __init__(self):
        self._rounds = {}  # what → a list of rounds, each {side: (median, n, least)}
        self._derived = []

    def add(self, turn, side, what, values):
        """Of one round of a side."""
        self.add_told(turn, side, what, {"n": len(values), "p50": statistics.median(values), "min": min(values)})

    def add_told(self, turn, side, what, series, unit=1):
        """What a bench has made of its values."""
        rounds = self._rounds.setdefault(what, [])
        while len(rounds) <= turn:
            rounds.append({})
        rounds[turn][side] = (series["p50"] / unit, series["n"], series["min"] / unit)

    def add_geometric_mean(self, what, of):
        """A line of ratios alone: of those of other lines."""
        self._derived.append((what, of))

    def rows(self):
        rows = {what: row_of(rounds, max if MORE_IS_BETTER in what else min) for what, rounds in self._rounds.items()}
        for what, of in self._derived:
            rows[what] = geometric_means([rows[name] for name in of if name in rows])
        return [{"what": what, **row} for what, row in rows.items()]


def row_of(rounds, best):
    row = {}
    for side in SIDES:
        seen = [round_[side] for round_ in rounds if side in round_]
        if seen:
            medians, numbers, leasts = zip(*seen)
            row[side] = {"n": sum(numbers), "p50": statistics.median(medians), "best": best(leasts), "rounds": medians}
    return row | ratios(rounds) | ratios_of_best(row)


def ratios(rounds):
    """Ours over the other's, in the middle of all rounds."""
    row = {}
    for side in (THEIRS, OLD):
        pairs = [(round_[OURS][0], round_[side][0]) for round_ in rounds if OURS in round_ and side in round_]
        pairs = [ours / other for ours, other in pairs if other > 0]
        if pairs:
            row[f"ours_to_{side}"] = statistics.median(pairs)
    return row


def ratios_of_best(row):
    """On a busy machine the best of many says more than the middle of them."""
    return {f"best_ours_to_{side}": row[OURS]["best"] / row[side]["best"]
            for side in (THEIRS, OLD) if OURS in row and row.get(side, {}).get("best", 0) > 0}


def geometric_means(rows):
    row = {}
    for name in ("ours_to_theirs", "ours_to_old", "best_ours_to_theirs", "best_ours_to_old"):
        values = [other[name] for other in rows if other.get(name, 0) > 0]
        if values:
            row[name] = math.exp(statistics.fmean(map(math.log, values)))
    return row


def conditions(place):
    system = os.uname()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return {
        "place": place,
        "kernel": system.release,
        "cpu": names[0] if names else system.machine,
        "cpus": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "load_1min_at_end": os.getloadavg()[0],
    }
