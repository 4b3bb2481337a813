// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/disk.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/inotify.h>

namespace skerry::sim::detail {

namespace {

constexpr std::uint64_t direct_unit = file_content::sector_bytes;  // what O_DIRECT wants multiples of
constexpr std::uint64_t block_bytes = 4096;

template <class T>
T* pointer(std::uint64_t address) noexcept {
  return reinterpret_cast<T*>(address);
}

bool readable(const open_file& f) noexcept {
  return (f.flags & (O_ACCMODE | O_PATH)) != O_WRONLY && !(f.flags & O_PATH);
}
bool writable(const open_file& f) noexcept { return (f.flags & O_ACCMODE) != O_RDONLY && !(f.flags & O_PATH); }
bool direct(const open_file& f) noexcept { return (f.flags & O_DIRECT) != 0; }

/// Changes something, so that it may have happened when the power failed.
bool changes(const submission& what) noexcept {
  switch (what.opcode) {
    case IORING_OP_READ:
    case IORING_OP_READ_FIXED:
    case IORING_OP_READV:
    case IORING_OP_STATX: return false;
    default: return true;
  }
}

/// An error of these is more than that nothing has happened.
bool fails_by_itself(const submission& what) noexcept {
  return what.opcode == IORING_OP_FSYNC || what.opcode == IORING_OP_WRITE || what.opcode == IORING_OP_WRITE_FIXED ||
         what.opcode == IORING_OP_WRITEV;
}

bool fits_direct(std::span<const iovec> pieces, std::uint64_t offset) noexcept {
  return offset % direct_unit == 0 && std::ranges::all_of(pieces, [](const iovec& each) {
           return each.iov_len % direct_unit == 0 && reinterpret_cast<std::uintptr_t>(each.iov_base) % direct_unit == 0;
         });
}

std::uint32_t kind_and_mode(const inode& of) noexcept {
  return of.mode | (of.is_directory ? S_IFDIR : of.kind == inode::socket ? S_IFSOCK : S_IFREG);
}

}  // namespace

// --- open files ---

open_file::open_file(disk& on, inode_ptr what, int how)
    : of(on), found(std::move(what)), flags(how), failed_syncs_seen(found->failed_syncs) {}

void open_file::start(request& r) noexcept {
  if (r.is_poll()) return node::start(r);
  of.begin(r, std::static_pointer_cast<open_file>(shared_from_this()));
}

std::uint32_t open_file::events() const noexcept { return found->is_directory ? POLLIN : POLLIN | POLLOUT; }

bool open_file::attempt(request& r) noexcept {
  r.finish(-EOPNOTSUPP);
  return true;
}

/// Where it stands.
long open_file::read_now(msghdr& into, int) {
  if (!readable(*this)) return -EBADF;
  if (found->is_directory) return -EISDIR;
  long all = 0;
  for (const iovec& each : std::span(into.msg_iov, into.msg_iovlen)) {
    const std::string_view bytes = found->content.read(position, each.iov_len);
    if (bytes.empty()) continue;
    std::memcpy(each.iov_base, bytes.data(), bytes.size());
    position += bytes.size();
    all += static_cast<long>(bytes.size());
  }
  if (all > 0) of.watched().tell_both(*found, IN_ACCESS);
  return all;
}

long open_file::write_now(const msghdr& from, int) {
  return of.write({from.msg_iov, from.msg_iovlen}, *this, ~std::uint64_t{0}, false);
}

void open_file::closed() noexcept {
  found->locks.erase(this);
  if ((flags & O_PATH) == 0) of.watched().tell_both(*found, writable(*this) ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
  of.watched().released(*found);
}

/// The watches of its host are gone, too.
void open_file::vanished() noexcept {
  of.watched().power_off();
  closed();
}

long open_file::seek(std::int64_t by, int from) {
  const std::uint64_t start = from == SEEK_CUR ? position : from == SEEK_END ? found->content.size() : 0;
  const std::int64_t to = static_cast<std::int64_t>(start) + by;
  if (to < 0 || (from != SEEK_SET && from != SEEK_CUR && from != SEEK_END)) return -EINVAL;
  position = static_cast<std::uint64_t>(to);
  return to;
}

// --- the queue ---

disk::disk(machine& of) : of_(of), names_([this](std::uint64_t bound) { return in().draw(bound); }, watched_) {}

world& disk::in() const noexcept { return of_.in(); }

void disk::begin(request& r, std::shared_ptr<open_file> on) noexcept {
  const std::uint64_t number = ++numbers_;
  pending_.emplace(number, pending{&r, std::move(on)});
  node::start(r);
  const disk_options& given = in().given().disk;
  in().after(in().between(given.latency_min, given.latency_max),
             [me = std::static_pointer_cast<disk>(shared_from_this()), number] { me->due(number); });
}

void disk::due(std::uint64_t number) {
  const auto found = pending_.find(number);
  if (found == pending_.end()) return;  // cancelled, or the power failed
  const pending now = std::move(found->second);
  pending_.erase(found);
  names_.wall = of_.wall();
  const outcome made = perform(*now.what, now.on.get(), false);
  in().note("disk", now.what->what().opcode, static_cast<std::uint64_t>(made.result));
  forget(*now.what);
  now.what->finish(made.result, made.flags);
}

/// A worker of the kernel's that is at it already goes on.
void disk::cancel(request& r) noexcept {
  if (in().draw(2) == 0) return;
  std::erase_if(pending_, [&](const auto& each) { return each.second.what == &r; });
  node::cancel(r);
}

void disk::power_off() {
  watched_.power_off();
  end_pending(true);
  names_.power_off();
}

void disk::end_pending(bool torn) {
  names_.wall = of_.wall();
  for (auto& [number, each] : std::exchange(pending_, {})) {
    if (changes(each.what->what()) && in().draw(2) == 0) perform(*each.what, each.on.get(), torn);
  }
}

// --- operations ---

disk::outcome disk::perform(request& r, open_file* on, bool torn) {
  const submission& what = r.what();
  if (!fails_by_itself(what) && in().chance(in().given().disk.io_error, "disk_io_error")) return {-EIO};
  const inode_ptr from = on != nullptr ? on->found : nullptr;
  const auto lacks_space = [this] { return in().chance(in().given().disk.full, "disk_full"); };
  switch (what.opcode) {
    case IORING_OP_OPENAT2:
      return {(pointer<open_how>(what.off)->flags & O_CREAT) != 0 && lacks_space() ? -ENOSPC : open(what, from)};
    case IORING_OP_MKDIRAT:
      return {lacks_space() ? -ENOSPC : names_.make_directory(from, pointer<const char>(what.addr), what.len)};
    case IORING_OP_UNLINKAT:
      return {names_.unlink(from, pointer<const char>(what.addr), (what.unlink_flags & AT_REMOVEDIR) != 0)};
    case IORING_OP_RENAMEAT: {
      inode_ptr to;
      if (const int fd = static_cast<int>(what.len); fd != AT_FDCWD) {
        const auto other = std::dynamic_pointer_cast<open_file>(of_.find(fd));
        if (other == nullptr) return {-EBADF};
        to = other->found;
      }
      if (lacks_space()) return {-ENOSPC};
      return {names_.rename(from, pointer<const char>(what.addr), to, pointer<const char>(what.off))};
    }
    case IORING_OP_STATX: return {status(what, on)};
    default: break;
  }
  if (on == nullptr || (on->flags & O_PATH) != 0) return {-EBADF};
  switch (what.opcode) {
    case IORING_OP_READ:
    case IORING_OP_READ_FIXED:
    case IORING_OP_READV: return read(r, *on);
    case IORING_OP_WRITE:
    case IORING_OP_WRITE_FIXED: {
      const iovec all{pointer<void>(what.addr), what.len};
      return {write({&all, 1}, *on, what.off, torn)};
    }
    case IORING_OP_WRITEV: return {write({pointer<const iovec>(what.addr), what.len}, *on, what.off, torn)};
    case IORING_OP_FSYNC: return {sync(*on)};
    case IORING_OP_FALLOCATE: return {allocate(*on, static_cast<int>(what.len), what.off, what.addr)};
    case prepare::op_ftruncate: return {resize_now(*on, what.off)};
    default: return {-EOPNOTSUPP};
  }
}

std::int32_t disk::open_found(int flags, inode_ptr found) {
  const int fd = of_.open(std::make_shared<open_file>(*this, found, flags));
  if (fd < 0) return fd;
  ++found->opened;
  return fd;
}

std::int32_t disk::open(const submission& what, const inode_ptr& from) {
  const auto* how = pointer<const open_how>(what.off);
  if (of_.open_descriptors() >= of_.descriptor_limit()) return -EMFILE;
  inode_ptr found;
  if (const int refused = names_.open(from, pointer<const char>(what.addr), *how, found); refused != 0) return refused;
  return open_found(static_cast<int>(how->flags), std::move(found));
}

disk::outcome disk::read(request& r, open_file& from) {
  const submission& what = r.what();
  if (!readable(from)) return {-EBADF};
  if (from.found->is_directory) return {-EISDIR};
  const bool at_position = what.off == ~std::uint64_t{0};
  const std::uint64_t offset = at_position ? from.position : what.off;
  const bool lent = (what.flags & IOSQE_BUFFER_SELECT) != 0;
  iovec one{pointer<void>(what.addr), what.len};
  std::span<const iovec> pieces(&one, 1);
  if (what.opcode == IORING_OP_READV) pieces = {pointer<const iovec>(what.addr), what.len};
  if (direct(from) && !fits_direct(pieces, offset)) return {-EINVAL};
  std::uint64_t most = 0;
  for (const iovec& each : pieces) most += each.iov_len;
  std::string_view bytes = from.found->content.read(offset, most);
  if (bytes.size() > 1 && in().chance(in().given().system.short_transfer, "short_transfer")) {
    std::uint64_t some = 1 + in().draw(bytes.size());
    if (direct(from)) some = std::max(direct_unit, some / direct_unit * direct_unit);
    bytes = bytes.substr(0, some);
  }
  std::uint32_t flags = 0;
  if (lent && (!bytes.empty() || in().draw(2) == 0)) {  // at the end of a file kernels differ
    std::uint32_t room = 0;
    const int number = r.take_buffer(one.iov_base, room);
    if (number < 0) return {-ENOBUFS};
    flags = IORING_CQE_F_BUFFER | static_cast<std::uint32_t>(number) << IORING_CQE_BUFFER_SHIFT;
    bytes = bytes.substr(0, room);
  }
  std::size_t done = 0;
  for (const iovec& each : pieces) {
    const std::string_view part = bytes.substr(done, each.iov_len);
    if (part.empty()) continue;
    std::memcpy(each.iov_base, part.data(), part.size());
    done += part.size();
  }
  if (at_position) from.position += done;
  if (done != 0) watched_.tell_both(*from.found, IN_ACCESS);
  return {static_cast<std::int32_t>(done), flags};
}

std::uint64_t disk::room() const noexcept {
  const std::uint64_t most = in().given().disk.bytes_max;
  return names_.used() < most ? most - names_.used() : 0;
}

std::int32_t disk::write(std::span<const iovec> pieces, open_file& to, std::uint64_t offset, bool torn) {
  if (!writable(to)) return -EBADF;
  file_content& content = to.found->content;
  const bool at_position = offset == ~std::uint64_t{0};
  if (at_position) offset = to.position;
  if ((to.flags & O_APPEND) != 0) offset = content.size();
  if (direct(to) && !fits_direct(pieces, offset)) return -EINVAL;
  std::string all;
  for (const iovec& each : pieces) all.append(static_cast<const char*>(each.iov_base), each.iov_len);
  if (all.empty()) return 0;
  world& w = in();
  const options& given = w.given();
  if (offset >= given.disk.bytes_max) return -EFBIG;
  int error = 0;
  std::uint64_t bytes = all.size();
  const auto no_more_than = [&](std::uint64_t most, int why) {
    if (most >= bytes) return;
    if (direct(to)) most -= most % direct_unit;
    bytes = most;
    error = why;
  };
  const auto some = [&] { return bytes != 0 ? w.draw(bytes) : 0; };
  no_more_than(given.disk.bytes_max - offset, EFBIG);
  const std::uint64_t held = content.size() > content.allocated() ? content.size() : content.allocated();
  if (content.growth(offset + bytes) > room()) {
    const std::uint64_t end = held + room();
    no_more_than(end > offset ? end - offset : 0, ENOSPC);
  }
  if (offset + bytes > content.allocated() && w.chance(given.disk.full, "disk_full")) no_more_than(some(), ENOSPC);
  const std::uint64_t least = direct(to) ? direct_unit : 1;
  if (bytes > least && w.chance(given.system.short_transfer, "short_transfer"))
    no_more_than(std::max(some(), least), EIO);
  if (torn) no_more_than(some(), EIO);
  const bool failed = bytes != 0 && w.chance(given.disk.io_error, "disk_io_error");
  if (failed) {
    // Into the page cache nothing has gone; past it, who knows.
    no_more_than(direct(to) ? some() : 0, EIO);
  }
  if (bytes != 0) {
    content.write(offset, std::string_view(all).substr(0, bytes));
    to.found->modified = names_.wall;
    if (w.draw(8) == 0) content.some_written_back([&w](std::uint64_t bound) { return w.draw(bound); });
  }
  if (failed) return -EIO;
  if (bytes == 0) return -error;
  if (at_position) to.position = offset + bytes;
  watched_.tell_both(*to.found, IN_MODIFY);
  return static_cast<std::int32_t>(bytes);
}

std::int32_t disk::sync(open_file& of) {
  inode& what = *of.found;
  const bool fails = in().chance(in().given().disk.io_error, "disk_sync_error");
  if (what.is_directory) {
    if (fails) return -EIO;
    names_.sync_directory(what);
    return 0;
  }
  if (fails) {
    what.content.fail_sync([this](std::uint64_t bound) { return in().draw(bound); });
    ++what.failed_syncs;
  } else {
    what.content.sync();
  }
  // Each open file is told once.
  return std::exchange(of.failed_syncs_seen, what.failed_syncs) != what.failed_syncs ? -EIO : 0;
}

std::int32_t disk::allocate(open_file& of, int mode, std::uint64_t offset, std::uint64_t bytes) {
  if (!writable(of)) return -EBADF;
  if (bytes == 0) return -EINVAL;
  file_content& content = of.found->content;
  const std::uint64_t end = offset + bytes;
  if (end > in().given().disk.bytes_max || end < offset) return -EFBIG;
  switch (mode) {
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
      content.zero(offset, bytes);
      content.release_from(offset);
      break;
    case 0:
    case FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_ZERO_RANGE:
      if (content.growth(end) > room() || in().chance(in().given().disk.full, "disk_full")) return -ENOSPC;
      if (mode == FALLOC_FL_ZERO_RANGE) content.zero(offset, bytes);
      if (mode != FALLOC_FL_KEEP_SIZE && end > content.size()) content.resize(end);
      content.allocate(end);
      break;
    default: return -EOPNOTSUPP;
  }
  of.found->modified = names_.wall;
  watched_.tell_both(*of.found, IN_MODIFY);
  return 0;
}

int disk::status(const submission& what, open_file* on) {
  inode_ptr of = on != nullptr ? on->found : nullptr;
  const char* path = pointer<const char>(what.addr);
  if (*path != '\0' || (what.statx_flags & AT_EMPTY_PATH) == 0) {
    if (const int refused = names_.find(of, path, of); refused != 0) return refused;
  }
  if (of == nullptr) {
    if (const int refused = names_.find(nullptr, "/", of); refused != 0) return refused;
  }
  auto& into = *pointer<struct ::statx>(what.off);
  into = {};
  into.stx_mask = STATX_BASIC_STATS;
  into.stx_mode = static_cast<std::uint16_t>(kind_and_mode(*of));
  into.stx_nlink = of->named ? 1 : 0;
  into.stx_ino = of->number;
  into.stx_size = of->content.size();
  into.stx_blksize = block_bytes;
  into.stx_blocks = (of->content.allocated() + 511) / 512;
  const auto since = std::chrono::floor<std::chrono::seconds>(of->modified);
  into.stx_mtime.tv_sec = since.count();
  into.stx_mtime.tv_nsec = static_cast<std::uint32_t>((of->modified - since).count());
  into.stx_atime = into.stx_ctime = into.stx_mtime;
  if ((what.len & STATX_DIOALIGN) != 0 && !of->is_directory) {
    into.stx_mask |= STATX_DIOALIGN;
    into.stx_dio_mem_align = into.stx_dio_offset_align = direct_unit;
  }
  return 0;
}

// --- what is asked for beside the backend ---

int disk::open_now(const char* path, int flags, std::uint32_t mode) {
  names_.wall = of_.wall();
  if (of_.open_descriptors() >= of_.descriptor_limit()) return -EMFILE;
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  inode_ptr found;
  if (const int refused = names_.open(nullptr, path, how, found); refused != 0) return refused;
  return open_found(flags, std::move(found));
}

int disk::resize_now(open_file& of, std::uint64_t size) {
  if (!writable(of) || of.found->is_directory) return -EINVAL;
  file_content& content = of.found->content;
  if (size > in().given().disk.bytes_max) return -EFBIG;
  if (content.growth(size) > room()) return -ENOSPC;
  content.resize(size);
  of.found->modified = names_.wall;
  watched_.tell_both(*of.found, IN_MODIFY, true);
  return 0;
}

int disk::status_now(const inode& of, struct ::stat& into) noexcept {
  into = {};
  into.st_mode = kind_and_mode(of);
  into.st_nlink = of.named ? 1 : 0;
  into.st_ino = of.number;
  into.st_size = static_cast<off_t>(of.content.size());
  into.st_blksize = block_bytes;
  into.st_blocks = static_cast<blkcnt_t>((of.content.allocated() + 511) / 512);
  return 0;
}

int disk::make_socket(const char* path, inode_ptr& made) {
  names_.wall = of_.wall();
  return names_.make_socket(nullptr, path, 0777, made);
}

int disk::unlink_now(const char* path, bool directory) {
  names_.wall = of_.wall();
  return names_.unlink(nullptr, path, directory);
}

int disk::rename_now(const char* from, const char* to) {
  names_.wall = of_.wall();
  return names_.rename(nullptr, from, nullptr, to);
}

int disk::make_directory_now(const char* path, std::uint32_t mode) {
  names_.wall = of_.wall();
  return names_.make_directory(nullptr, path, mode);
}

int disk::lock_now(const open_file& by, int how) {
  std::map<const void*, bool>& locks = by.found->locks;
  const bool alone = (how & LOCK_EX) != 0;
  if ((how & LOCK_UN) != 0) {
    locks.erase(&by);
    return 0;
  }
  const auto free = [&] {
    return std::ranges::none_of(locks, [&](const auto& each) { return each.first != &by && (alone || each.second); });
  };
  if (!free()) {
    if ((how & LOCK_NB) != 0) return -EWOULDBLOCK;
    if (!of_.block_until(free)) return -EINTR;
  }
  locks.insert_or_assign(&by, alone);
  return 0;
}

/// Each name behind the last one that was given, so that what stays comes once, whatever happens to others.
long disk::list_now(open_file& directory, std::byte* into, std::size_t bytes) {
  if (!readable(directory)) return -EBADF;
  if (!directory.found->is_directory) return -ENOTDIR;
  if (in().chance(in().given().system.interrupted, "interrupted")) return -EINTR;
  if (in().chance(in().given().disk.io_error, "disk_io_error")) return -EIO;
  constexpr std::size_t before_name = 19;  // of the kernel's linux_dirent64: inode, place, length, kind
  std::size_t used = 0;
  const auto add = [&](std::string_view name, const inode& what) {
    const std::size_t length = (before_name + name.size() + 1 + 7) / 8 * 8;
    if (used + length > bytes) return false;
    std::byte* entry = into + used;
    std::memset(entry, 0, length);
    const std::uint64_t number = what.number;
    const auto short_length = static_cast<std::uint16_t>(length);
    std::memcpy(entry, &number, sizeof number);
    std::memcpy(entry + 16, &short_length, sizeof short_length);
    entry[18] = static_cast<std::byte>(IFTODT(kind_and_mode(what)));
    std::memcpy(entry + before_name, name.data(), name.size());
    used += length;
    return true;
  };
  for (; directory.listed_dots < 2; ++directory.listed_dots) {
    const bool self = directory.listed_dots == 0;
    const inode& what = self || !directory.found->named ? *directory.found : *directory.found->parent;
    if (!add(self ? "." : "..", what)) return -EINVAL;
  }
  watched_.tell_both(*directory.found, IN_ACCESS);
  const inode::names& all = directory.found->entries;
  for (auto each = all.upper_bound(directory.listed_up_to); each != all.end(); ++each) {
    if (!add(each->first, *each->second)) return used == 0 ? -EINVAL : static_cast<long>(used);
    directory.listed_up_to = each->first;
  }
  return static_cast<long>(used);
}

}  // namespace skerry::sim::detail
