# SPDX-License-Identifier: Apache-2.0
"""Takes every ```cpp block out of the documents and of the essays in headers, and compiles them (syntax only).

A block that has `int main` or opens with #include is a file of its own. Any other block is the body of a coroutine,
`task<> block_N()`, or, when it opens with a definition, stands in a namespace. Those go into one file together, after
<skerry/skerry.hpp> and the headers they come from, so that one compiler run checks them all; the compiler's messages name
the document and the line.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys

import sources

DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "tests/README.md")
DEFINITION = re.compile(r"(?:template\b|(?:struct|class|enum|namespace|concept|union)\s+[\w:]+|inline\b|#\s*define\b|"
                        r"(?!return\b|co_|if\b|for\b|while\b|switch\b|else\b|using\b)[\w:<>,&*\s]+?[\s&*>]\w+\([^;={}]*\)"
                        r"[^;={}()]*\{\s*$)", re.MULTILINE)


class Block:
    def __init__(self, path, line, text):
        self.path = path
        self.line = line  # of the first line inside
        self.text = text

    def own_file(self):
        return re.search(r"\bint\s+main\s*\(", self.text) or self.text.lstrip().startswith("#include")


def blocks_of(path, text):
    """Yields the blocks; raises ValueError at a fence that never closes."""
    essay = path.endswith(".hpp")
    opened, body = None, []
    for number, line in enumerate(text.splitlines(), 1):
        if essay:
            match = re.match(r"\s*/// ?(.*)$", line)
            if opened is None and not match:
                continue
            if not match:
                raise ValueError(f"{path}:{opened}: code block without an end")
            line = match.group(1)
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


def collect(root):
    paths = [path for path in DOCUMENTS if os.path.exists(os.path.join(root, path))]
    paths += [path for path in sources.files(root, (".hpp",)) if sources.in_layer(path, *sources.LAYERS)]
    return [block for path in paths for block in blocks_of(path, sources.read(root, path))]


def located(block):
    return f'#line {block.line} "{block.path}"\n{block.text}'


def together(blocks):
    headers = sorted({block.path for block in blocks if block.path.endswith(".hpp") and block.path != "net/skerry.hpp"})
    text = "#include <skerry/skerry.hpp>\n" + "".join(f"#include <skerry/{header}>\n" for header in headers)
    for number, block in enumerate(blocks):
        text += f"namespace documentation_{number} {{\nusing namespace skerry;\nusing namespace std::chrono_literals;\n"
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
        texts["together.cpp"] = together(wrapped)
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
