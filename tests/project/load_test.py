# SPDX-License-Identifier: Apache-2.0
"""The load generators of perf/load notice what a server does wrong, and count the time of those it kept waiting.

Each case is a server of a few lines on a port of 127.0.0.1 that the kernel picks, with one connection at a time.
Run: python3 tests/project/load_test.py BUILD_FOLDER [-v]
"""
import json
import os
import socket
import subprocess
import sys
import threading
import time
import unittest

BUILD = ""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class LoadTest(unittest.TestCase):
    def load(self, serve, program, *flags):
        """Runs a generator against serve(connection), which is called for one connection after the other."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def accept():
                try:
                    while True:
                        with listener.accept()[0] as peer:
                            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                            try:
                                serve(peer)
                            except OSError:  # the generator has found its error and is gone
                                pass
                except OSError:  # the listener was shut down: the case is over
                    pass

            thread = threading.Thread(target=accept)
            thread.start()
            try:
                return subprocess.run([os.path.join(BUILD, "perf", program), str(listener.getsockname()[1]), "--connections",
                                       "1", *flags], capture_output=True, text=True, timeout=60, check=False)
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def refused(self, because, serve, program, *flags):
        run = self.load(serve, program, "--seconds", "5", *flags)
        self.assertEqual((run.returncode, run.stdout), (1, ""), run.stderr)
        self.assertIn(because, run.stderr)

    def accepted(self, serve, program, *flags):
        run = self.load(serve, program, *flags)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)

    def test_echo_of_a_changed_byte_is_refused(self):
        def serve(peer):
            for turn in range(6):
                text = bytearray(peer.recv(65536))
                text[len(text) // 2] ^= turn == 5
                peer.sendall(text)
            peer.recv(1)
        self.refused("got other bytes than it sent", serve, "echo_load")

    def test_echo_of_more_than_was_sent_is_refused(self):
        self.refused("more bytes came back", lambda peer: peer.sendall(2 * peer.recv(65536)), "echo_load")

    def test_end_of_a_connection_is_refused(self):
        self.refused("closed a connection", lambda peer: peer.recv(65536), "echo_load")

    def test_messages_larger_than_any_socket_buffer_come_back_whole(self):
        flags = "--size 1048576 --depth 8 --rate 1000000 --seconds 0.00002".split()  # 20 at once, 8 MiB of them in flight
        self.assertEqual(self.accepted(echo, "echo_load", *flags)["messages"], 20)

    def test_short_connections_are_one_for_each_message(self):
        seen = []

        def serve(peer):
            echo(peer)
            seen.append(peer)
        done = self.accepted(serve, "echo_load", "--short", "--rate", "50", "--seconds", "1")
        self.assertEqual((done["messages"], len(seen)), (50, 50))

    def test_open_loop_counts_the_wait_of_all_who_came_while_the_server_stood_still(self):
        def serve(peer):
            for turn in range(1000):
                if turn == 20:
                    time.sleep(0.5)  # is what is measured: a server that stands still
                peer.sendall(peer.recv(65536))
        done = self.accepted(serve, "echo_load", "--rate", "100", "--seconds", "1")
        self.assertEqual(done["messages"], 100)
        self.assertGreater(done["p99_us"], 100_000)  # a loop that waits with the server would count one such message

    def test_http_answer_that_is_no_200_is_refused(self):
        self.refused("not a 200", answering(OK.replace(b"200", b"503")), "http_load")

    def test_http_answer_that_nobody_asked_for_is_refused(self):
        self.refused("more answers than requests", answering(OK + OK), "http_load")

    def test_http_body_of_another_length_is_refused(self):
        self.refused("a body of 1 B after 2", answering(OK, OK[:-1].replace(b": 2", b": 1")), "http_load")

    def test_value_of_another_key_is_refused(self):
        value = b"$12\r\n%012d\r\n" % 7
        self.refused("is not as it was set", answering(value), "kv_load", "--op", "get", "--value", "12")

    def test_every_key_is_set_once_by_fill(self):
        for protocol, reply in ([], b"+OK\r\n"), (["--memcached"], b"STORED\r\n"):
            text = bytearray()

            def serve(peer):
                while part := peer.recv(65536):
                    text.extend(part)
                    peer.sendall(reply * part.count(b"key:"))
            done = self.accepted(serve, "kv_load", "--op", "fill", "--keys", "5", "--value", "12", *protocol)
            self.assertEqual(done["commands"], 5)
            self.assertEqual([text.count(b"key:%012d" % key) for key in range(6)], [1, 1, 1, 1, 1, 0])

    def test_option_that_is_unknown_or_out_of_bounds_is_refused(self):
        for flags in ["--sice", "1"], ["--size", "x"], ["--size", "0"], ["--size"], ["--short", "--depth", "2"]:
            self.assertEqual(self.load(echo, "echo_load", *flags).returncode, 1, flags)


def echo(peer):
    while part := peer.recv(1 << 20):
        peer.sendall(part)


def answering(*answers):
    def serve(peer):
        turn = 0
        while peer.recv(65536):
            peer.sendall(answers[min(turn, len(answers) - 1)])
            turn += 1
    return serve


if __name__ == "__main__":
    BUILD = sys.argv.pop(1)
    unittest.main()
