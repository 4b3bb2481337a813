# SPDX-License-Identifier: Apache-2.0
"""The architecture's invariants that a text search can check (ARCHITECTURE.md lists them all).

A rule is a row: where it looks, what it refuses, where that is allowed, why, and the fix. Rules that need more than a
regular expression are functions below the table. tests/project/check_test.py plants a violation of each.
"""

import argparse
import re
import sys

import sources

LIBRARY = sources.LAYERS + ("apps",)
EVERYWHERE = LIBRARY + ("tests", "perf")


class Rule:
    def __init__(self, name, pattern, folders, fix, allowed=(), view=sources.code_only, endings=sources.SOURCE_ENDINGS):
        self.name = name
        self.pattern = re.compile(pattern, re.MULTILINE)
        self.folders = folders
        self.fix = fix
        self.allowed = allowed
        self.view = view
        self.endings = endings


def include_of(headers):
    return rf"^[ \t]*#[ \t]*include[ \t]*<{headers}"


# A free function or ::function, not a member and not somebody's namespace.
FREE = r"(?:(?<![\w.>:~])|(?<![\w>])::|\bstd::)"

RULES = [
    Rule("quoted include", r"^[ \t]*#[ \t]*include[ \t]*\"[^\"\n]*\"", EVERYWHERE,
         "write #include <skerry/layer/thing.hpp>; quotes look beside the file and so get around the layers",
         view=sources.without_comments),
    Rule("include that climbs", r"^[ \t]*#[ \t]*include[ \t]*<[^>\n]*\.\./[^>\n]*>", EVERYWHERE,
         "write #include <skerry/layer/thing.hpp>; .. gets around the layers"),
    Rule("liburing outside the io_uring backend", include_of(r"liburing[^>\n]*>") +
         r"|\bio_uring_(?:prep_|queue_init|queue_exit|get_sqe|peek_|wait_cqe|submit|register|unregister|cqe_seen|cq_advance|"
         r"buf_ring_)\w*\s*\(", LIBRARY,
         "go through framework/operation.hpp and the backend; only framework/backend/io_uring* calls liburing",
         allowed=("framework/backend/io_uring*",)),
    Rule("hwloc outside topology", include_of(r"hwloc[^>\n]*>") + r"|\bhwloc_\w+\s*\(", LIBRARY,
         "ask shards/topology", allowed=("shards/topology*",)),
    Rule("thread_local outside this_shard", r"\bthread_local\b|\b__thread\b", LIBRARY,
         "hang it off this_shard(); the simulator runs many shards in one thread",
         allowed=("framework/this_shard.*",)),
    Rule("reading a clock", r"\b(?:clock_gettime|gettimeofday|timespec_get|ftime)\s*\(|\bstd::chrono::\w+_clock\b|"
         r"\b(?:steady|system|high_resolution)_clock\b|" + FREE + r"time\s*\(\s*(?:nullptr|NULL|0|&)|"
         r"\bstd::(?:time|clock)\s*\(|\b_*rdtscp?\b|__builtin_ia32_rdtscp?\b|\bCLOCK_(?:MONOTONIC|REALTIME)\w*", LIBRARY,
         "use skerry::clock (framework/clock.hpp), which is virtual in simulation", allowed=("framework/clock.cpp",)),
    Rule("drawing random numbers", include_of("random>") + r"|\bstd::(?:random_device|mt19937|minstd_rand|ranlux|"
         r"default_random_engine|knuth_b)\w*|" + FREE + r"(?:rand|srand|drand48|rand_r)\s*\(|"
         r"\b(?:getrandom|getentropy|arc4random\w*)\s*\(|/dev/u?random", LIBRARY,
         "use the shard's source (framework/random.hpp), which replays from a seed", allowed=("framework/random.*", "simulation/detail/guard.cpp"),
         view=sources.without_comments),
    Rule("sleeping", r"\bstd::this_thread::sleep_\w+|\b(?:usleep|nanosleep|clock_nanosleep)\s*\(|"
         r"(?<![\w>])::sleep\s*\(|(?<![\w.>:])sleep\s*\(\s*\d", LIBRARY + ("tests",),
         "wait for the thing itself; a task may co_await sleep_for"),
    Rule("a formatter of its own", include_of(r"fmt/(?:format|chrono|compile|ranges|std|ostream|printf)\.h>"),
         LIBRARY, "include <fmt/core.h>: with more, fmt 9 is compiled into the source once more, 100 KB in 2 s",
         allowed=("apps/examples/*", "framework/detail/formatter.cpp")),
    Rule("spsc_queue in a header", include_of(r"boost/lockfree/[^>\n]*>"), EVERYWHERE,
         "include it in a .cpp only; its header is 69 000 lines preprocessed", endings=(".hpp",)),
    Rule("spsc_queue outside the mailbox", include_of(r"boost/lockfree/[^>\n]*>"), LIBRARY,
         "what crosses shards goes through submit_to", allowed=("shards/mailbox*.cpp", "shards/*/mailbox*.cpp"),
         endings=(".cpp",)),
    Rule("co_await in a conditional expression", r"\?[^;{}?]*\bco_await\b|\bco_await\b[^;{}]*\?", EVERYWHERE,
         "give it a statement of its own: with g++ 12 it is unsafe there"),
    Rule("co_await in a bare condition",
         r"\b(?:if|while|switch)\s*\((?:[^;{}=()]|[=!<>]=|\([^()]*\))*\bco_await\b", EVERYWHERE,
         "await into a variable first: g++ 12 shifts the coroutine's frame by 8 bytes, and its handle is wrong"),
    Rule("using namespace in a header", r"^[ \t]*using[ \t]+namespace\b", LIBRARY, "name what you use",
         endings=(".hpp",)),
    Rule("reactor or clock in a pure structure", include_of(
        r"skerry/framework/(?:this_shard|reactor|backend|task|poller|run_queue|random|clock)\b[^>\n]*>"), LIBRARY,
         "pass what it needs as an argument; its test links nothing else", allowed=()),
]

