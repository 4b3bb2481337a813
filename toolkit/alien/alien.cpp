// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/alien/alien.hpp>

#include <system_error>

namespace skerry::alien {

task<entry> open() {
  auto all = std::make_shared<entry::doors>(skerry::shard_count());
  for (shard_id shard = 0; shard < skerry::shard_count(); ++shard) {
    auto add = [](borrowed<entry::doors> to) {
      (*to)[this_shard_id()] = skerry::detail::foreign_inbox::here().stack();
    };
    co_await skerry::submit_to(shard, add, borrowed(*all));
  }
  co_return entry(std::move(all));
}

namespace detail {

std::exception_ptr why_not(shards::delivery refused) noexcept {
  if (refused == shards::delivery::full) {
    return std::make_exception_ptr(std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again),
                                                     "too many calls wait for this shard: let some of them end first"));
  }
  return std::make_exception_ptr(
      std::system_error(std::make_error_code(std::errc::operation_canceled), "the called shard is stopping"));
}

void report_unseen(const std::exception_ptr& error) noexcept { this_shard().loop->report_unseen("alien post", error); }

}  // namespace detail

}  // namespace skerry::alien
