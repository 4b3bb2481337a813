// SPDX-License-Identifier: Apache-2.0
#pragma once

/// whole_file: files read and written in one call, for what is small and must be whole.
///
///     std::string settings = co_await net::read_file("/etc/hostname", 64 * 1024);
///     co_await net::write_file_atomically("/tmp/state.json", settings);
///
/// Writing goes by a new file in the same directory, so that whoever reads, and whoever starts after a power cut, finds
/// the old bytes or the new ones, whole:
///
///     make .skerry-….tmp -> write -> sync -> rename over path -> sync the directory
///        '---- any failure, or a cancel, before the rename ----> remove it; `path` is as it was
///
/// Affinity:     any shard.
/// Lifetime:     the bytes to write must live until the call has returned or the task has ended.
/// Errors:       std::system_error naming the path; EFBIG for a file with more than `bytes_max`. Nothing is tried
///               again: after a failed sync the kernel has dropped what it could not write. When the last step fails
///               the new bytes are under `path`, and a power cut may bring the old ones back.
/// Cancellation: as a failure; the task ends after the new file has been removed.
/// Limits:       `bytes_max`, which has no default: it is memory. Replacing makes a new file: owner, permissions and
///               other names (hard links) of the old one are not taken over, and a symbolic link is replaced itself.

#include <skerry/framework/task/task.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace skerry::net {

/// All bytes of `path`, at most `bytes_max`.
task<std::string> read_file(std::string path, std::size_t bytes_max);

/// `mode`: the permissions of the new file, less the process's umask.
task<> write_file_atomically(std::string path, std::span<const std::byte> bytes, unsigned mode = 0666);
inline task<> write_file_atomically(std::string path, std::string_view text, unsigned mode = 0666) {
  return write_file_atomically(std::move(path), std::as_bytes(std::span(text)), mode);
}

}  // namespace skerry::net
