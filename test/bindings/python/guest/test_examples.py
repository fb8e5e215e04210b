"""What a reader copies, works."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import libmicrovm

REQUESTS = [
    {"run": "open('kept', 'w').write('1'); print(6 * 7)"},
    {"run": "import os; os.remove('kept'); raise SystemExit(3)"},
    {"get": "kept"},
    {"rollback": 2},
    {"get": "kept"},
    {"put": "in.csv", "text": "a,b"},
    {"run": "print(open('in.csv').read()); print('x' * 100_000)"},
    {"run": "while True: pass"},
    {"run": "print('still here')"},
    {"rollback": 9},
    {"nonsense": 1},
]


def test_agent_sandbox(runtime: libmicrovm.Runtime, tree: pathlib.Path) -> None:
    ran = subprocess.run(
        [sys.executable, tree / "examples/agent_sandbox.py", "--seconds", "15", "--output-bytes", "1000"],
        input="".join(json.dumps(request) + "\n" for request in REQUESTS),
        stdout=subprocess.PIPE,
        text=True,
        timeout=400,
    )
    assert ran.returncode == 0
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    assert said[0] == {"step": 1, "exit": 0, "stdout": "42\n", "stderr": "", "timed_out": False}
    assert said[1]["exit"] == 3 and "error" in said[2]
    assert said[3] == {"ok": True} and said[4] == {"text": "1"}
    assert said[6]["stdout"].startswith("a,b\nxxx") and len(said[6]["stdout"]) == 1000
    assert said[7]["timed_out"] and said[7]["step"] == 3
    assert said[8]["stdout"] == "still here\n"
    assert said[9]["error"] == "there is no step 9" and "error" in said[10]
    assert len(said) == len(REQUESTS)
    assert runtime.checkpoints() == []


def test_notebook(tree: pathlib.Path) -> None:
    ran = subprocess.run(
        [sys.executable, tree / "examples/notebook.py"], cwd=tree, stdout=subprocess.PIPE, text=True, timeout=400
    )
    assert ran.returncode == 0
    for word in ("kvm", "45", "A,B", "NOT_FOUND"):
        assert word in ran.stdout, ran.stdout
