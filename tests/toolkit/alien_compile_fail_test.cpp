// SPDX-License-Identifier: Apache-2.0
// What a foreign thread must not hand to a shard does not compile, and the message says why. Case 0 is what may.
#include <skerry/toolkit/alien/alien.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace {

[[maybe_unused]] void cross(const skerry::alien::entry& door) {
  namespace alien = skerry::alien;
  [[maybe_unused]] int local = 1;
#if CASE == 0
  alien::submit_to(door, 0, [](std::string text) { return text.size(); }, std::string("x")).get();
  alien::submit_to(door, 0, []() -> skerry::task<int> { co_return 1; }).get();
  static_cast<void>(alien::post(door, 0, [](skerry::borrowed<int> n) { ++*n; }, skerry::borrowed(local)));
#elif CASE == 1
  alien::submit_to(door, 0, [&local] { ++local; }).get();
#elif CASE == 2
  static_cast<void>(alien::post(door, 0, [local] { return local; }));
#elif CASE == 3
  alien::submit_to(door, 0, [](int* p) { ++*p; }, &local).get();
#elif CASE == 4
  static_cast<void>(alien::post(door, 0, [](std::shared_ptr<int> p) { ++*p; }, std::make_shared<int>(1)));
#elif CASE == 5
  alien::submit_to(door, 0, [] { return std::string_view("x"); }).get();
#elif CASE == 6
  alien::submit_to(door, 0, []() -> skerry::task<int*> { co_return nullptr; }).get();
#endif
}

}  // namespace
