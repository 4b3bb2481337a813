// SPDX-License-Identifier: Apache-2.0
#pragma once

/// static_files: a directory and what is beneath it, for GET and HEAD.
///
///     net::http::router site;
///     net::http::static_options options;
///     options.cache_control = "max-age=3600";
///     site.get("/static/{path...}", net::http::static_files("/srv/www", options));
///
/// The path is the last parameter of the route, its wildcard; without parameters, the whole path of the request.
///
/// No path leads out of the root: the kernel follows it from the root's descriptor and holds it beneath (openat2 with
/// RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS). Symbolic links are followed where they stay inside; one that leads out,
/// or is absolute, even to something inside, is 404. The root itself may be a link; it is opened once, so a root that
/// is replaced under its name goes on being served.
///
///     path sent                          answer
///     `..` `.` `//`, also as %2e         404, before anything is opened: each file has one name
///     an encoded slash                   404: no name has a slash in it
///     %00, a broken escape               400
///     a name that begins with a dot      404, unless options.hidden
///     a directory, with a slash          its index file, or 404; nothing lists directories
///     a directory, without               301 to the same with a slash, relative, so that no host can be smuggled in
///     a socket, FIFO or device           404
///     what the process may not read      403
///     no descriptor or memory left       503
///     the device fails, or the like      500, and a line in the log that names the file
///     a file that changes while it is    the file that was opened, as long as it was then. If it has become shorter or
///     sent                               a read fails: 503 or 500 for one of up to read_whole_max, else the head has
///                                        gone, and the connection ends before Content-Length is reached
///
/// Precompressed: of a type that shrinks, `name.br`, `name.zst` and `name.gz` beside the file are chosen among by
/// Accept-Encoding, and every answer has Vary. That they hold the same as the file is for whoever puts them there. One
/// that cannot be opened, for whatever reason, is passed over.
///
/// Validators: an ETag of size, time of change in nanoseconds and inode; Last-Modified. A file that was changed within
/// `settled` has the tag in its weak form: the kernel's clock is coarse, and another change may hide in the same tick.
/// Preconditions, one range and If-Range by tag or date are answered (conditional.hpp); several ranges get the whole.
/// Ranges count the bytes of the coding that was chosen.
///
/// A body of up to `read_whole_max` leaves with its head in one send. A larger one goes in pieces of `piece_bytes`
/// through a block of the shard's pool, each read when the stream has taken the one before, so a slow client holds one
/// block beside its stream's marks, however large the file. Rejected: splice from file to pipe to socket, see below.
///
/// Affinity:     the shard of its router; every shard makes its own and has one descriptor for the root.
/// Lifetime:     a file stays open while it is sent: removing or replacing (rename) it disturbs nobody.
/// Errors:       startup_error when the root cannot be opened. A file that shrinks while it is sent ends the
///               connection, never is anything put in place of what is missing; one that grows is sent up to the size
///               it had.
/// Cancellation: the server's limits end a transfer as any response; the file closes when the kernel has let go.
/// Limits:       three tries where the kernel cannot tell beneath from outside, as directories are being moved; then
///               503.
///
/// Measured (kernel 6.18, loopback, raw programs on one ring, server CPU per GB): read and send of 64 KiB 0.17 to 0.22
/// s, of 256 KiB 0.16 to 0.19; splice through a pipe of 64 KiB 0.57 to 0.72, of 256 KiB 0.21 to 0.28, of 1 MiB 0.19 to
/// 0.25, and large pipes are few (fs.pipe-user-pages-soft). In a ring a splice is a visit to a kernel worker thread; a
/// read from the page cache is not. So reading is the faster way, needs no descriptor more, and cannot hold a worker
/// up by a slow peer.

#include <skerry/net/http/response.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skerry::net::http {

struct static_options {
  static_options() {}  // no aggregate, which g++ 12 destroys twice in co_await

  std::string index = "index.html";  ///< what a directory answers with; empty: 404
  std::string cache_control;         ///< sent with 200, 206 and 304; empty: not at all
  bool precompressed = true;         ///< look for .br, .zst and .gz
  bool hidden = false;               ///< serve names that begin with a dot
  /// Extensions without their dot, in small letters, and their types; they go before content_type()'s.
  std::vector<std::pair<std::string, std::string>> types;
};

constexpr std::size_t read_whole_max = 16 * 1024;
constexpr std::size_t piece_bytes = 64 * 1024;
constexpr std::chrono::seconds settled{2};

/// The media type of a file, by the extension of its name: html htm css js mjs json map txt md csv xml svg webmanifest
/// wasm pdf png jpg jpeg gif webp avif ico woff woff2 ttf otf mp3 ogg mp4 webm zip gz. Anything else is
/// application/octet-stream, which browsers store and do not show.
std::string_view content_type(std::string_view name) noexcept;

/// Serves what is beneath `root`. Opens it here and now, on the calling shard.
handler static_files(const std::string& root, static_options options = static_options());

}  // namespace skerry::net::http
