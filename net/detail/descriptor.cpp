// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/net/detail/descriptor.hpp>

#include <utility>

namespace skerry::net::detail {

descriptor_pool::descriptor_pool(shard& home)
    : kernel(home.loop().kernel()), buffers(resource<buffer_pool>()), bytes(this_bytes()), home_(home) {
  observe::registry& metrics = *this_shard().metrics;
  published_.push_back(
      metrics.add_gauge([this] { return static_cast<std::int64_t>(descriptors_); },
                        {"skerry_net_descriptors",
                         "Open datagram sockets, message sockets, pipes and children, closing ones included."}));
  published_.push_back(metrics.add_counter(
      [this] { return datagrams_dropped; },
      {"skerry_net_datagrams_dropped_total", "Datagrams dropped because too many were unread, without the kernel's."}));
  published_.push_back(metrics.add_counter(
      [this] { return pipe_rests_dropped; },
      {"skerry_net_pipe_rests_dropped_total", "Pipes that went while nobody took what was written to them."}));
  home_.add_drainable(*this);  // last: whoever knows a pool must not find it gone
}

descriptor_pool::~descriptor_pool() {
  SKERRY_ASSERT(descriptors_ == 0, "a shard ends after its last descriptor");
  home_.remove_drainable(*this);
  if (flushes_) home_.loop().remove(*this);
}

void descriptor_pool::begin_to_flush() {
  if (flushes_) return;
  home_.loop().add(*this);
  flushes_ = true;
}

void descriptor_pool::flush() noexcept {
  while (!to_flush_.empty()) to_flush_.pop_front().flush();
}

void descriptor_pool::begin_drain() noexcept {
  all_.for_each([](pooled_descriptor& each) {
    if (each.serves_) each.end_input();
  });
}

descriptor_pool& this_descriptors() {
  descriptor_pool* found = resources().find<descriptor_pool>();
  return found != nullptr ? *found : resources().emplace<descriptor_pool>(this_assembled_shard());
}

pooled_descriptor::pooled_descriptor(unique_fd fd, bool serves)
    : pool_(this_descriptors()), fd_(fd.release()), serves_(serves) {
  pool_.all_.push_back(*this);
  ++pool_.descriptors_;
  pool_.serving_ += serves_ ? 1 : 0;
}

pooled_descriptor::~pooled_descriptor() {
  const unique_fd never_released(uses_ != 0 ? fd_ : -1);  // a constructor threw
  skerry::detail::list_hook<descriptor_pool>::unlink();
  if (skerry::detail::list_hook<flush_tag>::linked()) skerry::detail::list_hook<flush_tag>::unlink();
  --pool_.descriptors_;
  pool_.serving_ -= serves_ ? 1 : 0;
  pool_.home_.drain_progressed();
}

bool pooled_descriptor::draining() const noexcept { return pool_.home_.draining(); }

void pooled_descriptor::leave() noexcept {
  SKERRY_ASSERT(uses_ > 0, "a descriptor is left as often as it is used");
  if (--uses_ != 0) return;
  if (fd_ < 0) {
    delete this;
  } else {
    close_early();
  }
}

void pooled_descriptor::close_early() noexcept {
  use();
  prepare::close(kernel().submit(closing_), std::exchange(fd_, -1));
}

}  // namespace skerry::net::detail
