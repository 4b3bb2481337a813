// SPDX-License-Identifier: Apache-2.0
#pragma once

/// extract: handlers whose parameters say what they need of a request.
///
///     net::http::router r;
///     r.get("/items/{id}", [](path<"id", std::uint64_t> id, query<"page", std::optional<int>> page) {
///       return response::text("page " + std::to_string(page->value_or(1)) + " of item " + std::to_string(id));
///     });
///
///   request&               the request itself
///   path<"id", T>          the part of the path that the pattern calls {id}
///   query<"q", T>          the pair ?q=… of the query; given twice it is refused
///   header<"Name", T>      the first field of that name
///   body                   the whole body as text
///   json<T>                the whole body as a T; see json.hpp
///   resource_of<T>         this shard's resource<T>()
///
/// T is an integer, bool (true, false, 1, 0), a floating-point number, std::string or std::string_view, read from the
/// whole text behind the escapes; any other type by a specialisation of `text_value`. In query and header it may be a
/// std::optional of those, for what may be missing. What was extracted behaves like a pointer to it (`*id`, `id->…`)
/// and converts to a const reference.
///
/// A type of one's own becomes a parameter by a specialisation of `extractor`. The handler returns task<response>, or
/// response when it waits for nothing.
///
/// Affinity:  the shard of the request.
/// Ownership: parameters are taken by value, request& aside, and live in the handler's frame; a string_view among them
///            as long as the request.
/// Errors:    http_error(400) that names the parameter and what is wrong with it, before the handler is called and, but
///            for that of the body, before any of the body is read. A path<> whose name is not in the pattern is
///            std::invalid_argument when the route is added.
/// Limits:    one parameter that reads the body; of that its limit.

#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/http/percent.hpp>
#include <skerry/net/http/request.hpp>
#include <skerry/net/http/response.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace skerry::net::http {

/// How a T is read from a text: `static const char* read(std::string_view text, T& out)` gives what is wrong, or null.
/// The text lives as long as the request.
template <class T>
struct text_value;

/// How a parameter of type T is had of a request: `static T from(request&)`, or `static task<T> from(request&)` for one
/// that reads the body.
template <class T>
struct extractor;

namespace detail {

/// A literal as a template argument.
template <std::size_t Size>
struct fixed_text {
  constexpr fixed_text(const char (&literal)[Size]) noexcept { std::copy_n(literal, Size, text); }
  constexpr std::string_view view() const noexcept { return {text, Size - 1}; }
  char text[Size];
};

template <class T>
class extracted {
 public:
  explicit extracted(T value) noexcept(std::is_nothrow_move_constructible_v<T>) : value_(std::move(value)) {}
  T& operator*() noexcept { return value_; }
  const T& operator*() const noexcept { return value_; }
  T* operator->() noexcept { return &value_; }
  const T* operator->() const noexcept { return &value_; }
  operator const T&() const noexcept { return value_; }

 private:
  T value_;
};

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

}  // namespace detail

template <detail::fixed_text Name, class T>
class path : public detail::extracted<T> {
  static_assert(!detail::is_optional<T>, "a path that matches has all its parameters");

 public:
  using detail::extracted<T>::extracted;
};

template <detail::fixed_text Name, class T>
class query : public detail::extracted<T> {
 public:
  using detail::extracted<T>::extracted;
};

template <detail::fixed_text Name, class T>
class header : public detail::extracted<T> {
 public:
  using detail::extracted<T>::extracted;
};

class body : public detail::extracted<std::string> {
 public:
  using detail::extracted<std::string>::extracted;
};

template <class T>
class resource_of {
 public:
  explicit resource_of(T& found) noexcept : found_(&found) {}
  T& operator*() const noexcept { return *found_; }
  T* operator->() const noexcept { return found_; }
  operator T&() const noexcept { return *found_; }

 private:
  T* found_;
};

// ---- texts ----

template <>
struct text_value<std::string_view> {
  static const char* read(std::string_view text, std::string_view& out) noexcept {
    out = text;
    return nullptr;
  }
};

template <>
struct text_value<std::string> {
  static const char* read(std::string_view text, std::string& out) {
    out = text;
    return nullptr;
  }
};

