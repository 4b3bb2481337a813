// SPDX-License-Identifier: Apache-2.0
#pragma once

/// examine_io_uring: what io_uring has here, what of it Skerry uses, and why: the text of `--io-uring-features`.
///
///     const io_uring_report found = examine_io_uring({});
///     std::fputs(as_text(found).c_str(), stdout);
///
///     feature             kernel   Skerry    why
///     multishot receive   has it   uses it   one submission for all that comes; without, …
///     direct descriptors  has it   does not  …
///     NAPI busy polling   has it   opt-in, off  --napi-busy-poll-us N: …
///
/// Nothing is concluded from the kernel's version. Set-up flags and registrations are asked for and taken back, opcodes
/// are looked up in the kernel's own list, and what has no mark of its own, or was wrong in some kernel, is done once
/// on a ring as a shard has it: multishot requests on sockets of this process, bundles with a look at every byte.
///
/// Affinity:   any thread that is no shard, before or without any; a ring belongs to the thread that examines.
/// Ownership:  rings and sockets are closed before it returns; the kernel takes their memory back a little later.
/// Errors:     io_uring that is refused is a result: `refusal` says why.
/// Limits:     a ring at a time, 64 submissions at most; each try waits at most a second.

#include <skerry/backends/extras.hpp>

#include <string>
#include <vector>

namespace skerry {

struct io_uring_feature {
  std::string name;
  bool in_kernel = false;
  bool used = false;
  std::string why;      ///< one line, whether it is used or not
  bool opt_in = false;  ///< used where an option asks for it
};

struct io_uring_report {
  std::string kernel;   ///< as uname(2) says
  std::string refusal;  ///< why a program cannot run on io_uring here, and what would help; empty where it can
  std::vector<io_uring_feature> features;  ///< none where it cannot
};

/// `asked`: what options ask for beside what is used always.
io_uring_report examine_io_uring(const io_uring_extras& asked);

/// A table for people.
std::string as_text(const io_uring_report& found);

}  // namespace skerry
