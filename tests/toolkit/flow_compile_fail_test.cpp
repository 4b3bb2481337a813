// SPDX-License-Identifier: Apache-2.0
// What must not cross by the calls beside submit_to does not compile, and the message says why. Case 0 is what may.
#include <skerry/toolkit/flow/deadline.hpp>
#include <skerry/toolkit/flow/everywhere.hpp>
#include <skerry/toolkit/flow/post_to.hpp>
#include <skerry/toolkit/flow/service_group.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace {

constexpr skerry::service_group storage("storage", 1, 4);

[[maybe_unused]] skerry::task<> cross() {
  [[maybe_unused]] int local = 1;
  [[maybe_unused]] const skerry::by soon(skerry::clock::now());
#if CASE == 0
  co_await skerry::submit_to(storage, 1, [](std::string text) { return text.size(); }, std::string("x"));
  co_await skerry::submit_to(soon, 1, [](int n) -> skerry::task<int> { co_return n; }, 1);
  co_await skerry::post_to(1, [](std::unique_ptr<int> p) { ++*p; }, std::make_unique<int>(1));
  co_await skerry::invoke_on_others([](int n) { return n; }, 1);
#elif CASE == 1
  co_await skerry::submit_to(storage, 1, [&local] { ++local; });
#elif CASE == 2
  co_await skerry::submit_to(storage, 1, [] { return std::string_view("x"); });
#elif CASE == 3
  co_await skerry::submit_to(soon, 1, [local] { return local; });
#elif CASE == 4
  co_await skerry::submit_to(soon, 1, [](int* p) { ++*p; }, &local);
#elif CASE == 5
  co_await skerry::post_to(1, [&local] { ++local; });
#elif CASE == 6
  co_await skerry::post_to(1, [](std::shared_ptr<int> p) { ++*p; }, std::make_shared<int>(1));
#elif CASE == 7
  static_cast<void>(skerry::try_post_to(1, [](int* p) { ++*p; }, &local));
#elif CASE == 8
  co_await skerry::invoke_on_all([&local] { ++local; });
#elif CASE == 9
  co_await skerry::map_all([] { return std::string_view("x"); });
#elif CASE == 10
  co_await skerry::post_to_all([](std::string_view text) { return text.size(); }, std::string_view("x"));
#elif CASE == 11
  co_await skerry::map_reduce([]() -> const int* { return nullptr; }, 0, [](int n, const int*) { return n; });
#endif
  co_return;
}

}  // namespace
