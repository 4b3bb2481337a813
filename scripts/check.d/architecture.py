# SPDX-License-Identifier: Apache-2.0
"""Every function that ARCHITECTURE.md names must exist.

A name counts when it stands in backticks with parentheses: `reactor::run_once()`. It exists when some file of a layer or
an app declares or defines it (a call is not enough); with a class or namespace before it, in a file that names that too.
`std::` names and manual pages like `io_uring_enter(2)` are not ours.
"""

import argparse
import os
import re
import sys

import sources

NAMED = re.compile(r"`((?:\w+::)*~?\w+)(?:<[^`>]*>)?\(([^`]*)\)[^`\n]*`")
NOT_A_TYPE = {"return", "co_return", "co_await", "co_yield", "throw", "else", "new", "delete", "case", "not", "and", "or",
              "do", "goto", "if", "while", "for", "switch", "sizeof"}


def declares(code, name):
    word = re.escape(name)
    if re.search(rf"\b(?:class|struct|concept|using)\s+(?:\[\[\w+\]\]\s+)?{word}\b", code):
        return True
    if re.search(rf"^[ \t]*#[ \t]*define[ \t]+{word}\b", code, re.MULTILINE):
        return True
    if re.search(rf"\b(?:constexpr|auto)\s+(?:[\w:]+\s+)?{word}\s*[={{]", code):
        return True
    for match in re.finditer(rf"(?<![\w.~]){word}\s*(?:<[^;{{}}()]*>\s*)?\(", code):
        before = re.sub(r"(?:\w+(?:<[^<>]*>)?::)+$", "", code[:match.start()])  # reactor::run_once( defines, too
        scope = code[len(before):match.start()]
        if scope.startswith("std::"):
            continue
        before = before.rstrip()
        constructor = re.search(rf"\b{word}::$", scope)
        if not before or (constructor and before[-1] in ";}"):
            return True  # a constructor or destructor out of its class
        last = re.search(r"\w+$", before)
        if last and last.group() not in NOT_A_TYPE and not last.group().isdigit():
            return True
        if before[-1] in ">&*" and not before.endswith(("->", "&&")) and re.search(r"[\w<>]\s*[>&*]$", before):
            # `a & f(x)` looks like this as well; what follows the parentheses of a declaration does not.
            rest = code[after_parentheses(code, match.end() - 1):]
            if re.match(r"\s*(?:const|noexcept|override|final|requires|->|\{|;|= *(?:0|default|delete))", rest):
                return True
        if before[-1] in ";{}:" and re.match(rf"\s*(?:noexcept\s*)?(?::|\{{|=\s*(?:default|delete))",
                                             code[after_parentheses(code, match.end() - 1):]):
            return True  # a constructor inside its class
    return False


def after_parentheses(code, start):
    depth = 0
    for i in range(start, len(code)):
        depth += (code[i] == "(") - (code[i] == ")")
        if depth == 0:
            return i + 1
    return len(code)


def exists(codes, full):
    *scopes, name = full.split("::")
    name = name.lstrip("~")
    for code in codes:
        if name not in code or (scopes and not re.search(rf"\b{re.escape(scopes[-1])}\b", code)):
            continue
        if declares(code, name):
            return True
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default=sources.default_root())
    root = parser.parse_args().root
    report = sources.Report()
    if not os.path.exists(os.path.join(root, "ARCHITECTURE.md")):
        return 0
    text = sources.read(root, "ARCHITECTURE.md")
    codes = [sources.code_only(sources.read(root, path)) for path in sources.files(root, sources.SOURCE_ENDINGS)
             if sources.in_layer(path, *sources.LAYERS, "apps")]
    known = {}
    for match in NAMED.finditer(text):
        full, arguments = match.groups()
        if full.startswith("std::") or re.fullmatch(r"[1-9]\w?", arguments):
            continue
        if full not in known:
            known[full] = exists(codes, full)
        if not known[full]:
            report.refuse("ARCHITECTURE.md", sources.line_of(text, match.start()), "function that no longer exists", full,
                          "name what took its place, or remove the sentence")
    print(f"{'functions named by ARCHITECTURE.md':44}{len(known):>9}")
    return report.exit_status()


if __name__ == "__main__":
    sys.exit(main())
