// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/file_system.hpp>
#include <skerry/simulation/detail/watches.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/inotify.h>

namespace skerry::sim::detail {

namespace {

constexpr std::size_t path_max = 4095, name_max = 255;
constexpr std::uint32_t umask_bits = 022;

bool touches(const auto& keys, const auto& entries) {
  return std::ranges::any_of(
      entries, [&](const auto& each) { return keys.contains(std::pair(each.directory->number, each.name)); });
}

void add(auto& keys, const auto& entries) {
  for (const auto& each : entries) keys.emplace(each.directory->number, each.name);
}

}  // namespace

file_system::file_system(draw_source draw, watches& told)
    : draw_(std::move(draw)), told_(told), used_(std::make_shared<std::uint64_t>(0)) {
  root_ = make(inode::directory, 0755);
  root_->parent = root_.get();
  inode_ptr tmp = make(inode::directory, 01777);
  tmp->parent = root_.get();
  tmp->within = root_->number;
  tmp->name = "tmp";
  root_->entries.emplace("tmp", tmp);
  root_->durable.emplace("tmp", tmp);
}

/// Where names became durable in another order than they were given, directories may hold each other.
file_system::~file_system() {
  for (const std::weak_ptr<inode>& each : directories_) {
    if (const inode_ptr directory = each.lock(); directory != nullptr) {
      directory->entries.clear();
      directory->durable.clear();
    }
  }
}

inode_ptr file_system::make(inode::type kind, std::uint32_t mode) {
  auto made = std::make_shared<inode>(numbers_++, kind, mode, used_);
  made->modified = wall;
  if (kind == inode::directory) {
    if (directories_.size() == directories_.capacity())
      std::erase_if(directories_, [](const auto& each) { return each.expired(); });
    directories_.push_back(made);
  }
  return made;
}

int file_system::resolve(inode_ptr at, std::string_view path, std::uint64_t how, place& into) const {
  if (path.empty()) return -ENOENT;
  if (path.size() > path_max) return -ENAMETOOLONG;
  const inode_ptr start = at != nullptr ? at : root_;
  const bool absolute = path.front() == '/';
  if (absolute && (how & RESOLVE_BENEATH) != 0) return -EXDEV;
  at = absolute && (how & RESOLVE_IN_ROOT) == 0 ? root_ : start;
  into = {at, {}, at, path.back() == '/'};
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (name.empty()) continue;
    if (into.found == nullptr) return -ENOENT;
    if (!into.found->is_directory) return -ENOTDIR;
    if (name.size() > name_max) return -ENAMETOOLONG;
    at = into.found;
    into.directory = at;
    into.name.clear();
    if (name == "..") {
      const bool at_top = at == start && (how & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) != 0;
      if (at_top && (how & RESOLVE_BENEATH) != 0) return -EXDEV;
      if (!at->named) return -ENOENT;
      if (!at_top) into.found = into.directory = at->parent->shared_from_this();
    } else if (name != ".") {
      const auto found = at->entries.find(name);
      into.name = name;
      into.found = found != at->entries.end() ? found->second : nullptr;
    }
  }
  if (into.as_directory && into.found != nullptr && !into.found->is_directory) return -ENOTDIR;
  return 0;
}

int file_system::find(const inode_ptr& from, std::string_view path, inode_ptr& found) {
  place at;
  if (const int refused = resolve(from, path, 0, at); refused != 0) return refused;
  found = at.found;
  return found != nullptr ? 0 : -ENOENT;
}

