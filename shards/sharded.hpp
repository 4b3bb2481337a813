// SPDX-License-Identifier: Apache-2.0
#pragma once

/// sharded<T>: one T on every shard, made, used and destroyed there.
///
///     sharded<counters> all;
///     co_await all.start(limit);  // T(limit) on each shard; or to each its own:
///     co_await all.start_with([](shard_id s, unsigned n) { return std::make_unique<counters>(s + n); }, limit);
///     co_await all.on(2)([](counters& c, int n) { c.add(n); }, 5);
///     int sum = co_await all.map_reduce([](counters& c) { return c.value(); }, 0, std::plus<>());
///     co_await all.stop();  // T::stop() if there is one, then ~T
///
/// A service that nobody stopped is stopped when the app ends, after all tasks, in reverse order of start on the shard
/// that started it; the handle may be gone by then.
///
/// Affinity:  start and stop on one shard; everything else on any, once start has returned.
/// Errors:    if a T throws, those made are stopped and start rethrows.
/// Ownership: the starting shard owns the list of instances; each shard its T.

#include <skerry/shards/call_batch.hpp>
#include <skerry/shards/shard.hpp>

#include <memory>
#include <utility>
#include <vector>

namespace skerry {

namespace detail {

template <class T>
class sharded_instances final : public service {
 public:
  sharded_instances() : all(shard_count()) {}
  task<> stop() override {
    auto stop_one = [](borrowed<sharded_instances> self) -> task<> {
      std::unique_ptr<T> mine = std::move(self->all[this_shard_id()]);
      if (mine == nullptr) co_return;
      if constexpr (requires { mine->stop(); }) co_await mine->stop();
    };
    return call_everywhere(handler_scope::control, stop_one, borrowed(*this));
  }

  std::vector<std::unique_ptr<T>> all;  // entry s is shard s's alone
};

template <class T, class Fn>
struct on_instance {
  template <class... Args>
  auto operator()(borrowed<sharded_instances<T>> self, Args... args) const {
    return Fn{}(*self->all[this_shard_id()], std::move(args)...);
  }
};

}  // namespace detail

template <class T>
class sharded {
 public:
  sharded() noexcept = default;
  sharded(const sharded&) = delete;
  sharded& operator=(const sharded&) = delete;

  template <class... Args>
  task<> start(Args... args) {
    return start_with([](shard_id, Args... own) { return std::make_unique<T>(std::move(own)...); }, std::move(args)...);
  }
  /// On each shard with the T that `make(shard, args...)` gives there, a std::unique_ptr; make has no captures.
  template <class Make, class... Args>
  task<> start_with(Make, Args... args) {
    detail::require_no_captures<Make>();
    SKERRY_ASSERT(instances_ == nullptr, "a sharded service starts once");
    instances_ = static_cast<instances*>(&this_assembled_shard().add_service(std::make_unique<instances>()));
    auto make = [](borrowed<instances> self, Args... given) {
      self->all[this_shard_id()] = Make{}(this_shard_id(), std::move(given)...);
    };
    std::exception_ptr failed;
    try {
      for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, make, borrowed(*instances_), args...);
      co_return;
    } catch (...) {
      failed = std::current_exception();
    }
    co_await stop();
    std::rethrow_exception(failed);
  }

  task<> stop() {
    if (instances_ == nullptr) co_return;
    instances& mine = *std::exchange(instances_, nullptr);
    co_await mine.stop();
    this_assembled_shard().remove_service(mine);
  }

  /// This shard's T.
  T& local() const noexcept {
    SKERRY_ASSERT(instances_ != nullptr, "a sharded service is used between start and stop");
    return *instances_->all[this_shard_id()];
  }

  /// `fn(T&, args...)` on one shard; fn has no captures.
  template <class Fn, class... Args>
  auto invoke_on(shard_id target, Fn, Args&&... args) {
    detail::require_no_captures<Fn>();
    return submit_to(target, detail::on_instance<T, Fn>{}, borrowed(*instances_), std::forward<Args>(args)...);
  }
  /// The same as `all.on(target)(fn, args...)`.
  auto on(shard_id target) noexcept {
    return [=, this](auto fn, auto&&... args) {
      return this->invoke_on(target, fn, std::forward<decltype(args)>(args)...);
    };
  }

  /// `fn(T&, args...)` on every shard at once; waits for all.
  template <class Fn, class... Args>
  task<> invoke_on_all(Fn fn, Args... args) {
    co_await map(fn, std::move(args)...);
  }

  /// The results by shard.
  template <class Fn, class... Args>
  auto map(Fn, Args... args) {
    detail::require_no_captures<Fn>();
    return detail::call_everywhere(detail::handler_scope::root, detail::on_instance<T, Fn>{}, borrowed(*instances_),
                                   std::move(args)...);
  }

  /// `reduce(reduce(initial, result of shard 0), result of shard 1)…`
  template <class Fn, class R, class Reduce>
  task<R> map_reduce(Fn fn, R initial, Reduce reduce) {
    auto results = co_await map(fn);
    for (auto& result : results) initial = reduce(std::move(initial), std::move(result));
    co_return initial;
  }

 private:
  using instances = detail::sharded_instances<T>;
  instances* instances_ = nullptr;
};

}  // namespace skerry
