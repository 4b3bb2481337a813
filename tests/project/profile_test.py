# SPDX-License-Identifier: Apache-2.0
"""scripts/profile in both its forms, and what it refuses. It builds into build/release itself, which is up to date here, and
writes its records elsewhere, so that nobody's are replaced.

Run: python3 tests/project/profile_test.py [-v]. What perf or callgrind cannot do here is skipped with the reason, and
then the exit status is 77 (scripts/setup profile; kernel.perf_event_paranoid).
"""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SKIPPED = 77
OPERATION = ["instructions_driver", "yield", "1000"]


def run(*words, **more):
    return subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True, text=True, timeout=60,
                          check=False, **more)


def why_no_builds():
    """scripts/profile installs what is missing; a test must not."""
    packages = run("bash", "-c", "source scripts/lib.sh && packages_of profile").stdout.split()
    missing = [each for each in packages if run("dpkg-query", "-W", "-f=${db:Status-Status}", each).stdout != "installed"]
    return f"not installed: {' '.join(missing)} (scripts/setup profile)" if missing or not packages else ""


def why_no_samples(folder):
    if len(os.sched_getaffinity(0)) < 2:
        return "a server and its load need two CPUs"
    tried = run("perf", "record", "-q", "-e", "cpu-clock", "-o", Path(folder) / "tried.perf", "--", "true")
    return f"perf cannot sample here: {tried.stderr.strip()[:300]}" if tried.returncode != 0 else ""


def sees_the_kernel():
    return os.geteuid() == 0 or int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) < 2


