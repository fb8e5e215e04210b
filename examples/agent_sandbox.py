#!/usr/bin/env python3
"""Runs Python that a model has written, in a microVM of its own: limited in time and output, each step undoable.

    agent_sandbox.py [--image NAME] [--seconds S] [--output-bytes N]

Speaks JSON, one object a line, as a tool of an agent does:

    {"run": "print(6 * 7)"}              → {"step": 1, "exit": 0, "stdout": "42\\n", "stderr": "", "timed_out": false}
    {"put": "data.csv", "text": "a,b"}   → {"ok": true}          a file into the work directory
    {"get": "plot.svg"}                  → {"text": "<svg …"}    and out of it
    {"rollback": 1}                      → {"ok": true}          to what was before that step: files, memory, processes
"""

import argparse
import json
import sys
from typing import Any

import libmicrovm

WORK = "/work"


class Sandbox:
    """One microVM, and a checkpoint before each step."""

    def __init__(self, runtime: libmicrovm.Runtime, image: str, seconds: float, output_bytes: int) -> None:
        self.runtime, self.seconds, self.output_bytes = runtime, seconds, output_bytes
        self.before: list[str] = []
        self.vm = runtime.run(image)
        self.vm.make_directory(WORK, parents=True)

    def run(self, code: str) -> dict[str, Any]:
        self.before.append(self.vm.checkpoint().id)
        self.vm.write_file(f"{WORK}/.step.py", code.encode())
        # program_timeout ends the program and keeps what it has printed; timeout is for a guest that hangs.
        result = self.vm.exec(
            ["python3", ".step.py"],
            cwd=WORK,
            program_timeout=self.seconds,
            timeout=self.seconds + 60,
            max_bytes=self.output_bytes,
        )
        return {
            "step": len(self.before),
            "exit": result.returncode,
            "stdout": result.stdout.decode(errors="replace"),
            "stderr": result.stderr.decode(errors="replace"),
            "timed_out": result.status.timed_out,
        }

    def rollback(self, step: int) -> None:
        if not 1 <= step <= len(self.before):
            raise ValueError(f"there is no step {step}")
        self.vm.rollback(self.before[step - 1])
        for checkpoint in self.before[step - 1 :]:
            self.runtime.remove_checkpoint(checkpoint)
        del self.before[step - 1 :]

    def close(self) -> None:
        self.vm.terminate()
        for checkpoint in self.before:
            self.runtime.remove_checkpoint(checkpoint)


def answer(sandbox: Sandbox, request: dict[str, Any]) -> dict[str, Any]:
    if "run" in request:
        return sandbox.run(request["run"])
    if "put" in request:
        sandbox.vm.write_file(f"{WORK}/{request['put']}", request["text"].encode())
    elif "get" in request:
        return {"text": sandbox.vm.read_file(f"{WORK}/{request['get']}").decode(errors="replace")}
    elif "rollback" in request:
        sandbox.rollback(request["rollback"])
    else:
        raise ValueError("one of run, put, get and rollback is needed")
    return {"ok": True}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", default="counter")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--output-bytes", type=int, default=64 * 1024)
    options = parser.parse_args()
    with libmicrovm.Runtime() as runtime:
        sandbox = Sandbox(runtime, options.image, options.seconds, options.output_bytes)
        try:
            for line in sys.stdin:
                try:
                    said = answer(sandbox, json.loads(line))
                except (libmicrovm.MicrovmError, ValueError, KeyError, TypeError, AttributeError) as error:
                    said = {"error": str(error)}
                print(json.dumps(said), flush=True)
        finally:
            sandbox.close()


if __name__ == "__main__":
    main()
