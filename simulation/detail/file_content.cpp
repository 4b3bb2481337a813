// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/file_content.hpp>

#include <algorithm>
#include <utility>

namespace skerry::sim::detail {

namespace {

bool either(const draw_source& draw) { return draw(2) == 0; }

}  // namespace

std::string_view file_content::read(std::uint64_t offset, std::uint64_t most) const noexcept {
  if (offset >= now_.size()) return {};
  return std::string_view(now_).substr(offset, most);
}

void file_content::mark(std::uint64_t from, std::uint64_t to) {
  if (from >= to) return;
  const std::uint64_t first = from / sector_bytes, end = (to + sector_bytes - 1) / sector_bytes;
  if (dirty_.size() < end) dirty_.resize(end);
  std::fill(dirty_.begin() + static_cast<std::ptrdiff_t>(first), dirty_.begin() + static_cast<std::ptrdiff_t>(end),
            true);
}

void file_content::charge() noexcept {
  const std::uint64_t wanted = std::max<std::uint64_t>(now_.size(), allocated_);
  *used_ += wanted - charged_;  // modulo 2^64
  charged_ = wanted;
}

void file_content::write(std::uint64_t offset, std::string_view bytes) {
  const std::uint64_t end = offset + bytes.size();
  if (end > now_.size()) resize(end);
  now_.replace(offset, bytes.size(), bytes);
  mark(offset, end);
  allocate(end);
}

void file_content::resize(std::uint64_t size) {
  // What was cut off must not come back when the file grows again.
  mark(std::min<std::uint64_t>(size, now_.size()), std::max<std::uint64_t>(size, now_.size()));
  now_.resize(size);
  allocated_ = std::min(allocated_, size);
  charge();
}

void file_content::zero(std::uint64_t offset, std::uint64_t bytes) {
  if (offset >= now_.size()) return;
  bytes = std::min<std::uint64_t>(bytes, now_.size() - offset);
  now_.replace(offset, bytes, bytes, '\0');
  mark(offset, offset + bytes);
}

void file_content::allocate(std::uint64_t end) {
  allocated_ = std::max(allocated_, end);
  charge();
}

void file_content::release_from(std::uint64_t offset) {
  allocated_ = std::min(allocated_, offset);
  charge();
}

/// One sector as it is now, as far as the durable size goes.
void file_content::make_durable(std::uint64_t sector) {
  const std::uint64_t at = sector * sector_bytes;
  if (at >= durable_.size()) return;
  const std::uint64_t bytes = std::min<std::uint64_t>(sector_bytes, durable_.size() - at);
  std::string is(read(at, bytes));
  if (is.empty()) return;  // behind the end
  is.resize(bytes);        // a sector that the end is in has zeros behind it
  durable_.replace(at, bytes, is);
}

void file_content::sync() {
  durable_.resize(now_.size());
  for (std::uint64_t s = 0; s < dirty_.size(); ++s) {
    if (dirty_[s]) make_durable(s);
  }
  dirty_.clear();
}

void file_content::fail_sync(const draw_source& draw) {
  if (either(draw)) durable_.resize(now_.size());
  for (std::uint64_t s = 0; s < dirty_.size(); ++s) {
    if (dirty_[s] && either(draw)) make_durable(s);
  }
  dirty_.clear();
}

/// A run of sectors, and sometimes the size.
void file_content::some_written_back(const draw_source& draw) {
  if (dirty_.empty()) return;
  if (now_.size() > durable_.size() && either(draw)) durable_.resize(now_.size());
  const std::uint64_t first = draw(dirty_.size());
  const std::uint64_t end = first + 1 + draw(dirty_.size() - first);
  for (std::uint64_t s = first; s < end; ++s) {
    if (!dirty_[s]) continue;
    make_durable(s);
    dirty_[s] = durable_.size() != now_.size();  // what a size cuts off goes with the size
  }
}

void file_content::power_off(const draw_source& draw) {
  if (now_.size() > durable_.size()) {
    const std::uint64_t more = now_.size() - durable_.size();
    switch (draw(3)) {
      case 0: break;
      case 1: durable_.resize(now_.size()); break;
      default: durable_.resize(durable_.size() + draw(more + 1));
    }
  }
  const bool cut = now_.size() < durable_.size() && either(draw);
  for (std::uint64_t s = 0; s < dirty_.size(); ++s) {
    if (dirty_[s] && either(draw)) make_durable(s);
  }
  if (cut) durable_.resize(now_.size());
  dirty_.clear();
  now_ = durable_;
  allocated_ = std::min<std::uint64_t>(allocated_, now_.size());
  charge();
}

}  // namespace skerry::sim::detail
