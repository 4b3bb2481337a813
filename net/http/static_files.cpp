// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/clock.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/byte_pool.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/http/compression.hpp>
#include <skerry/net/http/conditional.hpp>
#include <skerry/net/http/date.hpp>
#include <skerry/net/http/percent.hpp>
#include <skerry/net/http/request.hpp>
#include <skerry/net/http/static_files.hpp>
#include <skerry/net/socket.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <system_error>

#include <fmt/core.h>

namespace skerry::net::http {

namespace {

struct known_type {
  std::string_view extension;
  std::string_view type;
};
constexpr known_type known_types[] = {
    {"html", "text/html; charset=utf-8"},
    {"htm", "text/html; charset=utf-8"},
    {"css", "text/css; charset=utf-8"},
    {"js", "text/javascript; charset=utf-8"},
    {"mjs", "text/javascript; charset=utf-8"},
    {"json", "application/json"},
    {"map", "application/json"},
    {"txt", "text/plain; charset=utf-8"},
    {"md", "text/markdown; charset=utf-8"},
    {"csv", "text/csv; charset=utf-8"},
    {"xml", "application/xml"},
    {"svg", "image/svg+xml"},
    {"webmanifest", "application/manifest+json"},
    {"wasm", "application/wasm"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"gif", "image/gif"},
    {"webp", "image/webp"},
    {"avif", "image/avif"},
    {"ico", "image/x-icon"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"ttf", "font/ttf"},
    {"otf", "font/otf"},
    {"mp3", "audio/mpeg"},
    {"ogg", "audio/ogg"},
    {"mp4", "video/mp4"},
    {"webm", "video/webm"},
    {"zip", "application/zip"},
    {"gz", "application/gzip"},
};

/// Behind the last dot of the last segment; empty where that is the segment's first character.
std::string_view extension_of(std::string_view name) noexcept {
  name.remove_prefix(name.rfind('/') + 1);
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos || dot == 0 ? std::string_view() : name.substr(dot + 1);
}

struct variant {
  content_coding coding;
  std::string_view suffix;
};
/// The smallest first, where the client has no preference.
constexpr std::array<variant, 3> variants{variant{content_coding::br, ".br"}, variant{content_coding::zstd, ".zst"},
                                          variant{content_coding::gzip, ".gz"}};

/// A regular file that is open, and what is known of it.
struct found_file {
  file bytes;
  file_status status;
};

/// A block of the shard's pool.
class piece_buffer {
 public:
  piece_buffer() : block_(this_bytes().allocate(piece_bytes)) {}
  piece_buffer(const piece_buffer&) = delete;
  piece_buffer& operator=(const piece_buffer&) = delete;
  ~piece_buffer() { this_bytes().release(block_); }
  std::span<std::byte> first(std::uint64_t bytes) const noexcept {
    return block_.first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes, piece_bytes)));
  }

 private:
  std::span<std::byte> block_;
};

/// Gives what asking the kernel about an open file gives. What passes by itself is answered with 503.
template <class T>
task<T> as_answer(task<T> asked) {
  try {
    co_return co_await std::move(asked);
  } catch (const std::system_error& failed) {
    const std::error_code why = failed.code();
    if (why == std::errc::not_enough_memory || why == std::errc::resource_unavailable_try_again) {
      throw http_error(503, "no file can be read at the moment");
    }
    if (why.value() == ESTALE) throw http_error(503, "the file changed while it was read");
    throw;
  }
}

/// Stops at the end of a file that has become shorter; the connection sees that bytes are missing.
task<> send_part(file& from, std::uint64_t offset, std::uint64_t left, body_writer& out) {
  const piece_buffer block;
  while (left != 0) {
    const std::span<std::byte> room = block.first(left);
    const std::size_t got = co_await from.read(room, offset);
    co_await out.write(room.first(got));
    if (got != room.size()) co_return;
    offset += got;
    left -= got;
  }
}

class directory {
 public:
  directory(const std::string& root, static_options&& options) : options_(std::move(options)), root_(open_root(root)) {}

  task<response> answer(request& r);

 private:
  static int open_root(const std::string& root);
  std::string name_of(std::string_view sent) const;
  std::string_view type_of(std::string_view name) const noexcept;
  task<std::optional<file>> open(std::string name);
  task<std::optional<found_file>> open_regular(std::string name);
  task<content_coding> choose_variant(const request& r, const std::string& name, found_file& chosen);

