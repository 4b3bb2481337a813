// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/observe/log_sink.hpp>

#include <cerrno>

#include <poll.h>
#include <unistd.h>

namespace skerry {

void descriptor_sink::write(std::string_view lines) noexcept {
  SKERRY_ASSERT(lines.ends_with('\n'), "a sink is given whole lines");
  if (torn_ && write_some("\n") == 0) {
    lost_bytes_ += lines.size();
    return;
  }
  const std::size_t written = write_some(lines);
  SKERRY_ASSERT(written <= lines.size(), "no more is written than there is");
  lost_bytes_ += lines.size() - written;
  torn_ = written > 0 && lines[written - 1] != '\n';
}

// Returns fewer than all bytes only when the descriptor failed.
std::size_t descriptor_sink::write_some(std::string_view bytes) noexcept {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd_, bytes.data() + done, bytes.size() - done);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 || errno != EAGAIN) break;
    // Somebody who shares this descriptor made it non-blocking; it is not ours to change back.
    pollfd ready{fd_, POLLOUT, 0};
    if (::poll(&ready, 1, -1) < 0 && errno != EINTR) break;
  }
  return done;
}

}  // namespace skerry
