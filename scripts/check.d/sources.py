# SPDX-License-Identifier: Apache-2.0
"""The files of the project and what is in them, for the checks.

Run as a program it prints the paths that end in its arguments, each ended by a zero byte, for xargs -0.
"""

import fnmatch
import os
import re
import subprocess
import sys

LAYERS = ("framework", "timers", "backends", "shards", "toolkit", "net", "simulation")
SOURCE_ENDINGS = (".hpp", ".cpp")

# Comments, strings and characters, in the order in which a compiler sees them. Group 1 is a comment. The quote of
# 1'000'000 follows a digit and opens nothing.
TOKEN = re.compile(
    r"""(//(?:[^\n\\]|\\.|\\\n)*|/\*.*?\*/)"""
    r'''|R"(?P<fence>[^()\\\s]{0,16})\(.*?\)(?P=fence)"'''
    r'''|"(?:\\.|[^"\\\n])*"'''
    r"""|(?<![0-9a-zA-Z_])'(?:\\.|[^'\\\n])+'""",
    re.DOTALL,
)


def default_root():
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files(root, endings=None):
    """Paths relative to root, sorted: what git tracks or would track, or, outside a repository, all but build/."""
    command = ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z", "-co", "--exclude-standard"]
    listed = None
    if os.path.exists(os.path.join(root, ".git")):
        run = subprocess.run(command, capture_output=True, check=False)
        if run.returncode == 0:
            listed = [name for name in run.stdout.decode().split("\0") if name]
    if listed is None:
        listed = []
        for folder, below, names in os.walk(root):
            below[:] = [name for name in below if name not in (".git", "build", "__pycache__")]
            listed += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    listed = [name for name in listed if os.path.isfile(os.path.join(root, name))]
    return sorted(name for name in set(listed) if endings is None or name.endswith(tuple(endings)))


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def without_comments(text):
    """Comments become spaces, so that lines and columns stay."""
    return TOKEN.sub(lambda m: _blank(m.group()) if m.group(1) else m.group(), text)


def code_only(text):
    """Comments and the contents of strings become spaces."""
    return TOKEN.sub(lambda m: _blank(m.group()) if m.group(1) else '"' + _blank(m.group()[1:-1]) + '"', text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def in_layer(path, *folders):
    return path.split("/", 1)[0] in folders


def matches(path, patterns):
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


class Report:
    """Collects what a check found: file:line, the rule, and how to fix it."""

    def __init__(self):
        self.count = 0

    def refuse(self, path, line, rule, found, fix):
        self.count += 1
        print(f"{path}:{line}: {rule}: {found}\n    fix: {fix}")

    def exit_status(self):
        return 1 if self.count else 0


def read_allow_list(root, name, report):
    """Lines of `pattern  reason` from scripts/check.d/<name>; a reason is required."""
    path = f"scripts/check.d/{name}"
    entries = []
    if not os.path.exists(os.path.join(root, path)):
        return entries
    for number, line in enumerate(read(root, path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        pattern, _, reason = line.strip().partition(" ")
        if not reason.strip():
            report.refuse(path, number, "exception without a reason", pattern, "write the reason after the pattern")
        entries.append((pattern, number))
    return entries


def main():
    for path in files(default_root(), sys.argv[1:]):
        sys.stdout.write(path + "\0")


if __name__ == "__main__":
    main()
