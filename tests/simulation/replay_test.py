#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A seed means the same in every process: with addresses elsewhere, memory filled differently, another allocator's habits.

usage: replay_test.py SIM_KV [OTHER_SIM_KV]     the second one built by another compiler
"""

import os
import subprocess
import sys

SEEDS = (1, 7, 42, 1234)
SURROUNDINGS = (
    {},  # addresses are drawn anew for each process
    {"MALLOC_PERTURB_": "165"},
    {"MALLOC_PERTURB_": "90", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "SKERRY_UNUSED": "x" * 4096},
)


def last_line(program, seed, surroundings):
    run = subprocess.run([program, "--seed", str(seed)], env={**os.environ, **surroundings}, capture_output=True,
                         text=True, timeout=300, check=False)
    assert run.returncode == 0, f"seed {seed}: status {run.returncode}\n{run.stdout}{run.stderr}"
    line = run.stdout.splitlines()[-1]
    digits = line.removeprefix("trace hash: ")
    assert len(digits) == 16 and set(digits) <= set("0123456789abcdef"), f"no hash: {line}"
    return digits


def main():
    hashes = {}
    for seed in SEEDS:
        seen = {last_line(program, seed, surroundings) for program in sys.argv[1:] for surroundings in SURROUNDINGS}
        assert len(seen) == 1, f"seed {seed} went different ways: {sorted(seen)}"
        hashes[seed] = seen.pop()
    assert len(set(hashes.values())) == len(SEEDS), f"different seeds went the same way: {hashes}"
    print(f"{len(SEEDS)} seeds, {len(SURROUNDINGS) * (len(sys.argv) - 1)} processes each: the same traces")


if __name__ == "__main__":
    main()
