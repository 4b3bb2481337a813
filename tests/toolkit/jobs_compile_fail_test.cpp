// SPDX-License-Identifier: Apache-2.0
// What must not go to a pool's thread does not compile, and the message says why. Case 0 is what may.
#include <skerry/toolkit/pool/blocking.hpp>
#include <skerry/toolkit/pool/compute.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace {

[[maybe_unused]] skerry::task<> cross() {
  [[maybe_unused]] int local = 1;
#if CASE == 0
  co_await skerry::compute([](std::string text) { return text.size(); }, std::string("x"));
  co_await skerry::compute([](skerry::compute_worker&, int n) { return n; }, 1);
  co_await skerry::compute(skerry::job_priority::low, [] {});
  co_await skerry::blocking([](std::unique_ptr<int> p) { return p; }, std::make_unique<int>(2));
  co_await skerry::blocking(skerry::unchecked([&local] { return local; }));
#elif CASE == 1
  co_await skerry::compute([&local] { ++local; });
#elif CASE == 2
  co_await skerry::blocking([local] { return local; });
#elif CASE == 3
  co_await skerry::compute([](int* p) { ++*p; }, &local);
#elif CASE == 4
  co_await skerry::blocking([](std::shared_ptr<int> p) { return *p; }, std::make_shared<int>(1));
#elif CASE == 5
  co_await skerry::compute([] { return std::string_view("x"); });
#elif CASE == 6
  co_await skerry::blocking([](skerry::compute_worker&) {});
#elif CASE == 7
  co_await skerry::compute([](skerry::compute_worker& here) -> skerry::compute_worker& { return here; });
#elif CASE == 8
  co_await skerry::compute([]() -> skerry::task<int> { co_return 1; });
#endif
  co_return;
}

}  // namespace
