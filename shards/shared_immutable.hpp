// SPDX-License-Identifier: Apache-2.0
#pragma once

/// shared_immutable: one object that every shard may read and nobody may change: configuration, tables.
///
/// The last holder destroys it, on whatever shard that is; so T owns plain memory only (it must be transferable).
///
/// Affinity: any shard; the count is shared and costs an atomic operation per copy, so keep a copy per shard.

#include <skerry/shards/transferable.hpp>

#include <memory>
#include <utility>

namespace skerry {

template <class T>
class shared_immutable {
 public:
  using crosses_shards = shared_immutable;
  static_assert(detail::crosses_v<T>, "what all shards share must own all it refers to: see transferable.hpp");

  explicit shared_immutable(T value) : value_(std::make_shared<const T>(std::move(value))) {}
  const T& operator*() const noexcept { return *value_; }
  const T* operator->() const noexcept { return value_.get(); }

 private:
  std::shared_ptr<const T> value_;
};

}  // namespace skerry
