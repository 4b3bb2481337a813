# SPDX-License-Identifier: Apache-2.0
"""The key-value server and the echo server on the far side of a network that loses a tenth of its packets, both ways.

packet_loss_test.py KV_SERVER ECHO_SERVER. Exit status 77, with the reason, where this system makes no network namespaces or
has no iptables. With SKERRY_LONG_TESTS set a million operations, otherwise 40 000.

    this process in a namespace of its own --veth--> the servers in another; iptables drops what comes in, on both sides

Every operation's answer is known beforehand, and each byte of it is compared. What was dropped is counted: without loss
the test would show nothing."""
import os
import random
import re
import selectors
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from two_hosts import OURS, THEIRS, Server, between_two_hosts, lay_wire, run  # noqa: E402

LOSS = 0.1
LONG = "SKERRY_LONG_TESTS" in os.environ
OPERATIONS = 1_000_000 if LONG else 40_000
CONNECTIONS = 100 if LONG else 20  # of each server; a lost SYN is sent again after a second
BATCH = 100  # operations of a connection that are on their way at a time
PACKAGES = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "iptables": "iptables"}


def lose_packets(enter, device, _):
    """Each TCP segment is a packet of its own and may be lost on its own."""
    run(enter + ["ip", "link", "set", "dev", device, "gso_max_segs", "1"])
    run(enter + ["iptables", "-A", "INPUT", "-p", "tcp"])  # which counts
    run(enter + ["iptables", "-A", "INPUT", "-p", "tcp", "-m", "statistic", "--mode", "random", "--probability",
                 str(LOSS), "-j", "DROP"])


def lay(far):
    lay_wire(far, lose_packets)
    for enter, device, address in (([], "near", OURS), (far.enter, "far", THEIRS)):
        # A lost last segment is sent again after 10 ms and not after 200: more losses in less time.
        run(enter + ["ip", "route", "change", "10.77.0.0/24", "dev", device, "src", address, "rto_min", "10ms"])


def packets(enter):
    """Dropped, and come in."""
    table = run(enter + ["iptables", "-L", "INPUT", "-v", "-x", "-n"])
    everything, dropped = (int(packets) for packets in re.findall(r"^\s*(\d+)\s+\d+\s", table, re.MULTILINE))
    return dropped, everything


def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text)


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(map(bulk, words))


class KeyValues:
    """Operations of one client on keys of its own, so that it knows the answers."""

    def __init__(self, number, draw):
        self.name = b"c%d" % number
        self.draw = draw
        self.values = {}
        self.counter = 0

    def batch(self, operations):
        asked, expected = [], []
        for _ in range(operations):
            key = b"%s:%d" % (self.name, self.draw.randrange(20))
            kind = self.draw.randrange(4)
            if kind == 0:
                self.counter += 1
                asked.append(command(b"INCR", self.name))
                expected.append(b":%d\r\n" % self.counter)
            elif kind == 1:
                value = b"%x" % self.draw.getrandbits(self.draw.choice((32, 512)))
                self.values[key] = value
                asked.append(command(b"SET", key, value))
                expected.append(b"+OK\r\n")
            else:
                asked.append(command(b"GET", key))
                expected.append(bulk(self.values[key]) if key in self.values else b"$-1\r\n")
        return b"".join(asked), b"".join(expected)


class Echoes:
    """Messages that come back as they are."""

    def __init__(self, number, draw):
        self.name = b"c%d" % number
        self.draw = draw

    def batch(self, operations):
        messages = b"".join(b"%s %x\n" % (self.name, self.draw.getrandbits(256)) for _ in range(operations))
        return messages, messages


class Client:
    """One connection with its batches, one after the other."""

    def __init__(self, port, source, operations):
        self.source, self.left, self.done = source, operations, 0
        self.out = self.wanted = b""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex((THEIRS, port))
        self.next_batch()

    def next_batch(self):
        self.operations = min(BATCH, self.left)
        self.out, self.wanted = self.source.batch(self.operations)

    def wants(self):
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.out else 0)

    def go_on(self, events):
        """False when all is done."""
        if events & selectors.EVENT_WRITE and self.out:
            self.out = self.out[self.socket.send(self.out):]
        if events & selectors.EVENT_READ:
            got = self.socket.recv(65536)
            if not got or not self.wanted.startswith(got):
                raise AssertionError(f"{self.source.name}: got {got!r}, wanted {self.wanted[:len(got) + 20]!r}")
            self.wanted = self.wanted[len(got):]
        if not self.wanted:
            self.done += self.operations
            self.left -= self.operations
            if self.left == 0:
                return False
            self.next_batch()
        return True


def talk(clients):
    """Until each has all its answers; how many operations that were."""
    with selectors.DefaultSelector() as ready:
        for each in clients:
            ready.register(each.socket, each.wants(), each)
        while ready.get_map():
            answered = ready.select(timeout=60)
            if not answered:
                raise AssertionError(f"{len(ready.get_map())} connections stand still")
            for key, events in answered:
                each = key.data
                if each.go_on(events):
                    if each.wants() != key.events:
                        ready.modify(each.socket, each.wants(), each)
                else:
                    ready.unregister(each.socket)
                    each.socket.close()
    return sum(each.done for each in clients)


def test(far):
    kv_server, echo_server = sys.argv[1:]
    seed = int(os.environ.get("SKERRY_TEST_SEED") or random.SystemRandom().getrandbits(63))
    print(f"replay with SKERRY_TEST_SEED={seed}", flush=True)
    servers = []
    try:
        servers.extend(Server(far, program, ["--shards", "2", "--overprovision"]) for program in (kv_server, echo_server))
        began = time.monotonic()
        clients = []
        for number in range(CONNECTIONS):
            for server, source in zip(servers, (KeyValues, Echoes)):
                each = source(number, random.Random(seed + number))
                clients.append(Client(server.port, each, OPERATIONS // (2 * CONNECTIONS)))
        done = talk(clients)
        for each in servers:
            each.end()
        for enter in ([], far.enter):
            dropped, all_of_them = packets(enter)
            print(f"{dropped} of {all_of_them} packets were dropped")
            if not LOSS / 2 < dropped / all_of_them < LOSS * 3 / 2:
                raise AssertionError("that is not the loss that was asked for")
        print(f"{done} operations, each with its right answer, in {time.monotonic() - began:.0f} s")
        if done != OPERATIONS:
            raise AssertionError(f"{OPERATIONS} were wanted")
    finally:
        for each in servers:
            if each.process.poll() is None:
                each.process.kill()
                each.process.wait()


if __name__ == "__main__":
    sys.exit(between_two_hosts(lay, test, PACKAGES))
