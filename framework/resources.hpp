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
/// Limits:     as many entries as the program has types that it asks for.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/this_shard.hpp>

#include <memory>
#include <utility>
#include <vector>

namespace skerry {

class resource_table {
 public:
  resource_table() = default;
  ~resource_table() { clear(); }
  resource_table(const resource_table&) = delete;
  resource_table& operator=(const resource_table&) = delete;

  template <class T, class... Args>
  T& emplace(Args&&... args) {
    SKERRY_ASSERT(find<T>() == nullptr, "a shard has one resource of a type");
    owned made(new T(std::forward<Args>(args)...), [](void* each) { delete static_cast<T*>(each); });
    entries_.emplace_back(tag<T>(), std::move(made));
    return get<T>();
  }

  /// This shard's T, or null.
  template <class T>
  T* find() const noexcept {
    for (const auto& [type, object] : entries_) {
      if (type == tag<T>()) return static_cast<T*>(object.get());
    }
    return nullptr;
  }

  /// Asserts that there is one.
  template <class T>
  T& get() const noexcept {
    T* found = find<T>();
    SKERRY_ASSERT(found != nullptr, "this shard has no such resource; emplace it at start-up");
    return *found;
  }

  std::size_t size() const noexcept { return entries_.size(); }
  /// Destroys all but the first `left`, the last made first.
  void clear(std::size_t left = 0) noexcept {
    while (entries_.size() > left) {
      auto last = std::move(entries_.back());
      entries_.pop_back();  // whoever looks for it while it goes finds nothing
    }
  }

 private:
  using owned = std::unique_ptr<void, void (*)(void*)>;
  template <class T>
  static const void* tag() noexcept {
    static constexpr char unique = 0;
    return &unique;
  }

  std::vector<std::pair<const void*, owned>> entries_;
};

inline resource_table& resources() noexcept { return *this_shard().resources; }

template <class T>
T& resource() noexcept {
  return resources().get<T>();
}

}  // namespace skerry
