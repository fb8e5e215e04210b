"""What all tests of the Python package share, and the result lines that test/suite/results.sh counts."""

from __future__ import annotations

import os
import pathlib

import pytest

TREE = pathlib.Path(__file__).resolve().parents[3]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    stats = terminalreporter.stats
    for report in stats.get("skipped", []):
        name = report.nodeid.rsplit("::", 1)[-1]
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"[skipped] {name} ({report.nodeid.split('::')[0]}): {reason.removeprefix('Skipped: ')}")
    # A test may pass and then fail to clean up: that is one failure, not one of each.
    errors = {report.nodeid for report in stats.get("error", [])}
    passed = sum(report.nodeid not in errors for report in stats.get("passed", []))
    failed = len(errors | {report.nodeid for report in stats.get("failed", [])})
    terminalreporter.write_line(f"{passed} passed, {failed} failed, {len(stats.get('skipped', []))} skipped")


@pytest.fixture(scope="session")
def tree() -> pathlib.Path:
    return TREE


def count_threads() -> int:
    return len(os.listdir("/proc/self/task"))
