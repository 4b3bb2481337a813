// SPDX-License-Identifier: Apache-2.0
#pragma once

/// byte_stream: what protocol code may ask of a connection. Protocols are written against this concept and never name
/// TCP, so that they run over TLS, Unix sockets, pipes and tests without a change.
///
///     co_await s.read()        the next bytes, as they came; an empty buffer is the end of the stream
///     co_await s.write(bytes)  takes the bytes; suspends past the high-water mark; `bytes` must live until it returns
///     co_await s.flush()       everything written so far is with the kernel
///     s.shutdown_output()      no more bytes from us, after what was written
///
/// Errors: std::system_error through co_await.

#include <skerry/framework/io/buffer_pool.hpp>

#include <concepts>
#include <cstddef>
#include <span>

namespace skerry {

namespace detail {
/// An awaiter, or something with operator co_await, whose result is Result.
template <class A, class Result>
concept awaitable_of = requires(A a) {
  { a.await_resume() } -> std::same_as<Result>;
} || requires(A a) {
  { static_cast<A&&>(a).operator co_await().await_resume() } -> std::same_as<Result>;
};
}  // namespace detail

template <class S>
concept byte_stream = requires(S& s, std::span<const std::byte> bytes) {
  { s.read() } -> detail::awaitable_of<buffer>;
  { s.write(bytes) } -> detail::awaitable_of<void>;
  { s.flush() } -> detail::awaitable_of<void>;
  s.shutdown_output();
};

}  // namespace skerry
