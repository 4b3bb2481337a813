# SPDX-License-Identifier: Apache-2.0
"""The echo server with --napi-busy-poll-us, and without, behind a network device that has NAPI (the loopback has none).

napi_test.py ECHO_SERVER. Exit status 77, with the reason, where this system makes no network namespaces or rings cannot poll.

    this process in a namespace of its own --veth, with GRO--> the server in another

A client sends a message, waits for it to come back and sends the next. A server that polls finds it without having slept; one
that does not sleeps before each. The kernel counts for each thread how often it gave up its CPU by itself."""
import array
import fcntl
import os
import re
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from two_hosts import SKIPPED, THEIRS, Server, between_two_hosts, lay_wire, run  # noqa: E402

MESSAGES = 1000
POLL_US = 500_000  # longer than a client that shares the machine with others takes
PACKAGES = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}


def give_napi(device):
    """As `ethtool -K device tso off gro on`: a veth polls with GRO, and hands over what its peer need not cut any more."""
    siocethtool = 0x8946
    with socket.socket() as any_socket:
        for command, on in ((0x1F, 0), (0x2C, 1)):  # ETHTOOL_STSO, ETHTOOL_SGRO
            value = array.array("I", (command, on))
            fcntl.ioctl(any_socket, siocethtool, struct.pack("16sP16x", device.encode(), value.buffer_info()[0]))


def prepare(enter, device, _):
    run(enter + [sys.executable, "-B", __file__, "--napi", device])


def sleeps(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.MULTILINE).group(1))


def sleeps_while_echoing(far, program, options):
    server = Server(far, program, ["--shards", "1", *options])
    try:
        with socket.create_connection((THEIRS, server.port), timeout=60) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            before = sleeps(server)
            for number in range(MESSAGES):
                message = b"%d\n" % number
                client.sendall(message)
                back = b""
                while len(back) < len(message):
                    back += client.recv(100)
                if back != message:
                    raise AssertionError(f"{back!r} came back for {message!r}")
            found = sleeps(server) - before
        server.end()
        return found
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def test(far):
    without = sleeps_while_echoing(far, sys.argv[1], [])
    polling = sleeps_while_echoing(far, sys.argv[1], ["--napi-busy-poll-us", str(POLL_US)])
    print(f"the server slept {without} times for {MESSAGES} messages, {polling} times when it polled")
    if polling > without / 4:
        raise AssertionError("a server that polls would sleep less")


def main():
    if sys.argv[1] == "--napi":
        give_napi(sys.argv[2])
        return 0
    if not re.search(r"^NAPI busy polling +has it ", run([sys.argv[-1], "--io-uring-features"]), re.MULTILINE):
        print("needs a kernel whose rings poll")
        return SKIPPED
    return between_two_hosts(lambda far: lay_wire(far, prepare), test, PACKAGES)


if __name__ == "__main__":
    sys.exit(main())
