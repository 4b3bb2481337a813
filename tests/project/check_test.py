# SPDX-License-Identifier: Apache-2.0
"""scripts/check sees what it says it refuses: each case plants a violation in a small tree and expects it by file and line.

Run: python3 tests/project/check_test.py [-v]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHECKS = os.path.join(ROOT, "scripts/check.d")
SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
HEADER = SPDX + "#pragma once\n"

CLEAN = {
    "net/skerry.hpp": HEADER + "#include <cstddef>\n",
    "framework/fine.hpp": HEADER + """
/// An essay may say std::mutex, thread_local, steady_clock and #include "x" freely.
namespace skerry {
class fine {
 public:
  fine() noexcept : runs_(1'000'000) {}
  ~fine();
  int run_once(int budget) noexcept;
  fine& self() noexcept { return *this; }

 private:
  int runs_;
};
}  // namespace skerry
""",
    "framework/fine.cpp": SPDX + """#include <skerry/framework/fine.hpp>
namespace skerry {
fine::~fine() = default;
int fine::run_once(int budget) noexcept {
  const char* text = "std::atomic<int> and sleep_for and \\" co_await f({.x = 1})";
  auto options = point{.x = 1};
  co_await f(options);
  for (auto& each : all) co_await each;
  for (int i = 0; i < co_await f(y); ++i) f(std::move(y ? z : x));
  co_await with_group([](group& g) -> task<> { point p{.x = 1}; g.spawn(p); });
  sleep_for(1); file.time(0); run_time(0); this_shard().random->next();
  return budget + text[0] + gone_function(1);
}
}
""",
    "framework/random.cpp": SPDX + "#include <random>\n",
    "framework/clock.cpp": SPDX + "void f() { clock_gettime(CLOCK_MONOTONIC, &t); }\n",
    "framework/backend/io_uring.cpp": SPDX + "#include <liburing.h>\n",
    "shards/mailbox.cpp": SPDX + "#include <atomic>\n#include <boost/lockfree/spsc_queue.hpp>\nstd::atomic<int> x;\n",
    "scripts/check.d/atomics.allow": "# comment\nshards/mailbox*  two shards share it\n",
    "tests/framework/fine_test.cpp": SPDX + "#include <random>\nstd::mt19937_64 generator;\nstd::atomic<int> x;\n",
    "perf/limits/echo.cpp": SPDX + "#include <liburing.h>\n#include <boost/lockfree/spsc_queue.hpp>\n",
    "ARCHITECTURE.md": "`fine::run_once()` and `~fine()` and `self()`, `io_uring_enter(2)`, `std::move(x)`, `fine::fine(...)`.\n",
    "README.md": "# x\n",
}

# (file, contents, line, rule)
VIOLATIONS = [
    ("framework/a1.cpp", SPDX + '#include "fine.hpp"\n', 2, "quoted include"),
    ("framework/a2.cpp", SPDX + "#include <skerry/framework/../net/x.hpp>\n", 2, "include that climbs"),
    ("framework/a3.cpp", SPDX + "\n#include <liburing.h>\n", 3, "liburing outside the io_uring backend"),
    ("framework/a4.cpp", SPDX + "void f() { io_uring_submit(&r); }\n", 2, "liburing outside the io_uring backend"),
    ("net/a4.cpp", SPDX + "#include <fmt/core.h>\n#include <fmt/format.h>\n", 3, "a formatter of its own"),
    ("shards/a5.cpp", SPDX + "#include <hwloc.h>\n", 2, "hwloc outside topology"),
    ("apps/a6.cpp", SPDX + "\n\nstatic thread_local int x;\n", 4, "thread_local outside this_shard"),
    ("net/a7.cpp", SPDX + "auto t = std::chrono::steady_clock::now();\n", 2, "reading a clock"),
    ("net/a8.cpp", SPDX + "auto t = ::time(nullptr);\n", 2, "reading a clock"),
    ("net/a9.cpp", SPDX + "void f() { clock_gettime(x, &t); }\n", 2, "reading a clock"),
    ("net/a10.cpp", SPDX + "auto t = __rdtsc();\n", 2, "reading a clock"),
    ("timers/a11.cpp", SPDX + "int x = rand();\n", 2, "drawing random numbers"),
    ("timers/a12.cpp", SPDX + "std::mt19937 x;\n", 2, "drawing random numbers"),
    ("timers/a13.cpp", SPDX + 'auto f = open("/dev/urandom");\n', 2, "drawing random numbers"),
    ("tests/net/a14_test.cpp", SPDX + "void f() { std::this_thread::sleep_for(x); }\n", 2, "sleeping"),
    ("shards/a15.cpp", SPDX + "void f() { ::usleep(3); }\n", 2, "sleeping"),
    ("shards/mailbox.hpp", HEADER + "#include <boost/lockfree/spsc_queue.hpp>\n", 3, "spsc_queue in a header"),
    ("net/a16.cpp", SPDX + "#include <boost/lockfree/spsc_queue.hpp>\n", 2, "spsc_queue outside the mailbox"),
    ("net/a17.hpp", HEADER + "using namespace std;\n", 3, "using namespace in a header"),
    ("timers/wheel.hpp", HEADER + "#include <skerry/framework/reactor.hpp>\n", 3, "reactor or clock in a pure structure"),
    ("net/resp/parser.cpp", SPDX + "#include <skerry/framework/clock.hpp>\n", 2, "reactor or clock in a pure structure"),
    ("net/a18.cpp", SPDX + "std::atomic<int> x;\n", 2, "atomic or lock outside the list"),
    ("net/a19.cpp", SPDX + "#include <mutex>\n", 2, "atomic or lock outside the list"),
    ("net/a20.cpp", SPDX + "int x = __atomic_load_n(&y, 0);\n", 2, "atomic or lock outside the list"),
    ("apps/a21.cpp", SPDX + "std::condition_variable x;\n", 2, "atomic or lock outside the list"),
    ("net/a22.cpp", SPDX + "void f() {\n  co_await g(1,\n     {.x = 1});\n}\n", 4, "designated initialiser inside co_await"),
    ("tests/net/a23.cpp", SPDX + "auto f() {\n  auto x = (co_await g(point{ .x{1} })).y;\n}\n", 3,
     "designated initialiser inside co_await"),
    ("net/a24.cpp", SPDX + "auto f() { co_await h([] { return 1; }, {.x = 1}); }\n", 2,
     "designated initialiser inside co_await"),
    ("net/a25.cpp", SPDX + "auto f() { co_await h([]() -> task<> { co_await g({.x = 1}); }); }\n", 2,
     "designated initialiser inside co_await"),
    ("net/a30.cpp", SPDX + "auto f() {\n  for (auto x :\n       co_await g()) h(x);\n}\n", 3, "co_await in a range-for header"),
    ("net/a36.cpp", SPDX + "auto f() {\n  for (auto x : co_await g([] { return 1; })) h(x);\n}\n", 3,
     "co_await in a range-for header"),
    ("net/a31.cpp", SPDX + "auto f() {\n  int x = y ? co_await g() : 1;\n}\n", 3, "co_await in a conditional expression"),
    ("net/a32.cpp", SPDX + "auto f() {\n  int x = co_await g() ? 2 : 1;\n}\n", 3, "co_await in a conditional expression"),
    ("net/a34.cpp", SPDX + "auto f() {\n  if (!co_await g(1)) h();\n}\n", 3, "co_await in a bare condition"),
    ("net/a35.cpp", SPDX + "auto f() {\n  while (a() &&\n         co_await g()) h();\n}\n", 3, "co_await in a bare condition"),
    ("net/a33.hpp", HEADER + "/// " + "x" * 117 + "\n", 3, "long line"),
    ("net/a26.cpp", "int x;\n", 1, "no licence line"),
    ("net/a27.hpp", SPDX + "int x;\n", 1, "header without #pragma once"),
    ("net/a28.cpp", SPDX + "int x;\n" * 600, 601, "long file"),
    ("surprise/a29.cpp", SPDX, 1, "new entry at the top"),
    ("scripts/check.d/long_files.allow", "net/a7.cpp  because\n", 1, "exception that is no longer one"),
    ("scripts/check.d/atomics.allow", "shards/mailbox*\n", 1, "exception without a reason"),
]


class CheckTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="skerry-check-")
        self.addCleanup(shutil.rmtree, self.root)
        for path, text in CLEAN.items():
            self.write(path, text)

    def write(self, path, text):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)

    def run_check(self, name, *arguments):
        run = subprocess.run([sys.executable, "-B", os.path.join(CHECKS, name), "--root", self.root, *arguments],
                             capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return run.returncode, run.stdout + run.stderr

    def test_clean_tree_passes(self):
        for name in ("invariants.py", "architecture.py", "numbers.py"):
            status, output = self.run_check(name)
            self.assertEqual(status, 0, output)

    def test_each_planted_violation_is_reported_with_its_line_and_fix(self):
        for path, text, _, _ in VIOLATIONS:
            self.write(path, text)
        status, output = self.run_check("invariants.py")
        self.assertEqual(status, 1)
        for path, _, line, rule in VIOLATIONS:
            with self.subTest(path=path, rule=rule):
                shown = "surprise" if path.startswith("surprise") else path
                self.assertIn(f"{shown}:{line}: {rule}", output)
        self.assertEqual(output.count("    fix: "), len(VIOLATIONS) + 0, output)

    def test_unchecked_crossings_are_listed_and_their_declaration_is_not(self):
        self.write("shards/unchecked.hpp", HEADER + "template <class F>\nauto unchecked(F f) { return f; }\n")
        self.write("apps/b1.cpp", SPDX + "auto f() {\n  return submit_to(1, unchecked(g));\n}\n")
        status, output = self.run_check("invariants.py")
        self.assertEqual(status, 0, output)
        self.assertRegex(output, r"unchecked\(\) crossings +1 +apps/b1.cpp:3\n")

    def test_architecture_may_not_name_a_function_that_is_gone(self):
        for gone in ("gone_function()", "fine::gone(x)", "nowhere::run_once()", "f_nobody_declares()"):
            self.write("ARCHITECTURE.md", f"# x\n\nThen `{gone}` runs.\n")
            status, output = self.run_check("architecture.py")
            self.assertEqual(status, 1, gone)
            self.assertIn("ARCHITECTURE.md:3: function that no longer exists", output)

    def test_numbers_past_their_limit_fail(self):
        self.write("timers/b2.cpp", SPDX + "int x;\n" * 10_001)
        status, output = self.run_check("numbers.py")
        self.assertEqual(status, 1)
        self.assertRegex(output, r"framework \+ timers \+ shards .*TOO MANY")
        os.remove(os.path.join(self.root, "timers/b2.cpp"))
        self.write("net/skerry.hpp", HEADER + "int x;\n" * 110_001)
        status, output = self.run_check("numbers.py")
        self.assertEqual(status, 1)
        self.assertRegex(output, r"after g\+\+ -E .*TOO MANY")

    def test_umbrella_that_does_not_preprocess_fails(self):
        self.write("net/skerry.hpp", HEADER + "#include <skerry/net/none.hpp>\n")
        self.assertEqual(self.run_check("numbers.py")[0], 1)

    def extract(self):
        self.write("include/skerry/skerry.hpp", HEADER + """#include <chrono>
