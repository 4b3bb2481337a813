// SPDX-License-Identifier: Apache-2.0
#pragma once

/// framing_error: a peer sent what is no frame within its limits.
///
///     std::errc::message_size   it is longer than its reader allows
///     std::errc::bad_message    the stream ended in the middle of it
///
/// Either way the connection is of no more use: where the next frame begins, nobody knows.

#include <string>
#include <system_error>

namespace skerry::net {

class framing_error : public std::system_error {
 public:
  framing_error(std::errc why, const std::string& what) : std::system_error(std::make_error_code(why), what) {}
};

}  // namespace skerry::net