  static_options options_;
  unique_fd root_;
};

int directory::open_root(const std::string& root) {
  const int fd = ::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    throw startup_error(fmt::format("cannot serve the files of {}: {}\nname a directory that this user may read",
                                    skerry::detail::printable(root), std::generic_category().message(errno)));
  }
  return fd;
}

/// The file that a path names, relative to the root. Throws http_error.
std::string directory::name_of(std::string_view sent) const {
  std::string name;
  while (true) {
    const std::size_t slash = sent.find('/');
    const std::optional<std::string> segment = percent_decode(sent.substr(0, slash), uri_part::path);
    if (!segment) throw http_error(400, "the path has an escape that stands for nothing");
    if (slash == std::string_view::npos && segment->empty()) break;  // a directory
    const bool refused = segment->empty() || segment->find('/') != std::string::npos || *segment == "." ||
                         *segment == ".." || (segment->front() == '.' && !options_.hidden);
    if (refused) throw http_error(404, "there is no such file");
    name += *segment;
    if (slash == std::string_view::npos) return name;
    name += '/';
    sent.remove_prefix(slash + 1);
  }
  if (options_.index.empty()) throw http_error(404, "there is no such file");
  return name + options_.index;
}

std::string_view directory::type_of(std::string_view name) const noexcept {
  const std::string_view extension = extension_of(name);
  for (const auto& [known, type] : options_.types) {
    if (same_name(known, extension)) return type;
  }
  return content_type(name);
}

task<std::optional<file>> directory::open(std::string name) {
  open_options how(O_RDONLY | O_NONBLOCK | O_NOCTTY);
  how.directory = root_.get();
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  constexpr int tries_max = 3;
  for (int tries = 1;; ++tries) {
    std::expected<file, std::errc> opened = co_await open_if_possible(name, how);
    if (opened) co_return std::move(*opened);
    switch (opened.error()) {
      case std::errc::no_such_file_or_directory:
      case std::errc::not_a_directory:
      case std::errc::filename_too_long:
      case std::errc::cross_device_link:  // it leads out of the root
      case std::errc::too_many_symbolic_link_levels:
      case std::errc::no_such_device_or_address:  // a socket
      case std::errc::no_such_device: co_return std::nullopt;
      case std::errc::permission_denied:
      case std::errc::operation_not_permitted: throw http_error(403, "this file may not be read");
      case std::errc::resource_unavailable_try_again:
        if (tries < tries_max) continue;
        [[fallthrough]];
      case std::errc::too_many_files_open:
      case std::errc::too_many_files_open_in_system:
      case std::errc::not_enough_memory: throw http_error(503, "no file can be opened at the moment");
      default: throw std::system_error(std::make_error_code(opened.error()), "open " + name);
    }
  }
}

task<std::optional<found_file>> directory::open_regular(std::string name) {
  std::optional<file> opened = co_await open(std::move(name));
  if (!opened) co_return std::nullopt;
  const file_status status = co_await as_answer(opened->status());
  if (status.kind == file_kind::other) co_return std::nullopt;
  co_return found_file{std::move(*opened), status};
}

/// Puts the variant that the client likes best in place of the file; one that cannot be had is passed over.
task<content_coding> directory::choose_variant(const request& r, const std::string& name, found_file& chosen) {
  const accepted_codings accepted(r.head().fields);
  std::array<content_coding, variants.size()> offered;
  std::size_t left = 0;
  for (const variant& each : variants) offered[left++] = each.coding;
  while (left != 0) {
    const content_coding best = accepted.best_of(std::span(offered).first(left));
    if (best == content_coding::identity) break;
    const auto* which = std::ranges::find(variants, best, &variant::coding);
    std::string beside = name + std::string(which->suffix);
    std::optional<found_file> found;
    try {
      found = co_await open_regular(std::move(beside));
    } catch (const std::exception& refused) {
      log::debug("{} beside {}: {}", which->suffix, name, refused.what());
    }
    if (found && found->status.kind == file_kind::regular) {
      chosen = std::move(*found);
      co_return best;
    }
    left -= std::ranges::remove(std::span(offered).first(left), best).size();
  }
  co_return content_coding::identity;
}

