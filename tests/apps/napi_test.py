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
import shutil
import socket
import struct
import subprocess
import sys

from packet_loss_test import FarSide, Server, OURS, SKIPPED, THEIRS, run

MESSAGES = 1000
POLL_US = 500_000  # longer than a client that shares the machine with others takes
TOOLS = ("unshare", "nsenter", "ip")


def give_napi(device):
    """As `ethtool -K device tso off gro on`: a veth polls with GRO, and hands over what its peer need not cut any more."""
    siocethtool = 0x8946
    with socket.socket() as any_socket:
        for command, on in ((0x1F, 0), (0x2C, 1)):  # ETHTOOL_STSO, ETHTOOL_SGRO
            value = array.array("I", (command, on))
            fcntl.ioctl(any_socket, siocethtool, struct.pack("16sP16x", device.encode(), value.buffer_info()[0]))


def lay_wire(far):
    run(["ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(far.keeper.pid)])
    for enter, device, address in (([], "near", OURS), (far.enter, "far", THEIRS)):
        run(enter + [sys.executable, "-B", __file__, "--napi", device])
        run(enter + ["ip", "address", "add", f"{address}/24", "dev", device])
        run(enter + ["ip", "link", "set", "dev", device, "up"])


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


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if sys.argv[1] == "--napi":
        give_napi(sys.argv[2])
        return 0
    if sys.argv[1] != "--inside":
        if not shutil.which("unshare"):
            print("needs unshare (package util-linux)")
            return SKIPPED
        table = run([sys.argv[1], "--io-uring-features"])
        if not re.search(r"^NAPI busy polling +has it ", table, re.MULTILINE):
            print("needs a kernel whose rings poll")
            return SKIPPED
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        inside = ["unshare", *as_root, "--net"]
        if subprocess.run(inside + ["true"], capture_output=True, check=False).returncode != 0:
            print("needs network namespaces: unshare --net is refused")
            return SKIPPED
        os.execvp(inside[0], inside + [sys.executable, "-B", __file__, "--inside", *sys.argv[1:]])
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        print(f"needs {' and '.join(missing)} (packages iproute2, util-linux)")
        return SKIPPED
    with FarSide() as far:
        try:
            lay_wire(far)
        except OSError as refused:
            print(f"needs two network namespaces with a wire between: {refused}")
            return SKIPPED
        without = sleeps_while_echoing(far, sys.argv[2], [])
        polling = sleeps_while_echoing(far, sys.argv[2], ["--napi-busy-poll-us", str(POLL_US)])
        print(f"the server slept {without} times for {MESSAGES} messages, {polling} times when it polled")
        if polling > without / 4:
            raise AssertionError("a server that polls would sleep less")
    return 0


if __name__ == "__main__":
    sys.exit(main())
