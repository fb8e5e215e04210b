"""What goes on in the guest of the soak: counts in memory, in a file and over a connection that stays open.

Writes the counts to /dev/shm and /root, where test/soak/cycles.cpp reads them; ends when the connection lost something.
"""
import os
import socket
import time


def keep(path, number):
    with open(path + ".new", "w") as file:
        file.write(f"{number}\n")
    os.replace(path + ".new", path)


listener = socket.create_server(("127.0.0.1", 7777))
sender = socket.create_connection(("127.0.0.1", 7777))
receiver, _ = listener.accept()
keep("/dev/shm/workload.pid", os.getpid())
count = 0
while True:
    count += 1
    sender.sendall(count.to_bytes(8, "big"))
    if int.from_bytes(receiver.recv(8, socket.MSG_WAITALL), "big") != count:
        raise SystemExit(f"the connection lost number {count}")
    keep("/root/count", count)
    keep("/dev/shm/count", count)
    time.sleep(0.1)
