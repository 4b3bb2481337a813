#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the models through the checker spin: every interleaving of the model is free of errors, and every mutated copy,
which has one mistake, is not. Without spin (scripts/setup models) it ends with status 77, which CTest calls skipped.

    tests/models/models_test.py            all of them; --trail shows how each mutant fails, step by step
"""
import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIPPED = 77


class Model:
    """A file, the sizes at which it must be sound, how many mutants it has, and the size at which they must be found."""

    def __init__(self, name, sound, mutants, mutant_size):
        self.name, self.sound, self.mutants, self.mutant_size = name, sound, mutants, mutant_size
        self.path = HERE / f"{name}.pml"


MODELS = [
    # Capacity of a queue, what one look takes, messages each way: full queues, queues emptied in several looks, and room
    # to spare.
    Model("doorbell",
          [dict(CAPACITY=c, BATCH=b, MESSAGES=m) for c, b, m in ((1, 1, 3), (1, 2, 4), (2, 1, 3), (2, 4, 5), (3, 2, 3))],
          7, dict(CAPACITY=1, BATCH=1, MESSAGES=3)),
    # A full deque and one with room; the indexes go round.
    Model("work_deque", [dict(CAPACITY=1, ITEMS=3), dict(CAPACITY=2, ITEMS=4), dict(CAPACITY=4, ITEMS=3)],
          7, dict(CAPACITY=2, ITEMS=4)),
    Model("parking", [dict(FORKS=1), dict(FORKS=3)], 6, dict(FORKS=2)),
]


def search(model, scratch, mutant, size, trail=False):
    """What the checker said of all interleavings: (errors, states, the path to the error)."""
    sizes = [f"-DMUTANT={mutant}", *(f"-D{name}={value}" for name, value in size.items())]

    def run(*command):
        done = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=300)
        return done.stdout

    for old in ("pan.c", "pan"):
        (Path(scratch) / old).unlink(missing_ok=True)
    said = run("spin", *sizes, "-a", str(model.path))
    said += run("cc", "-w", "-O2", "-DSAFETY", "-o", "pan", "pan.c")
    if not (Path(scratch) / "pan").exists():
        sys.exit(f"{model.name}, mutant {mutant}, sizes {size}: the model does not compile:\n{said}")
    said += run("./pan", "-m1000000")
    errors = re.search(r"errors: (\d+)", said)
    states = re.search(r"(\d+) states, stored", said)
    if errors is None or states is None or "max search depth too small" in said:
        sys.exit(f"{model.name}, mutant {mutant}, sizes {size}: the search did not end:\n{said}")
    path = run("spin", *sizes, "-t", "-p", str(model.path)) if trail and int(errors[1]) > 0 else ""
    return int(errors[1]), int(states[1]), path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trail", action="store_true", help="print the steps that lead to each mutant's error")
    parser.add_argument("names", nargs="*", help="models; all of them by default")
    options = parser.parse_args()
    if shutil.which("spin") is None:
        print("skipped: no spin here (scripts/setup models)")
        return SKIPPED
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for model in MODELS:
            if options.names and model.name not in options.names:
                continue
            for size in model.sound:
                errors, states, path = search(model, scratch, 0, size, trail=True)
                shown = ", ".join(f"{name.lower()} {value}" for name, value in size.items())
                print(f"{model.name}, {shown}: {states} states, {errors} errors")
                if errors != 0:
                    print(path)
                    failed += 1
            for mutant in range(1, model.mutants + 1):
                errors, states, path = search(model, scratch, mutant, model.mutant_size, options.trail)
                print(f"{model.name}, mutant {mutant}: {'found' if errors else 'NOT FOUND'} after {states} states")
                print(path, end="")
                failed += errors == 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
