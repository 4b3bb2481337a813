# SPDX-License-Identifier: Apache-2.0
"""Compiles crossing_matrix.cpp, which must be refused, and looks for every pair of a call and a kind of thing that must
not cross: each with an error in the words that stand behind the line.

Run: python3 tests/project/crossing_matrix_test.py COMPILER ARGUMENTS.rsp [-v]
"""
import re
import subprocess
import sys
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "crossing_matrix.cpp"
COMPILER, ARGUMENTS = sys.argv[1:3] if len(sys.argv) > 2 else ("c++", None)


def expected():
    """(function template, line, words) of every marked line."""
    function, found = None, []
    for number, line in enumerate(SOURCE.read_text().splitlines(), 1):
        if match := re.match(r"void (pairs|items)\b", line):
            function = match.group(1)
        if match := re.search(r"// refused: (.+)$", line):
            found.append((function, number, match.group(1)))
    return found


def calls(function):
    text = SOURCE.read_text()
    if function == "items":
        return set(re.findall(r"^template void items<(\w+)>", text, re.MULTILINE))
    return {f"by_{name}" for name in re.findall(r"^CALL\((\w+),", text, re.MULTILINE)}


def exceptions():
    """Pairs that are none: lines inside an `if constexpr (Call::trait)`, and calls that have not got the trait."""
    lines = SOURCE.read_text().splitlines()
    without = {"returns_references": "with_instance", "takes_tasks": "job"}
    bases = dict(re.findall(r"^CALL\((\w+), (\w+),", "\n".join(lines), re.MULTILINE))
    trait, found = None, set()
    for number, line in enumerate(lines, 1):
        if match := re.match(r"  if constexpr \(Call::(\w+)\)", line):
            trait = match.group(1)
        elif line.startswith("  }"):
            trait = None
        elif trait in without:
            found |= {(f"by_{name}", number) for name, base in bases.items() if base == without[trait]}
    return found


def refusals(output):
    """{(call, line): [messages]}. g++ says on the lines before an error where it comes from, clang on those after."""
    found, context, message = {}, [], None

    def attribute(lines, text):
        joined = "\n".join(lines)
        whose = re.search(r"\b((?:by|over)_\w+)", joined)
        if whose:
            for line in re.findall(rf"{re.escape(SOURCE.name)}:(\d+)", joined):
                found.setdefault((whose.group(1), int(line)), []).append(text)

    before = "required from here" in output
    for line in output.splitlines():
        error = re.search(r"error: (.*)", line)
        if before:
            if error:
                attribute(context + [line], error.group(1))
                context = []
            elif re.search(r"required from|required by|In instantiation|In substitution", line):
                context.append(line)
        elif error:
            if message is not None:
                attribute(context, message)
            context, message = [line], error.group(1)
        else:
            context.append(line)
    if not before and message is not None:
        attribute(context, message)
    return found


class CrossingMatrixTest(unittest.TestCase):
    def test_each_call_refuses_each_kind_and_says_what_to_do_instead(self):
        version = subprocess.run([COMPILER, "--version"], capture_output=True, text=True).stdout
        limits = ["-ferror-limit=0" if "clang" in version else "-fmax-errors=0"]
        done = subprocess.run([COMPILER, *([f"@{ARGUMENTS}"] if ARGUMENTS else []), *limits, "-fsyntax-only", "-x", "c++",
                               str(SOURCE)], capture_output=True, text=True)
        output = done.stdout + done.stderr
        self.assertNotEqual(done.returncode, 0)
        found, none = refusals(output), exceptions()
        missing, pairs = [], 0
        for function, line, words in expected():
            for call in calls(function):
                if (call, line) in none:
                    continue
                pairs += 1
                if not any(words in each for each in found.get((call, line), [])):
                    missing.append(f"{call}, line {line}: not refused with: {words}")
        self.assertGreater(pairs, 300)
        if missing:
            self.fail(f"{len(missing)} of {pairs} pairs:\n" + "\n".join(missing[:50]))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
