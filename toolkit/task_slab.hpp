// SPDX-License-Identifier: Apache-2.0
#pragma once

/// task_slab<N>: room for N tasks, which is claimed before there is work for it.
///
///     task_slab<64> workers;                                       // on the shard that accepts
///     auto serve_one = [](net::stream s, std::string greeting) -> task<> { co_await s.write(greeting); };
///     while (auto place = workers.try_claim()) {                   // full: it is known before anybody is accepted
///       auto client = co_await l.accept();
///       if (!client) break;
///       place->spawn("serve", serve_one, std::move(*client), file);
///     }
///
/// A spawn that finds no memory throws std::bad_alloc, when what it was for has been accepted, parsed and paid for. A
/// claim holds a place for a task's node and its outermost frame in a frame pool of the slab's own, so `spawn` of a
/// claim that was made does not meet the shard's limit, whatever else it does meanwhile; and the slab bounds how many
/// there are.
///
/// Affinity:   the shard that made it.
/// Ownership:  a claim is given back by dropping it, or when its task has ended and the handle to that has gone. The
///             slab outlives both (asserted).
/// Errors:     std::bad_alloc from `spawn` for a coroutine whose frame is larger than `frame_bytes_max`, or when tasks
///             of several functions have left frames of several sizes.
/// Limits:     N tasks. `frame_bytes_max` each for the outermost frame; what it awaits comes from the shard's pool.
///             Memory is taken from the system 1 MiB at a time, when it is first needed, and kept until the slab goes.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/this_shard.hpp>

#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>

namespace skerry {

template <std::size_t N>
class task_slab;

namespace detail {

/// What a slab is, whatever its size.
class slab_places {
 public:
  slab_places(std::size_t places, std::size_t frame_bytes_max) noexcept
      : frames_(bytes_of(places, frame_bytes_max)), free_(places), places_(places) {}
  ~slab_places() { SKERRY_ASSERT(free_ == places_, "a task_slab outlives its claims and the tasks made of them"); }
  slab_places(const slab_places&) = delete;
  slab_places& operator=(const slab_places&) = delete;

  static constexpr std::size_t node_bytes_max = 256;

 protected:
  friend class slab_claim;
  /// In whole chunks, and with what a frame that does not fit leaves at the end of each slab.
  static constexpr std::size_t bytes_of(std::size_t places, std::size_t frame_bytes_max) noexcept {
    constexpr std::size_t chunk = std::size_t{1} << 20, head = 64;
    const std::size_t usable = frame_pool::slab_bytes - head - frame_bytes_max;
    const std::size_t slabs = (places * (frame_bytes_max + node_bytes_max + 2 * frame_pool::class_bytes)) / usable + 1;
    return (slabs * frame_pool::slab_bytes + chunk - 1) / chunk * chunk;
  }

  frame_pool frames_;
  std::size_t free_;
  const std::size_t places_;
};

/// Room for one task. Movable.
class slab_claim {
 public:
  slab_claim(slab_claim&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
  slab_claim& operator=(slab_claim other) noexcept {
    std::swap(of_, other.of_);
    return *this;
  }
  ~slab_claim() {
    if (of_ != nullptr) ++of_->free_;
  }

  /// Starts `fn(args...)`, a task, in this shard's root scope. `fn` has no captures: nothing would keep them. Asserts
  /// that the claim has not been used.
  template <class Fn, class... Args>
    requires any_task<std::invoke_result_t<Fn&, Args...>>
  auto spawn(const char* name, Fn fn, Args&&... args);

 private:
  template <std::size_t N>
  friend class skerry::task_slab;
  explicit slab_claim(slab_places& of) noexcept : of_(&of) { --of.free_; }

  slab_places* of_;
};

/// A task that gives its place back when its node goes.
template <class T>
class slab_task final : public spawned<T> {
 public:
  slab_task(slab_claim&& place, const char* name) noexcept
      : spawned<T>(*this_shard().root, name), place_(std::move(place)) {}

 private:
  void destroy() noexcept override { delete this; }

  slab_claim place_;
};

}  // namespace detail

template <std::size_t N>
class task_slab : detail::slab_places {
  static_assert(N > 0, "a task_slab has room for a task");

 public:
  using claim = detail::slab_claim;

  explicit task_slab(std::size_t frame_bytes_max = 1024) noexcept : slab_places(N, frame_bytes_max) {
    SKERRY_ASSERT(frame_bytes_max <= frame_pool::pooled_bytes_max, "frames of up to 4 KiB come from a pool");
  }

  /// None when N tasks live or are claimed.
  std::optional<claim> try_claim() noexcept {
    if (free_ == 0) return std::nullopt;
    return claim(*this);
  }
  std::size_t free() const noexcept { return free_; }
};

template <class Fn, class... Args>
  requires detail::any_task<std::invoke_result_t<Fn&, Args...>>
auto detail::slab_claim::spawn(const char* name, Fn fn, Args&&... args) {
  static_assert(!std::is_class_v<Fn> || std::is_empty_v<Fn>,
                "a function that is spawned from a claim has no captures: pass what it needs as arguments");
  using T = typename task_value<std::invoke_result_t<Fn&, Args...>>::type;
  static_assert(sizeof(slab_task<T>) <= slab_places::node_bytes_max, "a task of a slab returns something smaller");
  SKERRY_ASSERT(of_ != nullptr, "a claim is used once");
  struct from_slab {
    frame_pool* others;
    explicit from_slab(frame_pool& own) noexcept : others(std::exchange(this_shard().frames, &own)) {}
    ~from_slab() { this_shard().frames = others; }
  };
  const from_slab meanwhile(of_->frames_);
  task<T> body = fn(std::forward<Args>(args)...);
  auto* node = new slab_task<T>(std::move(*this), name);
  return node->begin(std::move(body));
}

}  // namespace skerry
