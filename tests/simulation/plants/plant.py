# SPDX-License-Identifier: Apache-2.0
"""Plants a bug: writes a shipped source once more, with one small change, so that a test can show that it is found.

A *.plant file says in comments what is wrong and how it shows, and then

    file: shards/mailbox.cpp
    find:
    (lines as they stand in that file, once)
    put:
    (lines in their place; none drops them)
    end

with more pairs of find and put where one is not enough. Only sources are planted in, no headers: the planted file is
compiled alone and linked before the libraries, and takes the place of the shipped one in them.

    plant.py --root . 03_dropped.plant --out build/mailbox.cpp    # what is compiled
    plant.py --root . --check tests/simulation/plants             # each applies, exactly once
"""

import argparse
import os
import re
import sys


class Plant:
    def __init__(self, path):
        self.path = path
        self.what = []
        self.file = None
        self.changes = []  # pairs of texts
        where = None  # the list that lines go to
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                word = line.rstrip("\n")
                if word == "find:":
                    found, put = [], []
                    self.changes.append((found, put))
                    where = found
                elif word == "put:" and self.changes:
                    where = self.changes[-1][1]
                elif word == "end":
                    where = None
                elif where is not None:
                    where.append(line)
                elif line.startswith("# "):
                    self.what.append(word[2:])
                elif line.startswith("file: "):
                    self.file = word[len("file: "):]
                else:
                    raise ValueError(f"{path}: not understood: {word}")
        self.changes = [("".join(found), "".join(put)) for found, put in self.changes]
        if where is not None or self.file is None or not self.changes or len(self.what) < 2:
            raise ValueError(f"{path}: a plant is comments, file:, find:, put: and end")
        if not self.file.endswith(".cpp"):
            raise ValueError(f"{path}: {self.file} is no source: a header is compiled into everything")

    def apply(self, root):
        """The file's text with the bug in it."""
        with open(os.path.join(root, self.file), encoding="utf-8") as source:
            text = source.read()
        for found, put in self.changes:
            count = text.count(found)
            if not found or count != 1 or found == put:
                raise ValueError(f"{self.path}: these lines stand {count} times in {self.file}, not once:\n{found}"
                                 "    fix: the source has changed; plant the same bug in it as it is now")
            text = text.replace(found, put)
        return text


def plants_in(folder):
    return [Plant(os.path.join(folder, name)) for name in sorted(os.listdir(folder)) if name.endswith(".plant")]


def check(root, folder):
    failures = []
    names = set()
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".plant"):
            continue
        number = re.match(r"\d\d(?=_[a-z_]+\.plant$)", name)
        if number is None or number.group() in names:
            failures.append(f"{name}: a plant is called NN_what_is_wrong.plant, each with a number of its own")
        else:
            names.add(number.group())
        try:
            Plant(os.path.join(folder, name)).apply(root)
        except (ValueError, OSError) as refused:
            failures.append(str(refused))
    for failure in failures:
        print(failure)
    print(f"{len(names)} plants")
    return 1 if failures or not names else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plant", nargs="?")
    parser.add_argument("--root", default=".", help="of the project")
    parser.add_argument("--out", help="the file to write")
    parser.add_argument("--check", metavar="FOLDER")
    options = parser.parse_args()
    if options.check:
        return check(options.root, options.check)
    if not options.plant or not options.out:
        parser.error("name a plant and --out, or --check")
    try:
        text = Plant(options.plant).apply(options.root)
    except (ValueError, OSError) as refused:
        print(refused, file=sys.stderr)
        return 1
    os.makedirs(os.path.dirname(os.path.abspath(options.out)), exist_ok=True)
    with open(options.out, "w", encoding="utf-8") as out:
        out.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
