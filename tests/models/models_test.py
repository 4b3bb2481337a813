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
# Sizes of the sound model: capacity of a queue, what one look takes, messages each way. Full queues, queues emptied in
# several looks, and room to spare.
SOUND = [(1, 1, 3), (1, 2, 4), (2, 1, 3), (2, 4, 5), (3, 2, 3)]
MUTANTS = range(1, 8)
MUTANT_SIZE = (1, 1, 3)


def search(model, scratch, mutant, size, trail=False):
    """What the checker said of all interleavings: (errors, states, the path to the error)."""
    capacity, batch, messages = size
    sizes = [f"-DMUTANT={mutant}", f"-DCAPACITY={capacity}", f"-DBATCH={batch}", f"-DMESSAGES={messages}"]

    def run(*command):
        done = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=300)
        return done.stdout

    said = run("spin", *sizes, "-a", str(model))
    said += run("cc", "-w", "-O2", "-DSAFETY", "-o", "pan", "pan.c")
    said += run("./pan", "-m1000000")
    errors = re.search(r"errors: (\d+)", said)
    states = re.search(r"(\d+) states, stored", said)
    if errors is None or states is None or "max search depth too small" in said:
        sys.exit(f"{model.name}, mutant {mutant}, sizes {size}: the search did not end:\n{said}")
    path = run("spin", *sizes, "-t", "-p", str(model)) if trail and int(errors[1]) > 0 else ""
    return int(errors[1]), int(states[1]), path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trail", action="store_true", help="print the steps that lead to each mutant's error")
    options = parser.parse_args()
    if shutil.which("spin") is None:
        print("skipped: no spin here (scripts/setup models)")
        return SKIPPED
    model = HERE / "doorbell.pml"
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for size in SOUND:
            errors, states, path = search(model, scratch, 0, size, trail=True)
            capacity, batch, messages = size
            print(f"doorbell, capacity {capacity}, batch {batch}, {messages} messages each way: {states} states, "
                  f"{errors} errors")
            if errors != 0:
                print(path)
                failed += 1
        for mutant in MUTANTS:
            errors, states, path = search(model, scratch, mutant, MUTANT_SIZE, options.trail)
            print(f"doorbell, mutant {mutant}: {'found' if errors else 'NOT FOUND'} after {states} states")
            print(path, end="")
            failed += errors == 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
