// SPDX-License-Identifier: Apache-2.0
// What must not cross shards does not compile, and the message says why. Case 0 is what may.
#include <skerry/net/stream.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct plain {
  int n = 0;
};

template <class T>
T made();

[[maybe_unused]] skerry::task<> cross() {
  [[maybe_unused]] int local = 1;
#if CASE == 0
  co_await skerry::submit_to(
      1, [](std::string text, std::vector<int> v) { return text.size() + v.size(); }, std::string("x"),
      std::vector<int>(1));
  co_await skerry::submit_to(
      1, [](std::unique_ptr<int> p) -> skerry::task<std::unique_ptr<int>> { co_return p; }, std::make_unique<int>(2));
  co_await skerry::submit_to(1, [](skerry::borrowed<int> x) { ++*x; }, skerry::borrowed(local));
  co_await skerry::submit_to(1, skerry::unchecked([&local] { return local; }));
  [[maybe_unused]] const skerry::shared_immutable<std::unique_ptr<const int>> common(std::make_unique<const int>(1));
  [[maybe_unused]] const skerry::shared_immutable<std::optional<int>> value(1);
#elif CASE == 1
  co_await skerry::submit_to(1, [&local] { ++local; });
#elif CASE == 2
  co_await skerry::submit_to(1, [local] { return local; });
#elif CASE == 3
  co_await skerry::submit_to(1, [](int* p) { ++*p; }, &local);
#elif CASE == 4
  co_await skerry::submit_to(1, []() -> int& {
    static int there = 0;
    return there;
  });
#elif CASE == 5
  co_await skerry::submit_to(1, [](std::string_view text) { return text.size(); }, std::string_view("x"));
#elif CASE == 6
  co_await skerry::submit_to(1, [](std::shared_ptr<int> p) { return *p; }, std::make_shared<int>(1));
#elif CASE == 7
  co_await skerry::submit_to(1, [] { return std::make_shared<int>(1); });
#elif CASE == 8
  co_await skerry::submit_to(1, [] { return std::string_view("x"); });
#elif CASE == 9
  co_await skerry::submit_to(1, []() -> const int* { return nullptr; });
#elif CASE == 10
  co_await skerry::submit_to(1, [](plain p) { return p.n; }, plain());
#elif CASE == 11
  co_await skerry::submit_to(1, [](std::vector<int*> v) { return v.size(); }, std::vector<int*>());
#elif CASE == 12
  co_await skerry::submit_to(1, []() -> skerry::task<std::string_view> { co_return "x"; });
#elif CASE == 13
  co_await skerry::submit_to(1, [](const char* text) { return *text; }, "a literal decays to a pointer");
#elif CASE == 14
  co_await skerry::submit_to(1, [](skerry::net::stream) {}, made<skerry::net::stream>());
#elif CASE == 15
  co_await skerry::submit_to(1, [](skerry::buffer b) { return b.size(); }, skerry::buffer());
#elif CASE == 16
  co_await skerry::submit_to(1, [](std::unique_ptr<skerry::mutex>) {}, made<std::unique_ptr<skerry::mutex>>());
#elif CASE == 17
  co_await skerry::submit_to(1, [](skerry::join_handle<int>) {}, made<skerry::join_handle<int>>());
#elif CASE == 18
  [[maybe_unused]] const skerry::shared_immutable<std::unique_ptr<int>> common(std::make_unique<int>(1));
#endif
  co_return;
}

}  // namespace
