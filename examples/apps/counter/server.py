"""Counts requests twice, in memory and in a file, and says what it knows.

A launch from the image's snapshot goes on from the counts the snapshot was taken with; from there
every microVM counts for itself.
"""

import json
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

COUNT_FILE = os.environ.get("COUNT_FILE", "/var/lib/counter/count")
PORT = int(os.environ.get("PORT", "8080"))

lock = Lock()
in_memory = 0


def count_on_disk():
    """Adds one to the number in the file, durably."""
    try:
        with open(COUNT_FILE) as file:
            count = int(file.read())
    except FileNotFoundError:
        count = 0
    with open(COUNT_FILE + ".new", "w") as file:
        file.write(str(count + 1))
        file.flush()
        os.fsync(file.fileno())
    os.replace(COUNT_FILE + ".new", COUNT_FILE)
    return count + 1


class Counter(BaseHTTPRequestHandler):
    def do_GET(self):
        global in_memory
        with lock:
            in_memory += 1
            answer = {
                "in_memory": in_memory,
                "on_disk": count_on_disk(),
                "hostname": socket.gethostname(),
            }
        body = (json.dumps(answer) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        print("counter:", format % args, flush=True)


if __name__ == "__main__":
    os.makedirs(os.path.dirname(COUNT_FILE), exist_ok=True)
    print("counter: listening on", PORT, flush=True)
    ThreadingHTTPServer(("127.0.0.1", PORT), Counter).serve_forever()