template <>
struct text_value<bool> {
  static const char* read(std::string_view text, bool& out) noexcept {
    out = text == "true" || text == "1";
    return out || text == "false" || text == "0" ? nullptr : "is none of true, false, 1 and 0";
  }
};

template <std::integral T>
  requires(!std::same_as<T, char> && !std::same_as<T, bool>)
struct text_value<T> {
  static const char* read(std::string_view text, T& out) noexcept {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error == std::errc::result_out_of_range && end == text.data() + text.size()) return "is out of range";
    if (error != std::errc() || end != text.data() + text.size()) {
      return std::unsigned_integral<T> ? "is no whole number from 0 on" : "is no whole number";
    }
    return nullptr;
  }
};

template <std::floating_point T>
struct text_value<T> {
  static const char* read(std::string_view text, T& out) noexcept {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error == std::errc::result_out_of_range && end == text.data() + text.size()) return "is out of range";
    const bool whole = error == std::errc() && end == text.data() + text.size();
    return whole && std::isfinite(out) ? nullptr : "is no number";
  }
};

namespace detail {

[[noreturn]] void refuse(std::string_view kind, std::string_view name, std::string_view what);
/// The text behind the escapes, for as long as the request lives.
std::string_view decoded(request& r, std::string_view kind, std::string_view name, std::string_view text,
                         uri_part where);
std::string_view path_text(request& r, std::string_view name);
/// Refuses a second pair of that name: two readers that take different ones see different requests.
std::optional<std::string_view> query_text(request& r, std::string_view name);
/// Throws std::invalid_argument unless `pattern` has a parameter of that name.
void require_parameter(std::string_view pattern, std::string_view name);

template <class T>
T read_text(std::string_view kind, std::string_view name, std::string_view text) {
  T value{};
  if (const char* wrong = text_value<T>::read(text, value)) refuse(kind, name, wrong);
  return value;
}

template <class T>
T read_optional(std::string_view kind, std::string_view name, std::optional<std::string_view> text) {
  if constexpr (is_optional<T>) {
    if (!text) return std::nullopt;
    return read_text<typename T::value_type>(kind, name, *text);
  } else {
    if (!text) refuse(kind, name, "is missing");
    return read_text<T>(kind, name, *text);
  }
}

}  // namespace detail

template <detail::fixed_text Name, class T>
struct extractor<path<Name, T>> {
  static constexpr std::string_view parameter = Name.view();
  static path<Name, T> from(request& r) {
    return path<Name, T>(detail::read_text<T>("path parameter", parameter, detail::path_text(r, parameter)));
  }
};

template <detail::fixed_text Name, class T>
struct extractor<query<Name, T>> {
  static query<Name, T> from(request& r) {
    constexpr std::string_view name = Name.view();
    return query<Name, T>(detail::read_optional<T>("query parameter", name, detail::query_text(r, name)));
  }
};

template <detail::fixed_text Name, class T>
struct extractor<header<Name, T>> {
  static header<Name, T> from(request& r) {
    constexpr std::string_view name = Name.view();
    return header<Name, T>(detail::read_optional<T>("header field", name, r.header(name)));
  }
};

template <>
struct extractor<body> {
  static task<body> from(request& r) { co_return body(co_await r.read_all()); }
};

template <class T>
struct extractor<resource_of<T>> {
  static resource_of<T> from(request&) noexcept { return resource_of<T>(resource<T>()); }
};

// ---- handlers ----

