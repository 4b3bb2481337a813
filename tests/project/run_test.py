# SPDX-License-Identifier: Apache-2.0
"""scripts/run says how to talk to the server that it starts, wherever the server's address was set.

run_test.py KV_SERVER. The script runs as it is, with the server given and without a build."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KV_SERVER = sys.argv.pop(1)
LIBRARY = 'set -euo pipefail\ncaller_directory=$PWD\ncd "$(dirname "${BASH_SOURCE[0]}")/.."\nbuild() { :; }\n'


class RunTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="skerry-run-")
        self.addCleanup(shutil.rmtree, self.root)
        os.makedirs(f"{self.root}/scripts")
        os.makedirs(f"{self.root}/build/release/apps")
        shutil.copy(f"{ROOT}/scripts/run", f"{self.root}/scripts/run")
        os.symlink(KV_SERVER, f"{self.root}/build/release/apps/kv_server")
        with open(f"{self.root}/scripts/lib.sh", "w", encoding="utf-8") as file:
            file.write(LIBRARY)

    def start(self, *flags, **environment):
        started = subprocess.Popen([f"{self.root}/scripts/run", "--shards", "1", *flags], text=True, cwd=self.root,
                                   env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        self.addCleanup(started.stdout.close)
        self.addCleanup(started.wait)
        self.addCleanup(lambda: started.poll() is None and started.kill())
        return started

    def follow(self, expected_host, *flags, **environment):
        """Does what is said, and ends the server as Ctrl-C does."""
        started = self.start(*flags, **environment)
        said = ""
        for line in started.stdout:
            said += line
            if "redis-benchmark" in line:
                break
        told = re.search(r"redis-cli (?:-h (\S+) )?-p (\d+) set a 1\n", said)
        self.assertTrue(told, said)
        self.assertEqual(told.group(1), expected_host, said)
        with socket.create_connection((told.group(1) or "127.0.0.1", int(told.group(2))), timeout=30) as client:
            client.sendall(b"SET a 1\r\n")
            self.assertEqual(client.recv(100), b"+OK\r\n")
        os.killpg(started.pid, signal.SIGINT)
        rest = started.stdout.read()
        self.assertEqual(started.wait(), 0, rest)
        self.assertIn("stopping", rest, "what the server says at its end is seen")

    def test_a_free_port(self):
        self.follow(None, "--port", "0")

    def test_a_port_from_the_environment(self):
        self.follow(None, SKERRY_PORT="0")

    def test_a_port_and_an_address_from_a_file(self):
        with open(f"{self.root}/settings", "w", encoding="utf-8") as file:
            file.write('port=0\nbind="127.0.0.2"\n')
        self.follow("127.0.0.2", "--config", "settings")

    def test_an_address(self):
        self.follow("127.0.0.2", "--bind", "127.0.0.2", "--port=0")
        self.follow(None, "--bind=0.0.0.0", "--port", "0")

    def test_an_address_of_ipv6(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("there is no IPv6 here")
        self.follow("::1", "--bind", "::1", "--port", "0")

    def test_a_log_in_json(self):
        self.follow(None, "--log-format", "json", "--port", "0")

    def test_who_does_not_listen_says_nothing_of_it(self):
        for flags, status, words in (("--help",), 0, "Usage: "), (("--shards", "0"), 1, "use --shards auto"):
            started = self.start(*flags)
            said = started.stdout.read()
            self.assertEqual(started.wait(), status, said)
            self.assertIn(words, said)
            self.assertNotIn("Talk to it", said)


if __name__ == "__main__":
    unittest.main()