int file_system::open(const inode_ptr& from, std::string_view path, const open_how& how, inode_ptr& found) {
  const auto flags = static_cast<int>(how.flags);
  const bool creates = (flags & O_CREAT) != 0, writes = (flags & O_ACCMODE) != O_RDONLY;
  if ((flags & O_TMPFILE) == O_TMPFILE) return -EOPNOTSUPP;
  if (creates && (flags & O_DIRECTORY) != 0) return -EINVAL;
  if (how.mode != 0 && !creates) return -EINVAL;
  place at;
  if (const int refused = resolve(from, path, how.resolve, at); refused != 0) return refused;
  if (at.found == nullptr) {
    if (!creates) return -ENOENT;
    if (at.as_directory) return -EISDIR;
    if (!at.directory->named) return -ENOENT;
    found = make(inode::file, static_cast<std::uint32_t>(how.mode) & ~umask_bits & 07777);
    happen({{{at.directory, at.name, found}}});
    told_.tell_of_name(*at.directory, at.name, *found, IN_CREATE);
    if ((flags & O_PATH) == 0) told_.tell_both(*found, IN_OPEN);
    return 0;
  }
  if (creates && (flags & O_EXCL) != 0) return -EEXIST;
  found = at.found;
  if ((flags & O_PATH) == 0 && found->is_directory && (creates || writes)) return -EISDIR;
  if ((flags & O_DIRECTORY) != 0 && !found->is_directory) return -ENOTDIR;
  if ((flags & O_PATH) == 0 && found->kind == inode::socket) return -ENXIO;
  if ((flags & O_PATH) != 0) return 0;
  told_.tell_both(*found, IN_OPEN);
  if ((flags & O_TRUNC) != 0 && !found->is_directory && writes) {
    found->content.resize(0);
    found->modified = wall;
    told_.tell_both(*found, IN_MODIFY);
  }
  return 0;
}

int file_system::make_directory(const inode_ptr& from, std::string_view path, std::uint32_t mode) {
  place at;
  if (const int refused = resolve(from, path, 0, at); refused != 0) return refused;
  if (at.found != nullptr) return -EEXIST;
  if (!at.directory->named) return -ENOENT;
  inode_ptr made = make(inode::directory, mode & ~umask_bits & 01777);
  made->parent = at.directory.get();
  happen({{{at.directory, at.name, made}}});
  told_.tell_of_name(*at.directory, at.name, *made, IN_CREATE);
  return 0;
}

int file_system::make_socket(const inode_ptr& from, std::string_view path, std::uint32_t mode, inode_ptr& made) {
  place at;
  if (const int refused = resolve(from, path, 0, at); refused != 0) return refused;
  if (at.found != nullptr) return -EADDRINUSE;
  if (at.as_directory || !at.directory->named) return -ENOENT;
  made = make(inode::socket, mode & ~umask_bits & 0777);
  happen({{{at.directory, at.name, made}}});
  told_.tell_of_name(*at.directory, at.name, *made, IN_CREATE);
  return 0;
}

int file_system::unlink(const inode_ptr& from, std::string_view path, bool directory) {
  place at;
  if (const int refused = resolve(from, path, 0, at); refused != 0) return refused;
  if (at.found == nullptr) return -ENOENT;
  if (at.name.empty()) return directory ? at.found == root_ ? -EBUSY : -EINVAL : -EISDIR;
  if (directory && !at.found->is_directory) return -ENOTDIR;
  if (!directory && at.found->is_directory) return -EISDIR;
  if (!at.found->entries.empty()) return -ENOTEMPTY;
  at.found->named = false;
  happen({{{at.directory, at.name, nullptr}}});
  if (!directory) told_.tell_itself(*at.found, IN_ATTRIB);
  told_.unnamed(*at.found, *at.directory);
  told_.tell_of_name(*at.directory, at.name, *at.found, IN_DELETE);
  return 0;
}

