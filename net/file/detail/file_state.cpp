// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/detail/freed_descriptors.hpp>
#include <skerry/net/file/detail/file_state.hpp>

#include <cerrno>
#include <system_error>

#include <fmt/core.h>

namespace skerry::net {

file_pool::file_pool(shard& home)
    : kernel(home.loop().kernel()),
      buffers(resource<buffer_pool>()),
      registered(kernel),
      home_(home),
      core_(&this_shard()) {
  observe::registry& metrics = *this_shard().metrics;
  published_.push_back(metrics.add_gauge([this] { return static_cast<std::int64_t>(files_); },
                                         {"skerry_net_files", "Open files, closing ones included."}));
  published_.push_back(metrics.add_counter([this] { return close_errors; },
                                           {"skerry_net_file_close_errors_total", "Files whose close failed."}));
  published_.push_back(metrics.add_gauge(
      [this] { return static_cast<std::int64_t>(registered.bytes()); },
      {"skerry_net_file_registered_bytes", "Memory for files that the ring has.", observe::unit::bytes}));
  published_.push_back(metrics.add_counter(
      [this] { return registered.refused(); },
      {"skerry_net_file_registrations_refused_total", "Times memory for files was not registered, and did without."}));
  home_.add_drainable(*this);  // last: whoever knows a pool must not find it gone
}

file_pool::~file_pool() {
  SKERRY_ASSERT(files_ == 0, "a shard ends after its last file");
  home_.remove_drainable(*this);
}

file_pool& this_files() {
  file_pool* found = resources().find<file_pool>();
  return found != nullptr ? *found : resources().emplace<file_pool>(this_assembled_shard());
}

void file_state::complete(std::int32_t result, std::uint32_t) noexcept {
  if (result == -EINTR) result = 0;  // Linux has closed it all the same
  net::detail::descriptor_closed();
  if (result < 0) ++pool_.close_errors;
  if (closer_ != nullptr) {
    closer_->closed(result);
  } else if (result < 0) {
    log::warning("close {}: {}", path_, std::generic_category().message(-result));
  }
  free();
}

namespace detail {

void fail(int error, const char* call, const std::string& path) {
  throw std::system_error(error, std::generic_category(), std::string(call) + ' ' + path);
}

void require_no_nul(const char* call, const std::string& path) {
  if (path.find('\0') != std::string::npos) fail(EINVAL, call, path);
}

void file_operation::complete(std::int32_t result, std::uint32_t) noexcept {
  // A signal cut it short, and nobody asked for an end: once more.
  if (result == -EINTR && !letting_go_) return arm();
  result_ = result;
  wake();
}

void file_operation::let_go() noexcept {
  letting_go_ = true;
  state_.pool().kernel.cancel(*this);
}

void require_aligned(const char* call, const file_state& of, const file_alignment& to, const void* memory,
                     std::uint64_t offset, std::uint64_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  if (offset % to.offset == 0 && bytes % to.offset == 0 && address % to.memory == 0) return;
  fail(EINVAL, call,
       fmt::format("{}: {} bytes at offset {}, in memory at {:#x}, but a file that is open with O_DIRECT takes only "
                   "multiples of {}, in memory aligned to {} (net::aligned_buffer)",
                   of.path(), bytes, offset, address, to.offset, to.memory));
}

}  // namespace detail
}  // namespace skerry::net
