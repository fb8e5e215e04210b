"""Firecracker from outside: its process, its API, and the serial console of its guest."""

import json
import os
import select
import socket
import subprocess
import time

BOOT = "console=ttyS0 quiet loglevel=4 panic=-1 reboot=k 8250.nr_uarts=1 i8042.noaux i8042.nopnp i8042.dumbkbd tsc=reliable"
READY_SECONDS = 900  # of a boot; a machine shared by many emulators took that long
ANSWER_SECONDS = 300


class Failed(Exception):
    """It, or its guest, did not do what it was asked."""


def ms_since(start):
    return (time.perf_counter() - start) * 1e3


class Process:
    """One firecracker with its API up. With it ends what it runs."""

    _number = 0

    def __init__(self, program, directory, options=()):
        Process._number += 1
        self._socket = f"{directory}/{Process._number}.sock"
        self._read = b""
        self.started = time.perf_counter()
        # pylint: disable-next=consider-using-with
        self._process = subprocess.Popen(
            [program, "--api-sock", self._socket, "--no-seccomp", "--level", "Error", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        try:
            self._await_api()
        except Failed:
            self.end()
            raise
        self.start_to_api_ms = ms_since(self.started)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        if os.path.exists(self._socket):
            os.unlink(self._socket)

    @property
    def pid(self):
        return self._process.pid

    def _await_api(self):
        while self._process.poll() is None:
            with socket.socket(socket.AF_UNIX) as api:
                if api.connect_ex(self._socket) == 0:
                    return
            time.sleep(0.0002)
        raise Failed(f"firecracker ended with status {self._process.returncode}: {self._rest()}")

    def _rest(self):
        return self._process.stdout.read()[-300:].decode(errors="replace")

    # ---- API ----

    def call(self, method, path, body):
        text = json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as api:
            api.connect(self._socket)
            api.sendall(head.encode() + text)
            answer = api.recv(65536).decode()
        if " 20" not in answer.split("\r\n", 1)[0]:
            raise Failed(f"{method} {path}: {answer or 'no answer'}")

    def boot(self, kernel, memory_mib, initrd=None, disk=None, engine="Sync", arguments="", track=False):
        """Returns when the guest says READY, if it is Linux."""
        self.call("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": memory_mib, "track_dirty_pages": track})
        source = {"kernel_image_path": kernel, "boot_args": f"{BOOT} {arguments}"}
        self.call("PUT", "/boot-source", source | ({"initrd_path": initrd} if initrd else {}))
        if disk:
            # Writeback: the guest's flush is a sync of the file, as with ours.
            self.call("PUT", "/drives/root", {"drive_id": "root", "path_on_host": disk, "is_root_device": False,
                                              "is_read_only": False, "io_engine": engine, "cache_type": "Writeback"})
        self.call("PUT", "/actions", {"action_type": "InstanceStart"})
        if initrd:
            self.read_until(b"READY", READY_SECONDS)

    def pause(self):
        self.call("PATCH", "/vm", {"state": "Paused"})

    def resume(self):
        self.call("PATCH", "/vm", {"state": "Resumed"})

    def snapshot(self, name, kind):
        self.call("PUT", "/snapshot/create", {"snapshot_type": kind, "snapshot_path": name + ".state", "mem_file_path": name + ".memory"})

    def load(self, name):
        backend = {"backend_type": "File", "backend_path": name + ".memory"}
        self.call("PUT", "/snapshot/load", {"snapshot_path": name + ".state", "mem_backend": backend, "resume_vm": True})

    def count_exits_into(self, path):
        """Before the boot or the load."""
        with open(path, "w", encoding="utf-8"):
            pass
        self.call("PUT", "/metrics", {"metrics_path": path})

    def exits(self, path):
        """What came out of KVM_RUN for it to handle."""
        self.call("PUT", "/actions", {"action_type": "FlushMetrics"})
        with open(path, encoding="utf-8") as file:
            vcpu = [json.loads(line)["vcpu"] for line in file if line.strip()]
        return sum(values[name] for values in vcpu for name in ("exit_io_in", "exit_io_out", "exit_mmio_read", "exit_mmio_write"))

    # ---- console ----

    def read_some(self, seconds):
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        some = os.read(self._process.stdout.fileno(), 65536) if ready else b""
        if not some:
            raise Failed(f"firecracker's guest is silent; it last said {self._read[-300:]!r}")
        self._read += some

    def read_until(self, what, seconds=ANSWER_SECONDS):
        end = time.monotonic() + seconds
        while what not in self._read:
            self.read_some(max(0.01, end - time.monotonic()))
        before, _, self._read = self._read.partition(what)
        return before.decode(errors="replace")

    def send_line(self, line):
        os.write(self._process.stdin.fileno(), line.encode() + b"\n")

    def run_true(self):
        """A program of the guest, and its answer."""
        self.send_line("x")
        self.read_until(b"D")

    def shell(self, command):
        self.send_line("s " + command)
        output = self.read_until(b"\n=END ")
        status = int(self.read_until(b"\n"))
        if status != 0:
            raise Failed(f"{command}: status {status} in firecracker's guest: {output[-500:]}")
        return output
