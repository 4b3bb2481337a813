// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/file/aligned_buffer.hpp>
#include <skerry/net/file/detail/file_state.hpp>

namespace skerry::net {

bool aligned_buffer::register_here() {
  registered_memory*& registered = data_.get_deleter().registered;
  if (registered == nullptr && data_ != nullptr) registered = this_files().registered.add(bytes()).release();
  return registered != nullptr;
}

void aligned_buffer::release::operator()(std::byte* memory) const noexcept {
  delete registered;
  ::operator delete(memory, std::align_val_t(alignment));
}

}  // namespace skerry::net