# Invariant 5: these are pure data structures and parsers.
PURE = ("timers/wheel.*", "net/*parser*", "net/http/chunked_decoder.*", "net/resp/parse*", "apps/*parser*")

ATOMICS = re.compile(
    include_of(r"(?:atomic|mutex|shared_mutex|condition_variable|semaphore|latch|barrier|stdatomic\.h)>") +
    r"|\bstd::(?:atomic\w*|\w*mutex|condition_variable\w*|\w+_semaphore|latch|barrier|call_once|once_flag|\w+_lock|lock_guard)\b"
    r"|\b__(?:atomic|sync)_\w+|\bpthread_(?:mutex|cond|rwlock|spin|barrier)\w*|\bIO_URING_(?:READ|WRITE)_ONCE\b"
    r"|\bio_uring_smp_\w+", re.MULTILINE)

ROOT = {"CMakeLists.txt", "CMakePresets.json", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE",
        "apps", "perf", "scripts", "tests", *sources.LAYERS}
LINES_MAX = 600
COLUMNS_MAX = 120


def check_rules(path, text, report):
    views = {}
    for rule in RULES:
        if not path.endswith(rule.endings) or not sources.in_layer(path, *rule.folders):
            continue
        if sources.matches(path, rule.allowed):
            continue
        if rule.name.endswith("pure structure") and not sources.matches(path, PURE):
            continue
        if rule.view not in views:
            views[rule.view] = rule.view(text)
        view = views[rule.view]
        for match in rule.pattern.finditer(view):
            found = text[match.start():match.end()].strip()
            start = match.start() + len(match.group()) - len(match.group().lstrip())
            report.refuse(path, sources.line_of(text, start), rule.name, found, rule.fix)


def check_atomics(path, text, allowed, used, report):
    if not sources.in_layer(path, *LIBRARY):
        return
    code = sources.code_only(text)
    for match in ATOMICS.finditer(code):
        permits = [pattern for pattern, _ in allowed if sources.matches(path, (pattern,))]
        if permits:
            used.update(permits)
            return
        report.refuse(path, sources.line_of(code, match.start()), "atomic or lock outside the list", match.group().strip(),
                      "keep the state on one shard and use submit_to; or add the file with a reason to "
                      "scripts/check.d/atomics.allow")


def balanced(code, start):
    """The offset past the bracket that closes the one at start."""
    depth = 0
    for i in range(start, len(code)):
        if code[i] in "([{":
            depth += 1
        elif code[i] in ")]}":
            depth -= 1
            if depth == 0:
                return i + 1
    return len(code)


def opens_lambda(code, i):
    before = code[:i].rstrip()
    return not before or not (before[-1].isalnum() or before[-1] in "_)]")


def designated_in_await(code, start):
    """The offset of a designated initialiser that belongs to the co_await operand at start, or None."""
    depth = 0
    i = start
    while i < len(code):
        c = code[i]
        if c == "[" and opens_lambda(code, i):  # the body of a lambda is not part of the operand's full expression
            body = code.find("{", balanced(code, i))
            i = len(code) if body < 0 else balanced(code, body)
            continue
        if c in "([{":
            depth += 1
            if c == "{" and re.compile(r"\{\s*\.[a-zA-Z_]\w*\s*[={]").match(code, i):
                return i
        elif c in ")]}":
            depth -= 1
        if depth < 0 or (depth == 0 and c in ";,"):
            return None
        i += 1
    return None