namespace detail {

template <class T>
inline constexpr bool reads_body = skerry::detail::any_task<decltype(extractor<T>::from(std::declval<request&>()))>;
template <>
inline constexpr bool reads_body<request&> = false;

/// Stands in a list of arguments for the one that has to be waited for.
struct awaited {};

template <class T>
decltype(auto) extract_early(request& r) {
  if constexpr (std::is_same_v<T, request&>) {
    return std::ref(r);
  } else if constexpr (reads_body<T>) {
    return awaited();
  } else {
    return extractor<T>::from(r);
  }
}

template <class Late, class T>
decltype(auto) choose(Late& late, T& early) noexcept {
  if constexpr (std::is_same_v<T, awaited>) {
    return std::move(late);
  } else if constexpr (std::is_same_v<T, std::reference_wrapper<request>>) {
    return early.get();
  } else {
    return std::move(early);
  }
}

/// Calls `fn` with what was extracted; `late` takes the place of what was waited for.
template <class Fn, class Late, class... Early>
decltype(auto) call_with(Fn& fn, Late& late, std::tuple<Early...>& early) {
  return std::apply([&](Early&... each) -> decltype(auto) { return fn(choose(late, each)...); }, early);
}

/// What a handler that is no coroutine returned.
inline task<response> finished(response made) { co_return made; }

template <class Late, class Fn, class... Args>
task<response> call_with_body(Fn& fn, request& r) {
  using early_types = std::tuple<decltype(extract_early<Args>(r))...>;
  early_types early{extract_early<Args>(r)...};  // braces: from left to right
  Late late = co_await extractor<Late>::from(r);
  if constexpr (skerry::detail::any_task<decltype(call_with(fn, late, early))>) {
    co_return co_await call_with(fn, late, early);
  } else {
    co_return call_with(fn, late, early);
  }
}

template <class... Args>
struct body_among;
template <>
struct body_among<> {
  using type = awaited;
};
template <class First, class... Rest>
struct body_among<First, Rest...> : body_among<Rest...> {};
template <class First, class... Rest>
  requires reads_body<First>
struct body_among<First, Rest...> {
  using type = First;
};

template <class T>
void check_parameter([[maybe_unused]] std::string_view pattern) {
  if constexpr (requires { extractor<T>::parameter; }) require_parameter(pattern, extractor<T>::parameter);
}

template <class Result, class... Args, class Fn>
handler typed_handler([[maybe_unused]] std::string_view pattern, Fn fn) {
  static_assert(((std::is_same_v<Args, request&> || !std::is_reference_v<Args>) && ...),
                "a handler takes request& or what is extracted, by value: nobody else keeps it");
  static_assert(std::is_same_v<Result, response> || std::is_same_v<Result, task<response>>,
                "a handler returns response or task<response>");
  constexpr std::size_t bodies = (std::size_t{0} + ... + std::size_t{reads_body<Args>});
  static_assert(bodies <= 1, "a body can be read once");
  (check_parameter<Args>(pattern), ...);
  return [fn = std::move(fn)](request& r) mutable -> task<response> {
    if constexpr (bodies == 1) {
      return call_with_body<typename body_among<Args...>::type, Fn, Args...>(fn, r);
    } else {  // no frame but the handler's own
      std::tuple<decltype(extract_early<Args>(r))...> early{extract_early<Args>(r)...};
      awaited none;
      if constexpr (std::is_same_v<Result, response>) {
        return finished(call_with(fn, none, early));
      } else {
        return call_with(fn, none, early);
      }
    }
  };
}

/// The parameters of a function or of a callable with one call operator.
template <class Signature>
struct signature;
template <class Result, class... Args>
struct signature<Result (*)(Args...)> {
  template <class Fn>
  static handler bind(std::string_view pattern, Fn fn) {
    return typed_handler<Result, Args...>(pattern, std::move(fn));
  }
};
template <class Result, class... Args>
struct signature<Result (*)(Args...) noexcept> : signature<Result (*)(Args...)> {};
template <class Class, class Result, class... Args>
struct signature<Result (Class::*)(Args...)> : signature<Result (*)(Args...)> {};
template <class Class, class Result, class... Args>
struct signature<Result (Class::*)(Args...) const> : signature<Result (*)(Args...)> {};
template <class Class, class Result, class... Args>
struct signature<Result (Class::*)(Args...) noexcept> : signature<Result (*)(Args...)> {};
template <class Class, class Result, class... Args>
struct signature<Result (Class::*)(Args...) const noexcept> : signature<Result (*)(Args...)> {};

}  // namespace detail

/// The handler that extracts what `fn` takes and calls it; as it is when it takes a request and returns a task already.
template <class Fn>
handler make_handler(std::string_view pattern, Fn&& fn) {
  using callable = std::decay_t<Fn>;
  if constexpr (std::is_same_v<callable, handler> || std::is_invocable_r_v<task<response>, callable&, request&>) {
    return handler(std::forward<Fn>(fn));
  } else if constexpr (std::is_pointer_v<callable>) {
    return detail::signature<callable>::bind(pattern, callable(fn));
  } else {
    return detail::signature<decltype(&callable::operator())>::bind(pattern, callable(std::forward<Fn>(fn)));
  }
}

}  // namespace skerry::net::http
