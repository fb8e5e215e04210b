"""Firecracker's Linux guest: the kernel and the base of ours, and guest.c as its PID 1."""

import subprocess

from firecracker import Process
from setup import say


def boot(machine, setup, base, memory_mib, **options):
    """On a disk of its own."""
    disk = f"{setup.work}/{machine.pid}.ext4"
    subprocess.run(["cp", "--sparse=always", f"{setup.files}/{base}.ext4", disk], check=True)
    machine.boot(f"{setup.files}/vmlinux", memory_mib, f"{setup.files}/initrd", disk, **options)


def snapshot_with_app(setup):
    """Of an idle guest in which the counter app listens."""
    say("beside: booting firecracker's guest")
    image = f"{setup.work}/counter"
    with Process(setup.firecracker, setup.work, setup.options) as machine:
        boot(machine, setup, "counter", 128, arguments="app=1")
        machine.run_true()
        machine.shell("sync; sleep 1")
        machine.pause()
        machine.snapshot(image, "Full")
    return image