#include <coroutine>
namespace skerry {
template <class T = void>
struct task {
  struct promise_type {
    task get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};
}  // namespace skerry
""")
        if not os.path.lexists(os.path.join(self.root, "include/skerry/framework")):
            os.symlink("../../framework", os.path.join(self.root, "include/skerry/framework"))
        self.write("arguments.rsp", f"-std=c++23 -fcoroutines -I{self.root}/include\n")
        return self.run_check("extract_code_blocks.py", "--out", os.path.join(self.root, "out"), "--compiler", "g++",
                              "--arguments", os.path.join(self.root, "arguments.rsp"))

    def test_documents_without_code_pass(self):
        status, output = self.extract()
        self.assertEqual(status, 0, output)
        self.assertIn("0 code blocks", output)

    def test_good_blocks_of_every_kind_compile(self):
        self.write("README.md", "```cpp\n#include <cstdio>\nint main() { return 0; }\n```\n"
                                "```cpp\ntask<> f(int x) {\n  co_return;\n}\n```\n"
                                "```cpp\nco_await f();\n```\n```sh\nnot c++\n```\n".replace("f();", "std::suspend_never{};"))
        self.write("framework/essay.hpp", HEADER + "/// Use:\n///\n///     int x = essay();  // like this\n///\nint essay();\n")
        status, output = self.extract()
        self.assertEqual(status, 0, output)
        self.assertIn("4 code blocks of 2 files, in 2 compiler runs, 0 failed", output)

    def test_a_wrong_block_fails_with_its_document_and_line(self):
        for path, text, line in (("README.md", "x\n```cpp\nint x = nobody();\n```\n", 3),
                                 ("CONTRIBUTING.md", "```cpp\n#include <cstdio>\nint y = nobody();\n```\n", 3),
                                 ("framework/essay.hpp", HEADER + "///\n///     int x = nobody();\n", 4),
                                 ("README.md", "x\n```cpp\nint x;\n", 2)):
            with self.subTest(path=path):
                self.write(path, text)
                status, output = self.extract()
                self.assertEqual(status, 1)
                self.assertIn(f"{path}:{line}:", output)
                self.write(path, HEADER if path.endswith(".hpp") else "")

    @unittest.skipUnless(shutil.which("clang-format-19"), "clang-format-19 is not installed")
    def test_the_whole_check_refuses_what_is_not_formatted(self):
        shutil.copytree(os.path.join(ROOT, "scripts"), os.path.join(self.root, "scripts"), dirs_exist_ok=True)
        shutil.copy(os.path.join(ROOT, ".clang-format"), self.root)
        self.write("net/b3.cpp", SPDX + "int   x ;\n")
        run = subprocess.run([os.path.join(self.root, "scripts/check")], capture_output=True, text=True, check=False,
                             stdin=subprocess.DEVNULL)
        self.assertEqual(run.returncode, 1)
        self.assertIn("net/b3.cpp:2:", run.stderr)
        self.assertIn("failed: formatting", run.stderr)


if __name__ == "__main__":
    unittest.main()
