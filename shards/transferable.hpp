// SPDX-License-Identifier: Apache-2.0
#pragma once

/// transferable: which values may cross from one shard to another.
///
/// The rule: what crosses is a value that the receiver owns alone. Whatever refers to something (pointers, references,
/// views, shared_ptr, callables with captures) stays where it is. A type that is none of the below says that its
/// objects own all they reach with `using crosses_shards = itself;` (its own name: a derived class says it again).
///
///     crosses                                         to be used instead of what does not
///     arithmetic, enum, std::byte, chrono durations   a pointer, a reference, a view -> a value, or borrowed(x)
///     std::string, optional, variant, tuple, pair     shared_ptr                     -> shared_immutable<T>
///     array, vector, deque, list, map, set, …         a stream; a local primitive    -> move_to; work where it lives
///     unique_ptr, shared_immutable<T>                 what must die at home          -> foreign_ptr<T>
///     foreign_ptr<T>, borrowed(x)                     unchecked                      -> unchecked(fn), on your word
///
/// Containers cross when their elements, allocator (std::allocator) and functors (stateless) do.
///
/// What types cannot show (statics, what an opted-in class hides, references kept past the reply) is up to the author.

#include <array>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace skerry {

/// A reference that crosses on purpose: the caller, which waits for the reply, keeps `x` alive and does not touch it
/// meanwhile. Made by `borrowed(x)`.
template <class T>
class borrowed {
 public:
  using crosses_shards = borrowed;
  explicit borrowed(T& x) noexcept : x_(&x) {}
  T& operator*() const noexcept { return *x_; }
  T* operator->() const noexcept { return x_; }
  T& get() const noexcept { return *x_; }

 private:
  T* x_;
};

namespace detail {

template <class T>
concept owns_itself =
    std::is_void_v<T> || std::is_arithmetic_v<T> || std::is_enum_v<T> || std::is_same_v<T, std::monostate> ||
    std::is_same_v<T, std::error_code> || std::is_same_v<T, std::exception_ptr> ||
    requires { requires std::is_same_v<typename T::crosses_shards, T>; };

template <class T>
struct crosses : std::false_type {};

template <class... T>
constexpr bool crosses_v = ((owns_itself<T> || crosses<T>::value) && ...);

template <class... Parts>
struct crosses<std::tuple<Parts...>> : std::bool_constant<crosses_v<Parts...>> {};
template <class... Parts>
struct crosses<std::variant<Parts...>> : crosses<std::tuple<Parts...>> {};
template <class A, class B>
struct crosses<std::pair<A, B>> : crosses<std::tuple<A, B>> {};
template <class T>
struct crosses<std::optional<T>> : crosses<std::tuple<T>> {};
template <class T>
struct crosses<std::unique_ptr<T>> : crosses<std::tuple<T>> {};
template <class T, std::size_t N>
struct crosses<std::array<T, N>> : crosses<std::tuple<T>> {};
template <class Rep, class Period>
struct crosses<std::chrono::duration<Rep, Period>> : crosses<std::tuple<Rep>> {};
template <class Clock, class Duration>
struct crosses<std::chrono::time_point<Clock, Duration>> : crosses<Duration> {};

/// The standard containers, without including them: a class template whose every argument is an element that crosses,
/// the standard allocator, or a stateless functor, and which has the allocator that only containers have.
template <class T>
struct container_argument
    : std::bool_constant<crosses_v<T> || (std::is_empty_v<T> && std::is_default_constructible_v<T>)> {};
template <class T>
struct container_argument<const T> : container_argument<T> {};
template <class A, class B>
struct container_argument<std::pair<A, B>> : std::bool_constant<container_argument<A>::value && crosses_v<B>> {};
template <class T>
struct container_argument<std::allocator<T>> : container_argument<T> {};

template <template <class...> class Container, class... Arguments>
  requires requires {
    typename Container<Arguments...>::allocator_type;
    typename Container<Arguments...>::value_type;
    typename Container<Arguments...>::size_type;
  } && std::is_same_v<typename Container<Arguments...>::allocator_type,
                      std::allocator<typename Container<Arguments...>::value_type>>
struct crosses<Container<Arguments...>> : std::bool_constant<(container_argument<Arguments>::value && ...)> {};

/// Says why `T` does not cross, once, in words; called for every argument and result.
template <class T>
consteval void require_crossing() {
  static_assert(!std::is_reference_v<T>,
                "a reference cannot cross shards: pass the value, or borrowed(x) while you wait for the reply");
  static_assert(!std::is_pointer_v<T>,
                "a pointer cannot cross shards: pass the value, std::unique_ptr, foreign_ptr or borrowed(x)");
  static_assert(
      std::is_reference_v<T> || std::is_pointer_v<T> || crosses_v<T>,
      "this type cannot cross shards: it is not known to own all it refers to. Pass plain values, standard containers "
      "of them, of a view or buffer the bytes; a stream goes by move_to(shard); for shared_ptr shared_immutable<T>, "
      "for what must be destroyed at home foreign_ptr<T>; what tasks wait for (mutex, join_handle) stays: do the work "
      "where it lives; a class that owns all its parts says `using crosses_shards = its_name;`");
}

template <class Fn>
consteval void require_no_captures() {
  static_assert(std::is_empty_v<Fn> && std::is_default_constructible_v<Fn>,
                "the function given to another shard must have no captures: pass what it needs as arguments behind it, "
                "submit_to(shard, [](int n) { … }, n); they are checked, captures cannot be");
}

}  // namespace detail

/// Whether a T may be an argument or result of submit_to.
template <class T>
concept transferable = detail::crosses_v<T>;

/// One object that every shard may read and nobody may change: configuration, tables. The last holder destroys it, on
/// whatever shard that is; so T must be transferable. A copy costs an atomic operation: keep one per shard.
template <class T>
class shared_immutable {
 public:
  using crosses_shards = shared_immutable;
  static_assert(transferable<T>, "what all shards share must own all it refers to: see transferable.hpp");
  static_assert(
      !requires(const T& x) { requires !std::is_const_v<std::remove_pointer_t<decltype(&*x)>>; },
      "all shards could change what this leads to: share the object itself, or a pointer to const");

  explicit shared_immutable(T value) : value_(std::make_shared<const T>(std::move(value))) {}
  const T& operator*() const noexcept { return *value_; }
  const T* operator->() const noexcept { return value_.get(); }

 private:
  std::shared_ptr<const T> value_;
};

}  // namespace skerry
