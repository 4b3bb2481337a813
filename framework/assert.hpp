// SPDX-License-Identifier: Apache-2.0
#pragma once

/// assert: a bug stops the process at once, with a sentence a stranger understands.
///
/// SKERRY_ASSERT(condition, "what must hold and what to do") is on in every build and for bugs only: what a peer, a
/// kernel or a user can cause is a value or an exception. One condition each, so that the message names what failed.
///
/// Output goes straight to descriptor 2 (the log may be the broken part), then the process aborts:
///
///     skerry: assertion failed: size > 0: a slice must not be empty
///       at framework/io/buffer.cpp:41, shard 3, task "connection"
///
/// Affinity: any thread. Errors: none, it does not return. Nothing allocates.

namespace skerry::detail {

/// Says where the failing thread is (", shard 3, task ..."); empty off a shard. Set by the first reactor, so that a
/// pure structure that asserts links nothing else.
using assert_context = int (*)(char* out, int size) noexcept;
extern constinit assert_context describe_assert_context;

[[noreturn, gnu::cold]] void assert_failed(const char* condition, const char* what, const char* file,
                                           int line) noexcept;

}  // namespace skerry::detail

#define SKERRY_ASSERT(condition, what)               \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::skerry::detail::assert_failed(#condition, what, __FILE__, __LINE__))
