"""Checks that each public call on a handle first asks whether it is at home (host/base/home_process.hpp):
in a child that was forked it must fail and touch nothing. A call with limits asks with them, so that a token
that has fired ends it, also where it would have nothing to wait for."""

import pathlib
import re
import sys

CLASS = re.compile(r"^class MICROVM_API (\w+) \{", re.MULTILINE)
CALL = re.compile(r"^Result<.*> (\w+)::(\w+)\(")
LIMITS = re.compile(r"const CallLimits& (\w+)")
NO_HANDLE_YET = {("Runtime", "open")}


def handles():
    headers = pathlib.Path("include/microvm").glob("*.hpp")
    return {name for header in headers for name in CLASS.findall(header.read_text())}


def calls(lines):
    """Of each definition: its line number, class, name, its limits ("" for none), the first line of its body."""
    for number, line in enumerate(lines):
        if not (call := CALL.match(line)):
            continue
        begin = next(i for i in range(number, len(lines)) if lines[i].endswith(("{", "}")))
        limits = LIMITS.search(" ".join(lines[number : begin + 1]))
        first = lines[begin + 1] if lines[begin].endswith("{") else ""
        yield number + 1, call[1], call[2], limits[1] if limits else "", first


def main():
    known, seen, bad = handles(), 0, []
    for source in sorted(pathlib.Path("lib/host").rglob("*.cpp")):
        for number, handle, name, limits, first in calls(source.read_text().splitlines()):
            if handle not in known or (handle, name) in NO_HANDLE_YET:
                continue
            seen += 1
            if f"home.check({limits})" not in first:
                bad.append(f"{source}:{number}: {handle}::{name}: does not begin with home.check({limits})")
    print("\n".join(bad))
    if seen < 50:
        sys.exit(f"only {seen} calls of handles were found")
    sys.exit(bool(bad))


main()
