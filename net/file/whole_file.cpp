// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/whole_file.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include <fmt/core.h>

namespace skerry::net {

task<std::string> read_file(std::string path, std::size_t bytes_max) {
  file from = co_await open_file(std::move(path));
  const std::uint64_t told = co_await from.size();  // some files say 0 and have bytes all the same
  std::string bytes;
  std::size_t got = 0;
  std::size_t room =
      static_cast<std::size_t>(std::min<std::uint64_t>(told, bytes_max)) + 1;  // one more: to see the end
  while (true) {
    bytes.resize(room);
    const std::size_t more = co_await from.read(std::as_writable_bytes(std::span(bytes)).subspan(got), got);
    got += more;
    if (got > bytes_max) throw std::system_error(EFBIG, std::generic_category(), "read " + from.path());
    if (more == 0) break;
    if (got == room) room = std::min(room * 2, bytes_max + 1);
  }
  bytes.resize(got);
  co_return bytes;
}

namespace {

/// The new file on its way.
struct new_file {
  std::string directory;  // with its slash; empty for the working directory
  std::string name;
  bool there = false;  // under this name
};

/// Under a name that nothing has. Shielded by its caller, so that nobody takes what is another's for ours.
task<file> make(new_file& made, unsigned mode) {
  constexpr int names_max = 100;  // what a killed process with the same seed left behind
  const open_options options(O_WRONLY | O_CREAT | O_EXCL, mode);
  for (int tries = 1;; ++tries) {
    made.name = fmt::format("{}.skerry-{:016x}.tmp", made.directory, (*this_shard().random)());
    try {
      file to = co_await open_file(made.name, options);
      made.there = true;
      co_return to;
    } catch (const std::system_error& refused) {
      if (refused.code() != std::errc::file_exists || tries == names_max) throw;
    }
  }
}

task<> make_and_rename(new_file& made, const std::string& path, std::span<const std::byte> bytes, unsigned mode) {
  file to = co_await shielded(make(made, mode));
  co_await to.write(bytes, 0);
  co_await to.sync();
  co_await to.close();
  co_await rename_file(made.name, path);
  made.there = false;
  std::string parent = made.directory.empty() ? "." : made.directory;  // g++ 12 would destroy it twice in the operand
  file directory = co_await open_file(std::move(parent), open_options(O_DIRECTORY));
  co_await directory.sync();
}

task<> remove_if_left(new_file& made) {
  if (!made.there) co_return;
  try {
    co_await remove_file(made.name);
  } catch (const std::system_error& failed) {
    if (failed.code() != std::errc::no_such_file_or_directory) log::warning("{}", failed.what());
  }
}

}  // namespace

task<> write_file_atomically(std::string path, std::span<const std::byte> bytes, unsigned mode) {
  new_file made;
  const std::size_t slash = path.rfind('/');
  if (slash != std::string::npos) made.directory = path.substr(0, slash + 1);
  co_await finally(make_and_rename(made, path, bytes, mode), remove_if_left(made));
}

}  // namespace skerry::net
