# SPDX-License-Identifier: Apache-2.0
"""Takes every code block out of the documents and of the essays in headers, and compiles them (syntax only).

In a document a block opens with ```cpp. In an essay it is lines indented by four blanks after an empty one, of which one
at least ends like C++: with ; or { and perhaps a comment. What does not is a diagram or a table.

A block that opens with #include is a file of its own. Any other block is the body of a coroutine, `task<> block_N()`,
or, when it opens with a definition, stands in a namespace. Those go into one file together, after <skerry/skerry.hpp>, the
headers they come from and the prelude (names that essays take for granted), so that one compiler run checks them all;
the compiler's messages name the document and the line.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys

import sources

DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "tests/README.md")
DEFINITION = re.compile(r"(?:template\b|(?:struct|class|enum|namespace|concept|union)\s+[\w:]+|inline\b|#\s*define\b|SKERRY_SIM_TEST\w*\(|"
                        r"(?!return\b|co_|if\b|for\b|while\b|switch\b|else\b|using\b)[\w:<>,&*\s]+?[\s&*>]\w+\([^;={}]*\)"
                        r"[^;={}()]*\{\s*$)", re.MULTILINE)


class Block:
    def __init__(self, path, line, text):
        self.path = path
        self.line = line  # of the first line inside
        self.text = text

    def own_file(self):
        return self.text.lstrip().startswith("#include")


def blocks_of_document(path, text):
    """Raises ValueError at a fence that never closes."""
    opened, body = None, []
    for number, line in enumerate(text.splitlines(), 1):
        if opened is None:
            if line.strip().startswith("```cpp"):
                opened, body = number, []
        elif line.strip() == "```":
            yield Block(path, opened + 1, "\n".join(body) + "\n")
            opened = None
        else:
            body.append(line)
    if opened is not None:
        raise ValueError(f"{path}:{opened}: code block without an end")


def blocks_of_essays(path, text):
    before, body = None, []
    for number, line in enumerate(text.splitlines() + [""], 1):
        essay = re.match(r"\s*/// ?(.*)$", line)
        inside = essay.group(1) if essay else None
        if inside and inside.startswith("    ") and (body or before == ""):
            body.append(inside[4:])
            continue
        if any(re.search(r"[;{]\s*(?://.*)?$", each) for each in body):
            yield Block(path, number - len(body), "\n".join(body) + "\n")
        before, body = inside, []


def collect(root):
    paths = [path for path in DOCUMENTS if os.path.exists(os.path.join(root, path))]
    paths += [path for path in sources.files(root, (".hpp",)) if sources.in_layer(path, *sources.LAYERS)]
    blocks = []
    for path in paths:
        find = blocks_of_essays if path.endswith(".hpp") else blocks_of_document
        blocks += find(path, sources.read(root, path))
    return blocks


def located(block):
    return f'#line {block.line} "{block.path}"\n{block.text}'


def together(blocks, prelude):
    headers = sorted({block.path for block in blocks if block.path.endswith(".hpp") and block.path != "net/skerry.hpp"})
    text = "#include <skerry/skerry.hpp>\n" + "".join(f"#include <skerry/{header}>\n" for header in headers) + prelude
    for number, block in enumerate(blocks):
        text += f"namespace documentation_{number} {{\nusing namespace skerry;\nusing namespace std::chrono_literals;\n"
        if prelude:
            text += "using namespace documentation;\n"
        if DEFINITION.match(block.text.lstrip()):
            text += located(block)
        else:
            text += f"[[maybe_unused]] static ::skerry::task<> block_{number}() {{\n{located(block)}co_return;\n}}\n"
        text += "}\n"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default=sources.default_root())
    parser.add_argument("--out", required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--arguments", required=True, help="a response file with the options for the compiler")
    parser.add_argument("--prelude", help="a header to include before the blocks, with a namespace `documentation`")
    options = parser.parse_args()
    try:
        blocks = collect(options.root)
    except ValueError as error:
        print(f"{error}\n    fix: close it with ```")
        return 1

    shutil.rmtree(options.out, ignore_errors=True)
    os.makedirs(options.out)
    wrapped = [block for block in blocks if not block.own_file()]
    texts = {f"file_{number}.cpp": located(block) for number, block in enumerate(blocks) if block.own_file()}
    if wrapped:
        prelude = f'#include "{os.path.abspath(options.prelude)}"\n' if options.prelude else ""
        texts["together.cpp"] = together(wrapped, prelude)
    failed = 0
    for name, text in texts.items():
        path = os.path.join(options.out, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        run = subprocess.run([options.compiler, "@" + options.arguments, "-fsyntax-only", path], check=False)
        failed += run.returncode != 0
    print(f"{len(blocks)} code blocks of {len({block.path for block in blocks})} files, in {len(texts)} compiler runs, "
          f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
