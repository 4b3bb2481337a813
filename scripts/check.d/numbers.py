# SPDX-License-Identifier: Apache-2.0
"""The project's numbers, printed with each run of scripts/check; past a limit, the check fails."""

import argparse
import os
import re
import subprocess
import sys
import tempfile

import sources

CORE = ("framework", "timers", "shards")
CORE_LINES_MAX = 10_000  # what one person reads in a weekend
UMBRELLA_LINES_MAX = 110_000  # of which the standard library is about 90 000
LONG = 600


def row(what, value, limit=None):
    over = limit is not None and value > limit
    bound = f"   at most {limit}" if limit is not None else ""
    print(f"{what:44}{value:>9}{bound}{'   TOO MANY' if over else ''}")
    return over


def preprocessed_lines(root, compiler):
    """Lines of <skerry/skerry.hpp> after the preprocessor, with an include root made for the purpose: no build needed."""
    with tempfile.TemporaryDirectory() as scratch:
        inside = os.path.join(scratch, "skerry")
        os.mkdir(inside)
        for layer in sources.LAYERS:
            os.symlink(os.path.join(os.path.abspath(root), layer), os.path.join(inside, layer))
        os.symlink(os.path.join(os.path.abspath(root), "net/skerry.hpp"), os.path.join(inside, "skerry.hpp"))
        run = subprocess.run(
            [compiler, "-std=c++23", "-fcoroutines", "-E", "-I", scratch, "-x", "c++", "-"],
            input=b"#include <skerry/skerry.hpp>\n", capture_output=True, check=False)
        if run.returncode != 0:
            sys.stderr.write(run.stderr.decode(errors="replace"))
            return None
        return run.stdout.count(b"\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default=sources.default_root())
    parser.add_argument("--compiler", default="g++")
    options = parser.parse_args()
    texts = {path: sources.read(options.root, path) for path in sources.files(options.root, sources.SOURCE_ENDINGS)}
    library = {path: text for path, text in texts.items() if sources.in_layer(path, *sources.LAYERS)}
    core = sum(text.count("\n") for path, text in library.items() if sources.in_layer(path, *CORE))

    failed = row("lines of framework + timers + shards", core, CORE_LINES_MAX)
    for layer in (each for each in sources.LAYERS if each not in CORE):
        row(f"    beside them: {layer}", sum(text.count("\n") for path, text in library.items() if sources.in_layer(path, layer)))
    lines = preprocessed_lines(options.root, options.compiler)
    if lines is None:
        print("net/skerry.hpp:1: <skerry/skerry.hpp> does not preprocess\n    fix: see the compiler's message above")
        failed = True
    else:
        failed |= row("lines of <skerry/skerry.hpp> after g++ -E", lines, UMBRELLA_LINES_MAX)
    long_files = sorted(path for path, text in texts.items() if text.count("\n") > LONG)
    row(f"files over {LONG} lines", len(long_files))
    for path in long_files:
        print(f"    {path} ({texts[path].count(chr(10))})")
    total = sum(text.count("\n") for text in library.values())
    asserts = sum(len(re.findall(r"\bSKERRY_ASSERT\s*\(", sources.code_only(text))) for text in library.values())
    print(f"{'assertions per 1000 lines of the layers':44}{1000 * asserts / max(total, 1):>9.1f}   ({asserts} in {total})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
