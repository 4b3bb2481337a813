// SPDX-License-Identifier: Apache-2.0
// Every call that crosses shards, given each kind of thing that must not cross. crossing_matrix_test.py compiles this
// once and expects of each call, for every line with `refused:`, an error with those words.
#include <skerry/skerry.hpp>
#include <skerry/toolkit/alien/alien.hpp>
#include <skerry/toolkit/channel/channel.hpp>
#include <skerry/toolkit/channel/shard_channel.hpp>
#include <skerry/toolkit/flow/deadline.hpp>
#include <skerry/toolkit/flow/everywhere.hpp>
#include <skerry/toolkit/flow/post_to.hpp>
#include <skerry/toolkit/flow/service_group.hpp>
#include <skerry/toolkit/generator/generator.hpp>
#include <skerry/toolkit/pool/blocking.hpp>
#include <skerry/toolkit/pool/compute.hpp>
#include <skerry/toolkit/time/interval.hpp>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace skerry;

// --- what belongs to one shard crosses by no call, alone or in something ---

struct holds_a_stream {
  net::stream client;
  int number = 0;
};

template <class... T>
constexpr bool none_crosses = ((!transferable<T> && !transferable<std::unique_ptr<T>>) && ...);

static_assert(none_crosses<net::stream, net::message_socket, net::datagram_socket, net::listener, holds_a_stream>);
static_assert(none_crosses<buffer, std::span<const std::byte>, std::string_view, std::span<int>>);
static_assert(none_crosses<mutex, semaphore, units, event, condition, cancel_source>);
static_assert(none_crosses<join_handle<>, join_handle<int>, task<>, task<int>, generator<int>, group, scope>);
static_assert(none_crosses<channel<int>, mpsc_channel<int>, interval, timers::timer>);
static_assert(none_crosses<int*, const char*, std::shared_ptr<int>, std::weak_ptr<int>, std::function<void()>,
                           std::reference_wrapper<int>>);

// --- each call with each kind; the types are the call's own, since a compiler says no to a type once ---

template <class Call>
struct own {};
template <class Call>
struct holds {
  own<Call>* there;
};
template <class T>
T made();

template <class Call>
void pairs(Call call) {
  using value = own<Call>;
  int local = 1;
  // clang-format off: one line each
  call([&local](auto&&...) { ++local; });                                      // refused: must have no captures
  call([local](auto&&...) { return local; });                                  // refused: must have no captures
  if constexpr (Call::takes_arguments) {
    call([](auto&&...) {}, made<value*>());                                    // refused: a pointer cannot cross
    call([](auto&&...) {}, made<std::span<value>>());                          // refused: this type cannot cross
    call([](auto&&...) {}, made<std::shared_ptr<value>>());                    // refused: this type cannot cross
    call([](auto&&...) {}, made<join_handle<value>>());                        // refused: this type cannot cross
    call([](auto&&...) {}, made<holds<Call>>());                               // refused: this type cannot cross
    call([](auto&&...) {}, made<std::vector<value*>>());                       // refused: this type cannot cross
    call([](auto&&...) {}, made<std::unique_ptr<holds<Call>>>());              // refused: this type cannot cross
    call([](auto&&...) {}, made<std::reference_wrapper<value>>());             // refused: this type cannot cross
  }
  if constexpr (Call::returns_references) {
    call([](auto&&...) -> value& { return made<value&>(); });                  // refused: a reference cannot cross
  }
  call([](auto&&...) -> const value* { return nullptr; });                     // refused: a pointer cannot cross
  call([](auto&&...) { return made<std::span<const value>>(); });              // refused: this type cannot cross
  call([](auto&&...) { return made<std::shared_ptr<const value>>(); });        // refused: this type cannot cross
  call([](auto&&...) { return made<join_handle<value*>>(); });                 // refused: this type cannot cross
  call([](auto&&...) { return made<std::pair<int, holds<Call>>>(); });         // refused: this type cannot cross
  if constexpr (Call::takes_tasks) {
    call([](auto&&...) -> task<value**> { co_return nullptr; });               // refused: a pointer cannot cross
    call([](auto&&...) -> task<std::span<value, 1>> { co_return made<std::span<value, 1>>(); });  // refused: this type
  }
  // clang-format on
}

