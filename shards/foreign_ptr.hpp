// SPDX-License-Identifier: Apache-2.0
#pragma once

/// foreign_ptr: owns an object of one shard from anywhere. The object is used and destroyed at home only.
///
///     foreign_ptr<session> s(std::make_unique<session>());  // at home
///     co_await submit_to(s.home(), [](borrowed<foreign_ptr<session>> p) { p->get()->touch(); }, borrowed(s));
///
/// Dropped on another shard, it sends the object home to be destroyed there; that message comes back before the app
/// ends.
///
/// Affinity:  may move between shards; get() at home (asserted).
/// Limits:    dropping it elsewhere takes one frame from this shard's pool.

#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/shards/submit_to.hpp>

#include <memory>
#include <utility>

namespace skerry {

template <class T>
class foreign_ptr {
 public:
  using crosses_shards = foreign_ptr;

  foreign_ptr() noexcept = default;
  explicit foreign_ptr(std::unique_ptr<T> object) noexcept : object_(object.release()), home_(this_shard_id()) {}
  foreign_ptr(foreign_ptr&& other) noexcept : object_(std::exchange(other.object_, nullptr)), home_(other.home_) {}
  foreign_ptr& operator=(foreign_ptr&& other) noexcept {
    foreign_ptr old(std::move(*this));
    object_ = std::exchange(other.object_, nullptr);
    home_ = other.home_;
    return *this;
  }
  ~foreign_ptr() {
    if (object_ == nullptr) return;
    if (this_shard_id() == home_) {
      delete object_;
    } else {
      detail::this_mailboxes().send(*new way_home(home_, object_));
    }
  }

  shard_id home() const noexcept { return home_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  T* get() const noexcept {
    SKERRY_ASSERT(object_ == nullptr || this_shard_id() == home_,
                  "a foreign object is used on its home shard: submit_to(p.home(), …)");
    return object_;
  }

 private:
  class way_home final : public detail::message, public detail::pooled {
   public:
    way_home(shard_id home, T* object) noexcept : message(home), object_(object) {}
    void run_here() noexcept override {
      delete object_;
      detail::this_mailboxes().reply(*this);
    }
    void cancel_here() noexcept override {}
    void come_home() noexcept override { delete this; }

   private:
    T* object_;
  };

  T* object_ = nullptr;
  shard_id home_ = 0;
};

}  // namespace skerry