def check_await(path, text, report):
    code = sources.code_only(text)
    seen = set()
    for match in re.finditer(r"\bco_await\b", code):
        at = designated_in_await(code, match.end())
        if at is not None and at not in seen:
            seen.add(at)
            report.refuse(path, sources.line_of(code, at), "designated initialiser inside co_await",
                          text[at:at + 30].split("\n")[0],
                          "name the options in a variable first; g++ 12 destroys an aggregate temporary there twice")
    for match in re.finditer(r"\bfor\s*\(", code):
        head = code[match.end() - 1:balanced(code, match.end() - 1)]
        late = re.search(r"[^:]:(?!:).*\bco_await\b", head, re.DOTALL)
        if late and ";" not in re.sub(r"\{[^{}]*\}", "", head):  # a lambda's body has some, too
            report.refuse(path, sources.line_of(code, match.start()), "co_await in a range-for header",
                          " ".join(head.split())[:60], "await into a variable first, which then outlives the loop")


def check_form(path, text, long_files, report):
    head = "\n".join(text.split("\n", 3)[:3])
    if "SPDX-License-Identifier: Apache-2.0" not in head:
        report.refuse(path, 1, "no licence line", text.split("\n", 1)[0][:60],
                      "open the file with: SPDX-License-Identifier: Apache-2.0")
    if path.endswith(".hpp") and not re.search(r"^#pragma once$", text, re.MULTILINE):
        report.refuse(path, 1, "header without #pragma once", path, "add it as the second line")
    if path.endswith(sources.SOURCE_ENDINGS):
        for number, line in enumerate(text.split("\n"), 1):
            if len(line) > COLUMNS_MAX:
                report.refuse(path, number, "long line", f"{len(line)} columns, at most {COLUMNS_MAX}", "break it")
    lines = text.count("\n")
    if lines > LINES_MAX and path not in long_files:
        report.refuse(path, lines, "long file", f"{lines} lines, at most {LINES_MAX}",
                      "move the second thing out, or give the reason in scripts/check.d/long_files.allow")


def check_root(paths, report):
    for name in sorted({path.split("/", 1)[0] for path in paths}):
        if name not in ROOT and not name.startswith("."):
            report.refuse(name, 1, "new entry at the top", name, "put it into a layer, apps, tests, perf or scripts")


def list_unchecked(path, text, found):
    if not sources.in_layer(path, *LIBRARY):
        return
    code = sources.code_only(text)
    for match in re.finditer(r"\bunchecked\s*\(", code):
        before = code[:match.start()].rstrip()
        declared = re.search(r"(?:\w|[>&*\]])$", before) and not re.search(r"\b(?:return|co_return|co_await)$", before)
        if not declared:
            found.append(f"{path}:{sources.line_of(code, match.start())}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default=sources.default_root())
    root = parser.parse_args().root
    report = sources.Report()
    paths = sources.files(root)
    allowed = sources.read_allow_list(root, "atomics.allow", report)
    long_files = dict(sources.read_allow_list(root, "long_files.allow", report))
    used = set()
    unchecked = []

    check_root(paths, report)
    for path in paths:
        name = path.rsplit("/", 1)[-1]
        program = path.endswith((".cmake", ".py", ".sh")) or name == "CMakeLists.txt" or (
            path.startswith(("scripts/", ".ci/")) and "." not in name)
        if not program and not path.endswith(sources.SOURCE_ENDINGS):
            continue
        text = sources.read(root, path)
        check_form(path, text, long_files, report)
        if program:
            continue
        check_rules(path, text, report)
        check_atomics(path, text, allowed, used, report)
        check_await(path, text, report)
        list_unchecked(path, text, unchecked)

    for path, line in long_files.items():
        if path not in paths or sources.read(root, path).count("\n") <= LINES_MAX:
            report.refuse("scripts/check.d/long_files.allow", line, "exception that is no longer one", path,
                          "remove the line")
    unused = [pattern for pattern, _ in allowed if pattern not in used]
    if unused:
        print(f"{'entries of atomics.allow that no file uses':44}{len(unused):>9}   {' '.join(unused)}")
    print(f"{'unchecked() crossings':44}{len(unchecked):>9}   {' '.join(unchecked)}".rstrip())
    return report.exit_status()


if __name__ == "__main__":
    sys.exit(main())