int file_system::rename(const inode_ptr& from, std::string_view old_path, const inode_ptr& to,
                        std::string_view new_path) {
  place old_place, new_place;
  if (const int refused = resolve(from, old_path, 0, old_place); refused != 0) return refused;
  if (const int refused = resolve(to, new_path, 0, new_place); refused != 0) return refused;
  const inode_ptr moved = old_place.found, replaced = new_place.found;
  if (moved == nullptr) return -ENOENT;
  if (old_place.name.empty() || new_place.name.empty()) return -EBUSY;
  if (!new_place.directory->named) return -ENOENT;
  if (moved == replaced) return 0;
  if (!moved->is_directory && (old_place.as_directory || new_place.as_directory)) return -ENOTDIR;
  for (const inode* up = new_place.directory.get(); moved->is_directory; up = up->parent) {
    if (up == moved.get()) return -EINVAL;  // into itself
    if (up == root_.get()) break;
  }
  if (replaced != nullptr) {
    if (moved->is_directory && !replaced->is_directory) return -ENOTDIR;
    if (!moved->is_directory && replaced->is_directory) return -EISDIR;
    if (!replaced->entries.empty()) return -ENOTEMPTY;
    replaced->named = false;
  }
  if (moved->is_directory) moved->parent = new_place.directory.get();
  happen({{{old_place.directory, old_place.name, nullptr}, {new_place.directory, new_place.name, moved}},
          moved->is_directory && old_place.directory != new_place.directory});
  const std::uint32_t cookie = told_.next_cookie();
  told_.tell_of_name(*old_place.directory, old_place.name, *moved, IN_MOVED_FROM, cookie);
  told_.tell_of_name(*new_place.directory, new_place.name, *moved, IN_MOVED_TO, cookie);
  if (replaced != nullptr) told_.tell_itself(*replaced, IN_ATTRIB);
  told_.tell_itself(*moved, IN_MOVE_SELF);
  if (replaced != nullptr) told_.unnamed(*replaced, *new_place.directory);
  return 0;
}

// --- what is durable ---

void file_system::happen(change what) {
  for (const change::entry& each : what.entries) {
    each.directory->modified = wall;
    if (each.becomes != nullptr) {
      each.directory->entries.insert_or_assign(each.name, each.becomes);
      each.becomes->within = each.directory->number;
      each.becomes->name = each.name;
    } else {
      each.directory->entries.erase(each.name);
    }
  }
  log_.push_back(std::move(what));
  if (log_.size() <= log_max && draw_(16) != 0) return;
  make_durable(log_.front());
  log_.pop_front();
}

void file_system::make_durable(const change& what) {
  for (const change::entry& each : what.entries) {
    if (each.becomes != nullptr) {
      each.directory->durable.insert_or_assign(each.name, each.becomes);
    } else {
      each.directory->durable.erase(each.name);
    }
  }
}

/// Every change of this directory, and those without which they could not be.
void file_system::sync_directory(const inode& which) {
  std::vector<bool> chosen(log_.size());
  keys needed;
  bool all = false;
  for (std::size_t i = log_.size(); i-- > 0;) {
    const change& each = log_[i];
    const bool of_it =
        std::ranges::any_of(each.entries, [&](const change::entry& e) { return e.directory.get() == &which; });
    if (!all && !of_it && !touches(needed, each.entries)) continue;
    chosen[i] = true;
    all = all || each.moves_directory;
    add(needed, each.entries);
  }
  std::deque<change> rest;
  for (std::size_t i = 0; i < log_.size(); ++i) {
    if (chosen[i]) {
      make_durable(log_[i]);
    } else {
      rest.push_back(std::move(log_[i]));
    }
  }
  log_ = std::move(rest);
}

void file_system::power_off() {
  // Nothing of it; or all up to some moment, as a journal would have it; or any.
  const std::uint64_t way = draw_(3);
  const std::size_t until = way == 0 ? 0 : way == 1 ? draw_(log_.size() + 1) : log_.size();
  keys lost;
  bool all = true;
  for (std::size_t i = 0; i < until; ++i) {
    const change& each = log_[i];
    const bool can = each.moves_directory ? all : !touches(lost, each.entries);
    if (can && (way == 1 || draw_(2) == 0)) {
      make_durable(each);
    } else {
      all = false;
      add(lost, each.entries);
    }
  }
  log_.clear();
  std::set<std::uint64_t> seen;
  rebuild(root_, seen);
}

/// What can be found from here is as it is on the disk.
void file_system::rebuild(const inode_ptr& directory, std::set<std::uint64_t>& seen) {
  seen.insert(directory->number);
  directory->entries = directory->durable;
  for (const auto& [name, each] : directory->entries) {
    if (!seen.insert(each->number).second) continue;
    each->named = true;
    each->within = directory->number;
    each->name = name;
    if (each->is_directory) {
      each->parent = directory.get();
      rebuild(each, seen);
    } else {
      each->content.power_off(draw_);
      each->failed_syncs = 0;
    }
  }
}

}  // namespace skerry::sim::detail
