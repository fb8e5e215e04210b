"""What a process and its VM have done so far, by the kernel's own counts."""

import glob
import os
import signal
import subprocess
import time

KVM = {"exits": "exits", "irq_injections": "interrupts"}
CALLS = "raw_syscalls:sys_enter"
RUNS = "syscalls:sys_enter_ioctl"


def minor_faults(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return int(file.read().rpartition(")")[2].split()[7])


def mount_debugfs():
    if not os.path.isdir("/sys/kernel/debug/kvm"):
        subprocess.run(["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"], check=False, stderr=subprocess.DEVNULL)
    if not os.path.isdir("/sys/kernel/tracing/events"):
        subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=False, stderr=subprocess.DEVNULL)


def kvm(pid):
    """Of all vCPUs; nothing where debugfs can not be read."""
    counts = {}
    for name, told in KVM.items():
        values = []
        for path in glob.glob(f"/sys/kernel/debug/kvm/{pid}-*/vcpu*/{name}"):
            with open(path, encoding="utf-8") as file:
                values.append(int(file.read()))
        if values:
            counts[told] = sum(values)
    return counts


class CallCounter:
    """System calls of a process, and those that are ioctls (KVM_RUN, in a guest that is up), from here to end()."""

    def __init__(self, pid, directory):
        self._output = f"{directory}/perf.{pid}"
        # pylint: disable-next=consider-using-with
        self._perf = subprocess.Popen(["perf", "stat", "-x,", "-o", self._output, "-e", f"{CALLS},{RUNS}", "-p", str(pid)],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1.5)  # it says nowhere when it has begun

    def end(self):
        """Nothing where perf can not count."""
        self._perf.send_signal(signal.SIGINT)
        self._perf.wait()
        counts = {}
        if os.path.exists(self._output):
            with open(self._output, encoding="utf-8") as file:
                fields = [line.split(",") for line in file]
            counts = {field[2]: int(field[0]) for field in fields if len(field) > 2 and field[0].isdigit()}
        return {told: counts[event] for event, told in ((CALLS, "system calls"), (RUNS, "ioctls")) if event in counts}
