// SPDX-License-Identifier: Apache-2.0
#pragma once

/// foreign_ptr: owns an object of one shard from anywhere. The object is used and destroyed at home only.
///
///     foreign_ptr<session> s(std::make_unique<session>());  // at home
///     co_await submit_to(s.home(), [](borrowed<foreign_ptr<session>> p) { p->get()->touch(); }, borrowed(s));
///
/// Dropped on another shard, it sends the object home to be destroyed; that message is back before the app ends.
///
/// Affinity:  may move between shards; get() at home (asserted).
/// Limits:    dropping it elsewhere takes one frame from this shard's pool.

#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/shards/submit_to.hpp>

#include <memory>

namespace skerry {

template <class T>
class foreign_ptr {
 public:
  using crosses_shards = foreign_ptr;

  foreign_ptr() noexcept = default;
  explicit foreign_ptr(std::unique_ptr<T> object) noexcept : object_(object.release(), {this_shard_id()}) {}

  shard_id home() const noexcept { return object_.get_deleter().home; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  T* get() const noexcept {
    SKERRY_ASSERT(object_ == nullptr || this_shard_id() == home(),
                  "a foreign object is used on its home shard: submit_to(p.home(), …)");
    return object_.get();
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
  struct destroy_at_home {
    shard_id home = 0;
    void operator()(T* object) const noexcept {
      this_shard_id() == home ? delete object : detail::this_mailboxes().send(*new way_home(home, object));
    }
  };

  std::unique_ptr<T, destroy_at_home> object_;
};

}  // namespace skerry
