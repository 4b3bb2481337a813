// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/detail/copied_buffers.hpp>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace skerry::net::detail {

namespace {

/// A backend as far as a buffer_pool is concerned: a ring.
class ring_only final : public backend {
 public:
  ring_only() : backend(buffer_pool::buffers_max) {}
  void start() override {}
  void stop() noexcept override {}
  void submit_and_reap() noexcept override {}
  void wait(clock::time_point) noexcept override {}
  void wake(backend&) noexcept override {}
  void wake_from_outside() noexcept override {}
  backend_capabilities capabilities() const noexcept override { return {.name = "none"}; }
  int register_buffer(unsigned, const iovec&) noexcept override { return -ENXIO; }

 private:
  void make_room() noexcept override { SKERRY_ASSERT(false, "nothing is submitted to a ring of copied buffers"); }
};

/// Nobody waits for a copied buffer.
struct nobody final : buffer_waiter {
  void buffer_available() noexcept override {}
};

}  // namespace

copied_buffers::copied_buffers() : nobody_(std::make_unique<ring_only>()), pool_(*nobody_) {}
copied_buffers::~copied_buffers() = default;

void copied_buffers::make_room() {
  nobody who;
  if (pool_.wait_for_buffer(who)) return;
  who.unlink();
  throw std::system_error(std::make_error_code(std::errc::no_buffer_space),
                          "16 MiB of bytes that were put back are unread on this shard");
}

buffer copied_buffers::copy(std::span<const std::byte> bytes) {
  SKERRY_ASSERT(!bytes.empty(), "an empty buffer is the end of a stream");
  SKERRY_ASSERT(bytes.size() <= buffer_pool::buffer_bytes, "what is copied fits into a buffer");
  if (pool_.stats().taken == pool_.stats().buffers) make_room();
  const buffer_ring& ring = nobody_->receive_buffers();
  const auto* entries = static_cast<const io_uring_buf*>(ring.memory());
  const std::uint16_t number = entries[next_++ & (ring.capacity() - 1)].bid;
  buffer copied = pool_.take(number, static_cast<std::uint32_t>(bytes.size()));
  std::memcpy(copied.data(), bytes.data(), bytes.size());
  return copied;
}

copied_buffers& this_copied_buffers() {
  auto* found = resources().find<copied_buffers>();
  return found != nullptr ? *found : resources().emplace<copied_buffers>();
}

}  // namespace skerry::net::detail