struct usual {
  static constexpr bool takes_arguments = true, returns_references = true, takes_tasks = true;
};
/// What is run with a service's instance copies what its function refers to.
struct with_instance : usual {
  static constexpr bool returns_references = false;
};
struct job : usual {
  static constexpr bool takes_tasks = false;
};

struct service {
  task<> stop() { co_return; }
};
constexpr service_group storage("storage", 1, 4);

#define CALL(name, base, ...)                    \
  struct by_##name : base {                      \
    template <class Fn, class... Args>           \
    void operator()(Fn fn, Args... args) const { \
      __VA_ARGS__;                               \
    }                                            \
  };                                             \
  template void pairs(by_##name)

CALL(submit_to, usual, static_cast<void>(submit_to(1, fn, std::move(args)...)));
CALL(submit_to_in_a_group, usual, static_cast<void>(submit_to(storage, 1, fn, std::move(args)...)));
CALL(submit_to_by, usual, static_cast<void>(submit_to(made<by>(), 1, fn, std::move(args)...)));
CALL(post_to, usual, static_cast<void>(post_to(1, fn, std::move(args)...)));
CALL(try_post_to, usual, static_cast<void>(try_post_to(1, fn, std::move(args)...)));
CALL(post_to_all, usual, static_cast<void>(post_to_all(fn, std::move(args)...)));
CALL(invoke_on_all, usual, static_cast<void>(invoke_on_all(fn, std::move(args)...)));
CALL(invoke_on_others, usual, static_cast<void>(invoke_on_others(fn, std::move(args)...)));
CALL(map_all, usual, static_cast<void>(map_all(fn, std::move(args)...)));
CALL(map_reduce, usual, static_cast<void>(map_reduce(fn, 0, [](int n, auto&&) { return n; }, std::move(args)...)));
CALL(call_batch, usual, static_cast<void>(call_batch<Fn, Args...>(1)));
CALL(sharded_invoke_on, with_instance,
     static_cast<void>(made<sharded<service>&>().invoke_on(1, fn, std::move(args)...)));
CALL(sharded_map, with_instance, static_cast<void>(made<sharded<service>&>().map(fn, std::move(args)...)));
CALL(sharded_on_all, with_instance, static_cast<void>(made<sharded<service>&>().invoke_on_all(fn, std::move(args)...)));
CALL(sharded_on_others, with_instance,
     static_cast<void>(invoke_on_others(made<sharded<service>&>(), fn, std::move(args)...)));
CALL(alien_submit_to, usual, static_cast<void>(alien::submit_to(made<alien::entry&>(), 1, fn, std::move(args)...)));
CALL(alien_post, usual, static_cast<void>(alien::post(made<alien::entry&>(), 1, fn, std::move(args)...)));
CALL(compute, job, static_cast<void>(compute(fn, std::move(args)...)));
CALL(blocking, job, static_cast<void>(blocking(fn, std::move(args)...)));

// --- channels: items, instead of arguments and results ---

template <class Channel>
void items() {
  using value = own<Channel>;
  // clang-format off: one line each
  static_cast<void>(typename Channel::template of<value*>(1));                 // refused: a pointer cannot cross
  static_cast<void>(typename Channel::template of<std::span<value>>(1));       // refused: this type cannot cross
  static_cast<void>(typename Channel::template of<std::shared_ptr<value>>(1)); // refused: this type cannot cross
  static_cast<void>(typename Channel::template of<join_handle<value>>(1));     // refused: this type cannot cross
  static_cast<void>(typename Channel::template of<holds<Channel>>(1));         // refused: this type cannot cross
  // clang-format on
}

struct over_mpsc {
  template <class T>
  using of = mpsc_channel<T>;
};
template void items<over_mpsc>();

}  // namespace
