# SPDX-License-Identifier: Apache-2.0
"""Servers on epoll whose kernel answers what strace puts in the place of its own answers. (In a ring operations are no
system calls, so strace cannot see them; tests/support/faulty_backend.hpp does this for both backends, above the calls.)

injected_errors_test.py ECHO_SERVER HTTP_SERVER FILE_TESTS [CASE]. FILE_TESTS: the folder of whole_file_test and others. Exit
status 77 where strace is not installed or may not trace.

A case is a system call, an error, and which of the calls get it ("2+3": the second, and every third after it):

    passing    the error says nothing of the connection: every byte comes to everybody
    ending     it is the end of what it hits: that client gets a true part, or all; others get theirs
    cutting    the same, and bytes are lost by it: what was cut ends in a reset, so that it does not look whole
    refusing   a file's: an answer is whole and true, or it is an error or cut, and can be told from a whole one
    spared     a signal breaks calls off: programs of tests/net/file pass all the same

and after each the server still serves, its descriptors are as many as before, and it ends with status 0 when asked to."""
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from http_program import Program, expect  # noqa: E402

SKIPPED = 77
CLIENTS = 6
PATIENCE = 30.0  # for what should come at once, however busy the machine
TRIES = 50       # for one exchange to be spared by errors that go on

PASSING = [(call, error, when) for call, errors in (
    ("recvfrom", ("EINTR", "EAGAIN")),
    ("sendto", ("EINTR", "EAGAIN")),
    ("accept4", ("EINTR", "EAGAIN", "ECONNABORTED", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")),
    ("epoll_wait", ("EINTR",)),
    ("epoll_pwait2", ("EINTR", "ENOSYS", "EPERM")),
) for error in errors for when in ("1", "2+3")]
ENDING = [(call, error, "3+5") for call, errors in (
    ("recvfrom", ("ECONNRESET", "ETIMEDOUT", "ENOMEM")),
    ("epoll_ctl", ("ENOMEM", "ENOSPC")),
) for error in errors]
CUTTING = [("sendto", error, "3+5") for error in ("ECONNRESET", "EPIPE", "ENOBUFS", "ENOMEM")]
REFUSING = [(call, error, "2+3") for call, errors in (
    ("openat2", ("EMFILE", "ENFILE", "EIO", "EINTR", "ENOMEM")),
    ("statx", ("EIO", "EINTR", "ENOMEM")),
    ("preadv2", ("EIO", "EINTR", "EAGAIN", "ENOMEM", "EOPNOTSUPP")),
) for error in errors]
SPARED = [(call, "EINTR", "2+3", program) for program, calls in (
    ("whole_file_test", ("openat2", "statx", "preadv2", "pwritev2", "fsync")),
    ("file_stream_test", ("preadv2", "pwritev2")),
    ("file_places_test", ("statx", "preadv2", "pwritev2", "fallocate")),
) for call in calls]


def injecting(case, record):
    call, error, when = case[:3]
    return ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", record, "-e", f"trace={call}", "-e",
            f"inject={call}:error={error}:when={when}"]


class Record:
    """What strace writes."""

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(mode="r", prefix="skerry-strace-")

    def struck(self):
        with open(self.file.name, encoding="utf-8") as record:
            return sum("(INJECTED)" in line for line in record)


class Injected(Program):
    """A program on epoll whose calls fail as the case says."""

    def __init__(self, case, path, *arguments):
        super().__init__(path, "--backend", "epoll", "--shards", "2", "--overprovision", *arguments)
        self.record = Record()
        self.command = injecting(case, self.record.file.name) + self.command

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def expect_descriptors(self, number):
        end = time.monotonic() + PATIENCE
        while (now := self.descriptors()) != number:
            expect(time.monotonic() < end, f"{now} descriptors, {number} before")
            time.sleep(0.01)


class Echoed:
    """One client, which sends pieces and reads them back. What came: `got`, and how it ended: end, reset or refused."""

    def __init__(self, port, seed):
        self.random = random.Random(seed)
        self.sent = self.random.randbytes(self.random.randrange(1, 200_000))
        self.port = port
        self.got = b""
        self.ended = "nothing"
        self.reset = False  # the kernel tells one of the two sides only

    def run(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as s:
                sender = threading.Thread(target=self.send, args=(s,))
                sender.start()
                try:
                    while piece := s.recv(65536):
                        self.got += piece
                    self.ended = "end"
                except ConnectionError:
                    self.ended = "reset"
                finally:
                    sender.join()
                if self.reset:
                    self.ended = "reset"
        except ConnectionError:
            self.ended = "refused"
        except TimeoutError:
            self.ended = f"nothing for {PATIENCE} s"
        return self

    def send(self, s):
        at = 0
        try:
            while at < len(self.sent):
                piece = self.sent[at:at + self.random.randrange(1, 20_000)]
                s.sendall(piece)
                at += len(piece)
            s.shutdown(socket.SHUT_WR)
        except ConnectionError:
            self.reset = True
        except OSError:
            pass  # the receiving side tells what became of it

    def whole(self):
        return self.got == self.sent and self.ended == "end"

    def true_part(self):
        return self.sent.startswith(self.got) and self.ended in ("reset", "refused", "end")

    def cut_or_whole(self):
        return self.true_part() and (self.ended != "end" or self.whole())

    def __repr__(self):
        return f"{len(self.got)} of {len(self.sent)} bytes, {'the right ones, ' * self.sent.startswith(self.got)}then {self.ended}"


def crowd(port, seed):
    clients = [Echoed(port, seed + i) for i in range(CLIENTS)]
    threads = [threading.Thread(target=each.run) for each in clients]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return clients


def echo(case, echo_server, seed, is_right, may_go_on):
    with Injected(case, echo_server, "--admin", "off") as server:
        before = server.descriptors()
        for client in crowd(server.port, seed):
            expect(is_right(client), client)
        after = [Echoed(server.port, seed + 100 + i).run() for i in range(TRIES if may_go_on else 1)]
        expect(all(is_right(each) for each in after), after)
        expect(any(len(each.got) > 0 for each in after), "nobody is served any more")
        server.expect_descriptors(before)
    return server.record


def get(port, path):
    """(status, whether the body is as long as was said, body); no status where nothing came."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        got = b""
        try:
            while piece := s.recv(65536):
                got += piece
        except ConnectionError:
            pass
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    lengths = [int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")]
    return int(lines[0].split()[1]) if got else 0, lengths == [len(body)], body


def files(case, http_server, seed):
    with tempfile.TemporaryDirectory(prefix="skerry-files-") as root:
        contents = {f"f{i}.bin": random.Random(seed + i).randbytes(10 ** i) for i in range(1, 7)}
        for name, content in contents.items():
            with open(os.path.join(root, name), "wb") as file:
                file.write(content)
        with Injected(case, http_server, "--static", root) as server:
            before = server.descriptors()
            served = 0
            for _ in range(TRIES):
                for name, content in contents.items():
                    status, whole, body = get(server.port, f"/static/{name}")
                    if status == 200 and whole:
                        expect(body == content, f"{name}: other bytes")
                        served += 1
                    elif status == 200:
                        expect(content.startswith(body), f"{name}: cut, and other bytes before that")
                    else:
                        expect(status == 0 or status >= 400, f"{name}: status {status}")
                if served >= len(contents):
                    break
            expect(served > 0, "no file is served any more")
            server.expect_descriptors(before)
        return server.record


def passes(case, file_tests, seed):
    record = Record()
    environment = {**os.environ, "SKERRY_BACKEND": "epoll", "SKERRY_TEST_SEED": str(seed)}
    ran = subprocess.run(injecting(case, record.file.name) + [os.path.join(file_tests, case[3])], env=environment,
                         capture_output=True, text=True, timeout=300, check=False)
    expect(ran.returncode == 0, ran.stdout)
    return record


def strace_works():
    if shutil.which("strace") is None:
        print("strace is not installed (scripts/setup clients)")
        return False
    tried = subprocess.run(["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "true"], capture_output=True,
                           text=True, check=False)
    if tried.returncode != 0:
        print(f"strace may not trace: {tried.stderr.strip()}")
    return tried.returncode == 0


def main():
    echo_server, http_server, file_tests, *only = sys.argv[1:]
    if not strace_works():
        sys.exit(SKIPPED)
    seed = int(os.environ.get("SKERRY_TEST_SEED", time.time_ns() % 1_000_000))
    print(f"SKERRY_TEST_SEED={seed}")
    kinds = [(PASSING, lambda case: echo(case, echo_server, seed, Echoed.whole, False)),
             (ENDING, lambda case: echo(case, echo_server, seed, Echoed.true_part, True)),
             (CUTTING, lambda case: echo(case, echo_server, seed, Echoed.cut_or_whole, True)),
             (REFUSING, lambda case: files(case, http_server, seed)),
             (SPARED, lambda case: passes(case, file_tests, seed))]
    struck = {}
    for cases, run in kinds:
        for case in cases:
            name = ":".join(case)
            if only and name not in only:
                continue
            begun = time.monotonic()
            try:
                struck[name] = run(case).struck()
            except BaseException:
                print(f"{name} failed")
                raise
            print(f"{name:40} struck {struck[name]:5} times, {time.monotonic() - begun:.2f} s", flush=True)
    missed = [name for name, times in struck.items() if times == 0]
    expect(not missed, "these never struck", missed)


if __name__ == "__main__":
    main()
