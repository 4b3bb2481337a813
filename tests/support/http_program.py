# SPDX-License-Identifier: Apache-2.0
"""A program of ours that listens, as a child, for tests in Python."""
import re
import socket
import subprocess


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    """`with Program(path) as server:` gives `server.port` and `server.admin`, "127.0.0.1:PORT". It has to end with status 0."""

    def __init__(self, path, *arguments):
        self.admin = f"127.0.0.1:{free_port()}"
        self.command = [path, "--port", "0", "--admin", self.admin, *arguments]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            listening = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
            if listening:  # the program's own line comes first
                self.port = int(listening.group(1))
                return self
        raise SystemExit("the program ended before it listened")

    def __exit__(self, failed, *_):
        self.process.terminate()
        log = self.process.stderr.read()
        status = self.process.wait(timeout=60)
        if failed is None and status != 0:
            raise SystemExit(f"the program ended with status {status}: {log}")


def expect(holds, *about):
    if not holds:
        raise AssertionError(about)