/// The tag of a file; weak while its last change is so fresh that another could look the same.
std::string tag_of(const file_status& status) {
  const bool fresh = clock::wall() - status.modified < settled;
  return fmt::format("{}\"{:x}-{:x}-{:x}\"", fresh ? "W/" : "", status.size,
                     static_cast<std::uint64_t>(status.modified.count()), status.inode);
}

/// To where a directory was asked for without its slash: the last segment as it was sent, which names no host.
std::string with_slash(const request& r) {
  const std::string_view path = r.path();
  std::string to = "./";
  to.append(path.substr(path.rfind('/') + 1)).append("/");
  if (!r.head().query.empty()) to.append("?").append(r.head().query);
  return to;
}

task<response> directory::answer(request& r) {
  if (r.method() != method::get && r.method() != method::head) {
    co_return problem(405, "a file is read and nothing else").header("Allow", "GET, HEAD");
  }
  std::string_view sent = r.path();
  if (sent.starts_with('/')) sent.remove_prefix(1);
  if (!r.parameters().empty()) sent = r.parameters().back().value;
  const std::string name = name_of(sent);

  std::optional<found_file> found = co_await open_regular(name);
  if (!found) throw http_error(404, "there is no such file");
  if (found->status.kind == file_kind::directory) {
    if (sent.empty() || sent.ends_with('/')) throw http_error(404, "there is no such file");  // an index of that kind
    co_return response(301).header("Location", with_slash(r));
  }
  response made;
  const std::string_view type = type_of(name);
  if (options_.precompressed && shrinks(type)) {
    const content_coding coding = co_await choose_variant(r, name, *found);
    made.header("Vary", "Accept-Encoding");
    if (coding != content_coding::identity) made.header("Content-Encoding", to_string(coding));
  }

  using std::chrono::floor, std::chrono::seconds, std::chrono::sys_seconds;
  const std::uint64_t size = found->status.size;
  const sys_seconds modified(floor<seconds>(found->status.modified));
  const sys_seconds now(floor<seconds>(clock::wall()));
  const std::string tag = tag_of(found->status);
  const std::optional<unsigned> failed = failed_precondition(r, tag, modified);
  if (failed == 412U) co_return problem(412, "the file is another by now");
  made.header("ETag", tag).header("Last-Modified", to_date(std::min(modified, now)));
  if (!options_.cache_control.empty()) made.header("Cache-Control", options_.cache_control);
  if (failed) {
    made.drop_header("Content-Encoding");
    co_return std::move(made.status(304));
  }

  made.header("Accept-Ranges", "bytes");
  byte_range part{0, size - 1};
  if (const std::optional<byte_range> asked = asked_range(r, size, tag, modified)) {
    if (asked->first >= size) {
      co_return problem(416, "the file has fewer bytes").header("Content-Range", fmt::format("bytes */{}", size));
    }
    part = *asked;
    made.status(206).header("Content-Range", fmt::format("bytes {}-{}/{}", part.first, part.last, size));
  }
  const std::uint64_t length = size == 0 ? 0 : part.last - part.first + 1;
  if (length <= read_whole_max && r.method() == method::get) {
    std::string bytes(static_cast<std::size_t>(length), '\0');
    const auto room = std::as_writable_bytes(std::span(bytes));
    const std::size_t got = co_await as_answer(found->bytes.read(room, part.first));
    if (got != length) throw http_error(503, "the file changed while it was read");
    co_return std::move(made.body(type, std::move(bytes)));
  }
  auto send = [from = std::move(found->bytes), first = part.first, length](body_writer& out) mutable -> task<> {
    return send_part(from, first, length, out);
  };
  made.stream_body(type, length, std::move(send));
  co_return made;
}

}  // namespace

std::string_view content_type(std::string_view name) noexcept {
  const std::string_view extension = extension_of(name);
  for (const known_type& each : known_types) {
    if (same_name(each.extension, extension)) return each.type;
  }
  return "application/octet-stream";
}

handler static_files(const std::string& root, static_options options) {
  return [files = std::make_unique<directory>(root, std::move(options))](request& r) { return files->answer(r); };
}

}  // namespace skerry::net::http
