// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/toolkit/flow/post_to.hpp>

namespace skerry::detail {

post_places::post_places() {
  for (shard_id target = 0; target < shard_count(); ++target) {
    places_.push_back(std::make_unique<semaphore>(posts_max));
  }
}

const std::shared_ptr<post_places>& post_places::here() {
  using kept = std::shared_ptr<post_places>;
  if (auto* found = resources().find<kept>()) return *found;
  return resources().emplace<kept>(std::make_shared<post_places>());
}

void report_unseen_post(const std::exception_ptr& error) noexcept {
  this_shard().loop->report_unseen("post_to", error);
}

}  // namespace skerry::detail
