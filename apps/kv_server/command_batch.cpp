// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <kv_server/command_batch.hpp>

namespace kv_server {
namespace {

/// What a batch keeps between pipelines; a pipeline of ordinary size fits, one of a million arguments is given back.
constexpr std::size_t arguments_kept = 8192;
constexpr std::size_t pieces_kept = 2048;

template <class T>
void empty_and_trim(std::vector<T>& items, std::size_t kept) noexcept {
  items.clear();
  if (items.capacity() > kept) std::vector<T>().swap(items);
}

}  // namespace

// On the shard that has the keys.

std::size_t batch_slice::execute(keyspace& keys, std::uint64_t now_ms, std::size_t reply_bytes_max) {
  // Enough to overlap cache misses, few enough that what was fetched is still there when its turn comes.
  constexpr std::size_t ahead = 16;
  // As many as a batch of ordinary commands has; one of a million keys goes in many rounds, and others get a turn.
  constexpr std::size_t pieces_at_once = command_batch::pieces_max;
  SKERRY_ASSERT(needs_execution(), "a slice travels only while it has work and nobody waits for its replies");
  replies_.clear();
  reply_begin_ = 0;
  const std::size_t begin = executed_;
  std::size_t fetched = begin;
  do {
    if (executed_ == fetched) {
      const std::size_t end = std::min(fetched + ahead, pieces_.size());
      for (std::size_t i = fetched; i < end; ++i) keys.prefetch_bucket(pieces_[i].hash);
      for (std::size_t i = fetched; i < end; ++i) keys.prefetch_entry(pieces_[i].hash);
      fetched = end;
    }
    piece& p = pieces_[executed_];
    const std::span<const std::string_view> args(arguments_->data() + p.argument, p.arguments);
    if (p.info->route == routing::single_key) {
      kv_server::execute(keys, *p.info, args, p.hash, now_ms, replies_, &p.pinned);
    } else {
      p.done_well = execute_piece(keys, *p.info, args, p.hash, now_ms, replies_, &p.pinned);
    }
    if (p.pinned.value != nullptr) ++pins_;
    p.reply_end = static_cast<std::uint32_t>(replies_.size());
    ++executed_;
  } while (!done() && replies_.size() <= reply_bytes_max && executed_ - begin < pieces_at_once);
  return executed_ - begin;
}

void batch_slice::release_pins(keyspace& keys) noexcept {
  for (std::size_t i = 0; i < executed_ && pins_ > 0; ++i) {
    if (pieces_[i].pinned.value == nullptr) continue;
    keys.unpin(pieces_[i].pinned.value);
    pieces_[i].pinned = {};
    --pins_;
  }
  SKERRY_ASSERT(pins_ == 0, "a pin was counted that no piece has");
}

// On the connection's shard.

command_batch::command_batch(std::uint32_t shard_count) : slices_(shard_count) {
  SKERRY_ASSERT(shard_count > 0, "there is at least one shard");
  for (std::uint32_t shard = 0; shard < shard_count; ++shard) {
    slices_[shard].shard_ = shard;
    slices_[shard].arguments_ = &arguments_;
  }
}

parsed_command command_batch::begin_add() {
  SKERRY_ASSERT(!barrier_, "nothing may be added behind a barrier");
  const std::size_t first = commands_.empty() ? 0 : commands_.back().argument + commands_.back().arguments;
  SKERRY_ASSERT(arguments_.size() > first, "a command has at least its name");
  const std::span<const std::string_view> args(arguments_.data() + first, arguments_.size() - first);
  return {find_command(args[0]), args};
}

void command_batch::finish_add(const command_info* info, std::uint32_t first, std::uint32_t pieces,
                               bool answered_here) {
  commands_.push_back({info, first, static_cast<std::uint32_t>(arguments_.size()) - first, pieces, answered_here});
}

void command_batch::add_piece(std::uint32_t shard, const piece& work) {
  SKERRY_ASSERT(shard < slices_.size(), "a key's shard is one of those the batch was made for");
  batch_slice& slice = slices_[shard];
  if (slice.pieces_.empty()) active_.push_back(shard);
  slice.pieces_.push_back(work);
  order_.push_back(shard);
}

std::span<const std::string_view> command_batch::arguments_of(const command& c) const noexcept {
  return {arguments_.data() + c.argument, c.arguments};
}

command_batch::assembly command_batch::assemble(client_state& client, const server_facts& server, reply_buffer& out,
                                                std::size_t out_max) {
  if (line_end_due_) {
    out.append("\r\n", 2);
    line_end_due_ = false;
    borrowed_ = {};
  }
  while (next_command_ < commands_.size()) {
    const command& c = commands_[next_command_];
    if (out.size() >= out_max) return assembly::out_full;
    if (c.answered_here) {
      if (lend_argument(c, out)) {
        ++next_command_;
        return assembly::value;
      }
      answer_here(c, client, server, out);
    } else {
      for (; piece_of_command_ < c.pieces;) {
        const batch_slice& slice = slices_[order_[next_piece_]];
        if (slice.assembled_ == slice.executed_) return assembly::waiting;
        if (out.size() >= out_max) return assembly::out_full;
        if (assemble_piece(c, out)) return assembly::value;
      }
      finish_command(c, out);
    }
    ++next_command_;
    piece_of_command_ = 0;
    counted_ = 0;
  }
  return assembly::finished;
}

void command_batch::answer_here(const command& c, client_state& client, const server_facts& server, reply_buffer& out) {
  const auto args = arguments_of(c);
  if (c.info == nullptr) return write_unknown_command(out, args);
  if (!takes(*c.info, args.size())) return write_wrong_arity(out, c.info->name);
  execute_local(client, server, *c.info, args, out);
}

/// ECHO and PING give a long argument back from where it lies, for a client need not read; true if it must follow.
bool command_batch::lend_argument(const command& c, reply_buffer& out) {
  const auto args = arguments_of(c);
  const bool echoes = c.info != nullptr && (c.info->id == command_id::echo || c.info->id == command_id::ping);
  if (!echoes || args.size() != 2 || args[1].size() <= keyspace::large_value_min) return false;
  skerry::net::resp::write_bulk_header(out, args[1].size());
  borrowed_ = args[1];
  line_end_due_ = true;
  return true;
}

/// Appends the next piece's reply; true if a borrowed value must follow it.
bool command_batch::assemble_piece(const command& c, reply_buffer& out) {
  batch_slice& slice = slices_[order_[next_piece_]];
  const piece& p = slice.pieces_[slice.assembled_];
  SKERRY_ASSERT(p.info == c.info, "pieces are assembled in the order they were sent");
  if (piece_of_command_ == 0 && c.info->id == command_id::mget) skerry::net::resp::write_array_header(out, c.pieces);
  out.append(slice.replies_.view().substr(slice.reply_begin_, p.reply_end - slice.reply_begin_));
  slice.reply_begin_ = p.reply_end;
  counted_ += p.done_well ? 1 : 0;
  ++slice.assembled_;
  ++next_piece_;
  ++piece_of_command_;
  if (p.pinned.value == nullptr) return false;
  borrowed_ = {p.pinned.value->data(), p.pinned.size};
  line_end_due_ = true;
  return true;
}

void command_batch::finish_command(const command& c, reply_buffer& out) {
  switch (c.info->id) {
    case command_id::del:
    case command_id::exists: return skerry::net::resp::write_integer(out, counted_);
    case command_id::mset:
      if (counted_ == c.pieces) return skerry::net::resp::write_ok(out);
      return skerry::net::resp::write_error(out, error_out_of_memory);
    default: return;
  }
}

void command_batch::clear() noexcept {
  for (std::uint32_t shard : active_) {
    batch_slice& slice = slices_[shard];
    SKERRY_ASSERT(!slice.has_pins(), "a slice with pinned values goes back to its shard before the batch is cleared");
    empty_and_trim(slice.pieces_, pieces_kept);
    slice.replies_.clear();
    slice.executed_ = 0;
    slice.assembled_ = 0;
    slice.reply_begin_ = 0;
  }
  active_.clear();
  empty_and_trim(arguments_, arguments_kept);
  empty_and_trim(commands_, pieces_kept);
  empty_and_trim(order_, pieces_kept);
  barrier_.reset();
  next_command_ = 0;
  next_piece_ = 0;
  piece_of_command_ = 0;
  counted_ = 0;
  line_end_due_ = false;
  borrowed_ = {};
}

}  // namespace kv_server
