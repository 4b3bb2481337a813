// SPDX-License-Identifier: Apache-2.0
#pragma once

/// resources: one object per type and shard, for parts that every shard has one of (a wheel, a buffer pool, a service).
///
///     resources().emplace<buffer_pool>(limits);        at start-up
///     resource<buffer_pool>().allocate();              anywhere on this shard
///
/// A look-up walks the table (a dozen entries, compared by a per-type tag), so hot code keeps a reference.
///
/// Affinity:   home shard.
/// Ownership:  the table owns; it destroys in reverse order of making.
/// Invariants: one object per type; a missing one is a bug (asserted), `find` asks.
/// Limits:     `resources_max` types.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/this_shard.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <utility>

namespace skerry {

class resource_table {
 public:
  static constexpr std::size_t resources_max = 64;

  resource_table() = default;
  ~resource_table() { clear(); }
  resource_table(const resource_table&) = delete;
  resource_table& operator=(const resource_table&) = delete;

  /// Makes this shard's T.
  template <class T, class... Args>
  T& emplace(Args&&... args) {
    SKERRY_ASSERT(find<T>() == nullptr, "a shard has one resource of a type");
    SKERRY_ASSERT(size_ < resources_max, "a shard has at most 64 resources");
    auto made = std::make_unique<T>(std::forward<Args>(args)...);
    entries_[size_++] = {tag<T>(), made.get(), [](void* object) noexcept { delete static_cast<T*>(object); }};
    return *made.release();
  }

  /// This shard's T, or null.
  template <class T>
  T* find() const noexcept {
    for (std::size_t i = 0; i < size_; ++i) {
      if (entries_[i].tag == tag<T>()) return static_cast<T*>(entries_[i].object);
    }
    return nullptr;
  }

  /// This shard's T. Asserts that there is one.
  template <class T>
  T& get() const noexcept {
    T* found = find<T>();
    SKERRY_ASSERT(found != nullptr, "this shard has no such resource; emplace it at start-up");
    return *found;
  }

  std::size_t size() const noexcept { return size_; }
  /// Destroys all but the first `left`, the last made first.
  void clear(std::size_t left = 0) noexcept {
    while (size_ > left) {
      entry last = entries_[--size_];
      last.destroy(last.object);
    }
  }

 private:
  struct entry {
    const void* tag;
    void* object;
    void (*destroy)(void*) noexcept;
  };
  template <class T>
  static const void* tag() noexcept {
    static constexpr char unique = 0;
    return &unique;
  }

  std::array<entry, resources_max> entries_;
  std::size_t size_ = 0;
};

/// This shard's table.
inline resource_table& resources() noexcept { return *this_shard().resources; }

/// This shard's T.
template <class T>
T& resource() noexcept {
  return resources().get<T>();
}

}  // namespace skerry
