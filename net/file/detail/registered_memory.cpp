// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/net/file/detail/registered_memory.hpp>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <sys/resource.h>

namespace skerry::net {

namespace {

/// This shard's part of a quarter of RLIMIT_MEMLOCK; the rings take half of it at most.
std::size_t bytes_allowed() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 0;
  return static_cast<std::size_t>(
      std::min<rlim_t>(limit.rlim_cur / 4 / shard_count(), memory_table::bytes_max_of_shard));
}

}  // namespace

memory_table::memory_table(backend& kernel) noexcept : kernel_(kernel), bytes_max_(bytes_allowed()) {}

memory_table::~memory_table() {
  for (registered_memory* left : slots_) {
    if (left != nullptr) left->table_ = nullptr;
  }
}

std::nullptr_t memory_table::refuse(const char* why) noexcept {
  if (refused_++ == 0) {
    log::info("memory for files is not registered, which costs some CPU time per transfer: {} ({} of {} bytes used)",
              why, bytes_, bytes_max_);
  }
  return nullptr;
}

std::unique_ptr<registered_memory> memory_table::add(std::span<std::byte> memory) {
  if (memory.empty() || memory.size() > bytes_max_ - bytes_) {
    return refuse("it would pass its part of RLIMIT_MEMLOCK, a quarter for all shards");
  }
  const auto free = std::ranges::find(slots_, nullptr);
  if (free == slots_.end()) return refuse("all slots are taken");
  const auto slot = static_cast<unsigned>(free - slots_.begin());
  std::unique_ptr<registered_memory> made(new registered_memory(*this, slot, memory));
  const int result = kernel_.register_buffer(slot, {memory.data(), memory.size()});
  if (result < 0) {
    made->table_ = nullptr;
    return refuse(std::generic_category().message(-result).c_str());
  }
  *free = made.get();
  ever_used_ = std::max<std::size_t>(ever_used_, slot + 1);
  bytes_ += memory.size();
  return made;
}

registered_memory* memory_table::find(std::span<const std::byte> bytes) const noexcept {
  for (std::size_t i = 0; i < ever_used_; ++i) {
    if (slots_[i] == nullptr) continue;
    const std::span<std::byte> all = slots_[i]->memory_;
    if (bytes.data() >= all.data() && bytes.data() + bytes.size() <= all.data() + all.size()) return slots_[i];
  }
  return nullptr;
}

registered_memory::~registered_memory() {
  if (table_ == nullptr) return;
  table_->kernel_.register_buffer(slot_, {});  // cannot fail; a piece that stayed would be replaced by the next
  table_->slots_[slot_] = nullptr;
  table_->bytes_ -= memory_.size();
}

}  // namespace skerry::net
