# SPDX-License-Identifier: Apache-2.0
"""The echo server with --send-zc-bytes behind a network device. That one is virtual and ends in this kernel, so it copies after all
and says so, and the connection tries no more.

zero_copy_test.py ECHO_SERVER. Exit status 77, with the reason, where this system makes no network namespaces or does not send so.

    this process in a namespace of its own --veth--> the server in another"""
import os
import re
import socket
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from two_hosts import SKIPPED, THEIRS, Server, between_two_hosts, lay_wire, run  # noqa: E402

ADMIN_PORT = 9180
SENDS = 20
BYTES = 60_000
PACKAGES = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}


def counted(*names):
    with urllib.request.urlopen(f"http://{THEIRS}:{ADMIN_PORT}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return [sum(int(value) for value in re.findall(rf"^{name}\{{[^}}]*\}} (\d+)$", text, re.MULTILINE)) for name in names]


def converse(client):
    for number in range(SENDS):
        message = bytes([number]) * BYTES
        client.sendall(message)
        back = b""
        while len(back) < len(message):
            piece = client.recv(len(message) - len(back))
            if not piece:
                raise AssertionError("the server ended the connection")
            back += piece
        if back != message:
            raise AssertionError("something else came back")


def test(far):
    server = Server(far, sys.argv[1], ["--shards", "1", "--send-zc-bytes", "4096"], f"{THEIRS}:{ADMIN_PORT}")
    try:
        with socket.create_connection((THEIRS, server.port), timeout=60) as client:
            converse(client)
            sends, copied = counted("skerry_net_zero_copy_sends_total", "skerry_net_zero_copy_copied_total")
        print(f"{sends} sends left their memory to the kernel, which copied {copied}")
        if not 0 < copied <= sends < SENDS:
            raise AssertionError("a connection whose kernel copies would try it once or a little more often")
        server.end()
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def lay(far):
    lay_wire(far, lambda *_: None)
    run(far.enter + ["ip", "link", "set", "dev", "lo", "up"])  # where the server sees it work before it begins


def main():
    seen_here = "--inside" in sys.argv or re.search(r"^zero-copy send +has it ", run([sys.argv[-1], "--io-uring-features"]), re.MULTILINE)
    if not seen_here:  # in a new namespace the loopback, on which it is tried, is down at first
        print("needs a kernel that sends without copying")
        return SKIPPED
    return between_two_hosts(lay, test, PACKAGES)


if __name__ == "__main__":
    sys.exit(main())