def end_left_over(session):
    """The names of a session's programs that still ran."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = re.fullmatch(r"\d+ \((.*)\) (.*)", stat.read_text().strip(), re.DOTALL).groups()
            state, _, _, its_session = rest.split()[:4]
            if int(its_session) == session and state not in "ZX":
                found.append(name)
                os.kill(int(stat.parent.name), signal.SIGKILL)
        except OSError:  # it has ended meanwhile
            continue
    return found


class ProfileTest(unittest.TestCase):
    folder = ""
    no_builds = ""
    no_samples = ""

    def setUp(self):
        self.out = Path(self.folder) / self.id()

    def profile(self, *words, **more):
        """Returns status, output and errors; everything that was started must have ended."""
        process = subprocess.Popen([sys.executable, "-B", ROOT / "scripts" / "profile", *words], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True, **more)
        try:
            output, errors = process.communicate(timeout=100)
        finally:
            left = end_left_over(process.pid)
        self.assertEqual(left, [], "it did not end what it started")
        return process.returncode, output, errors

    def refused(self, status, because, *words, **more):
        code, output, errors = self.profile(*words, **more)
        self.assertEqual((code, "more: " in output), (status, False), errors)
        self.assertIn(because, errors)

    def need_builds(self):
        if self.no_builds:
            self.skipTest(self.no_builds)

    def need_samples(self):
        self.need_builds()
        if self.no_samples:
            self.skipTest(self.no_samples)

    # ---- refused before anything is built or started ----
    def test_arguments_out_of_bounds_are_refused(self):
        for because, *words in (("the following arguments are required: program",),
                                ("no load for 'udp_server', only for echo_server, http_server, kv_server", "udp_server"),
                                ("--seconds is above 0 and at most 60", "--seconds", "0", "echo_server"),
                                ("--seconds is above 0 and at most 60", "--seconds", "60.1", "echo_server"),
                                ("--seconds is above 0 and at most 60", "--seconds", "nan", "echo_server"),
                                ("invalid float value: 'soon'", "--seconds", "soon", "echo_server"),
                                ("--top starts at 1", "--top", "0", "echo_server"),
                                ("--top starts at 1", "--callgrind", "--top", "0", *OPERATION)):
            with self.subTest(words=words):
                self.refused(2, because, "--out", self.out, *words)
        self.assertFalse(self.out.exists())

    # ---- callgrind ----
    def test_callgrind_counts_a_program_by_function_and_the_same_every_time(self):
        self.need_builds()
        tables = []
        for _ in range(2):
            code, output, errors = self.profile("--callgrind", "--top", "5", "--out", self.out, *OPERATION)
            self.assertEqual(code, 0, errors)
            rows = re.findall(r"^\s*([\d,]+) \(\s*([\d.]+)%\)  ?(.*)$", output, re.MULTILINE)
            self.assertEqual((len(rows), rows[0][1:]), (6, ("100.0", "PROGRAM TOTALS")), output)
            counts = [int(count.replace(",", "")) for count, _, _ in rows]
            self.assertEqual(counts[1:], sorted(counts[1:], reverse=True))
            self.assertGreater(counts[0], 50_000)  # a thousand yields
            self.assertIn(f"callgrind_annotate {self.out}/instructions_driver.callgrind", output)
            tables.append(rows)
        self.assertEqual(tables[0], tables[1])
        self.assertTrue((self.out / "instructions_driver.callgrind").exists())

    def test_callgrind_refuses_what_is_no_program_of_perf_and_what_fails(self):
        self.need_builds()
        for because, *words in (("no preset or target 'no_such_thing'", "no_such_thing"),
                                ("no build/release/perf/echo_server; --callgrind takes programs of perf/", "echo_server"),
                                ("instructions_driver ended with status 1 under callgrind", "instructions_driver")):
            with self.subTest(words=words):
                self.refused(1, because, "--callgrind", "--out", self.out, *words)

    # ---- samples of a server under load ----
    def test_a_server_is_sampled_under_load_user_space_and_kernel_apart(self):
        self.need_samples()
        # A load that is longer than usual: on a busy machine perf takes its time to begin.
        code, output, errors = self.profile("--seconds", "0.5", "--top", "3", "--load=--seconds 3 --connections 8", "--out",
                                            self.out, "echo_server")
        self.assertEqual(code, 0, errors)
        load = re.search(r"^echo_server under echo_load --seconds 3 --connections 8: (.*)$", output, re.MULTILINE)
        self.assertGreater(json.loads(load.group(1))["messages"], 0)
        user, kernel = re.split(r"\n(?=kernel: )", output)
        shares = [float(re.search(rf"^{side}: ([\d.]+) %$", part, re.MULTILINE).group(1))
                  for side, part in (("user space", user), ("kernel", kernel))]
        self.assertAlmostEqual(sum(shares), 100, delta=2)  # perf rounds each symbol's
        for part, share in zip((user, kernel), shares):
            rows = [float(row) for row in re.findall(r"^ +([\d.]+) %  \S", part, re.MULTILINE)]
            self.assertEqual(rows, sorted(rows, reverse=True))
            self.assertLessEqual(len(rows), 3)
            self.assertEqual(bool(rows), share > 0, part)
        if sees_the_kernel():
            self.assertGreater(shares[1], 0)  # the server does little else than to receive and send
        self.assertIn(f"perf report -i {self.out}/echo_server.perf", output)
        self.assertGreater((self.out / "echo_server.perf").stat().st_size, 0)

    def test_a_server_that_does_not_start_is_quoted(self):
        self.need_samples()
        self.refused(1, "does not listen; it said: ", "--out", self.out, "echo_server", "--no-such-flag")
        self.assertIn("no-such-flag", (self.out / "echo_server.log").read_text())

    def test_perf_that_fails_ends_load_and_server_and_says_what_it_needs(self):
        self.need_samples()
        fake = self.out / "bin" / "perf"
        fake.parent.mkdir(parents=True)
        fake.write_text("#!/bin/sh\n[ $1 != record ] || { echo No permission >&2; exit 255; }\n")
        fake.chmod(0o755)
        path = f"{fake.parent}:{os.environ['PATH']}"
        self.refused(1, "perf record: No permission\nwithout root it needs: sysctl kernel.perf_event_paranoid=1",
                     "--load=--seconds 30", "--out", self.out, "echo_server", env={**os.environ, "PATH": path})

    def test_a_load_that_fails_ends_the_server_too(self):
        self.need_samples()
        self.refused(1, "the load failed", "--seconds", "0.1", "--load=--sice 1", "--out", self.out, "echo_server")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="skerry-profile-test-") as scratch:
        ProfileTest.folder = scratch
        ProfileTest.no_builds = why_no_builds()
        ProfileTest.no_samples = ProfileTest.no_builds or why_no_samples(scratch)
        done = unittest.main(exit=False).result
    sys.exit(SKIPPED if done.wasSuccessful() and done.skipped else not done.wasSuccessful())
