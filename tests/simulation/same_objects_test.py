#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A simulation of a server is linked from the server's own files: every object file but that of its main, and every
library of the project, compiled once.

usage: same_objects_test.py BUILD SERVER SIMULATION     as the build's ninja names them
"""

import subprocess
import sys


def linked_from(build, program):
    """The object files and libraries that the build names as what `program` is linked from."""
    asked = subprocess.run(["ninja", "-C", build, "-t", "query", program], capture_output=True, text=True, check=True)
    before = asked.stdout.split("\n  outputs:")[0]
    names = {line.strip().removeprefix("| ") for line in before.splitlines()}
    return {name for name in names if name.endswith(".o") or name.startswith("libskerry_") and name.endswith(".a")}


def main():
    build, server, simulation = sys.argv[1:]
    of_server, of_simulation = linked_from(build, server), linked_from(build, simulation)
    mains = {name for name in of_server if name.endswith("/main.cpp.o")}
    assert len(mains) == 1, f"{server} has one main: {sorted(mains)}"
    shared = of_server - mains
    assert len([name for name in shared if name.endswith(".o")]) > 1, f"{server} is more than its main: {sorted(shared)}"
    missing = shared - of_simulation
    assert not missing, f"{simulation} is not linked from {sorted(missing)}, of which {server} is"
    twice = {name for name in of_simulation - of_server if name.rsplit("/", 2)[-2:] in
             [each.rsplit("/", 2)[-2:] for each in shared if each.endswith(".o")]}
    assert not twice, f"{simulation} has its own {sorted(twice)}"
    print(f"{simulation} is linked from all {len(shared)} files of {server} but its main")


if __name__ == "__main__":
    main()
