// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/submit_to.hpp>

#include <algorithm>

#include <kv_server/connection.hpp>
#include <kv_server/server_commands.hpp>
#include <kv_server/session.hpp>

namespace kv_server {

using namespace skerry;
using net::resp::verdict;

namespace {

// A view and a piece of work with its place in the order, each in a vector that may have doubled.
constexpr std::size_t bytes_per_argument = 2 * (sizeof(std::string_view) + sizeof(piece) + sizeof(std::uint32_t));

net::resp::request_limits limits_for(const kv_shard& here) {
  net::resp::request_limits limits;
  // What could never be held to its end is refused at its first line.
  limits.command_bytes_max =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(limits.command_bytes_max, here.input_max));
  return limits;
}

}  // namespace

session::session()
    : settings_(resource<server_settings>()),
      here_(resource<kv_shard>()),
      parser_(limits_for(here_)),
      batch_(std::make_unique<command_batch>(shard_count())),
      remote_(shard_count()) {}

session::~session() {
  charge_input(0);
  return_pins(std::move(batch_));
}

task<> session::run(net::stream& client, client_state& state) {
  buffer bytes = co_await client.read();
  if (bytes.empty()) {
    state.closing = true;
    co_return;
  }
  std::span<char> window(reinterpret_cast<char*>(bytes.data()), bytes.size());
  if (!unfinished_.empty()) {
    if (!append_unfinished(window)) {
      net::resp::write_error(out_, error_out_of_memory);
      co_await send_out(client);
      state.closing = true;
      co_return;
    }
    bytes = buffer();
    window = unfinished_;
  }
  bool more = true;
  while (more && !state.closing) more = co_await run_batch(client, state, window);
  keep_unfinished(window);
  batch_->clear();
}

/// Runs the commands at the front of `window` and drops them from it. True when there may be more.
task<bool> session::run_batch(net::stream& client, client_state& state, std::span<char>& window) {
  command_batch& batch = *batch_;
  batch.clear();
  verdict seen = verdict::need_more;
  while (!batch.full() && !batch.barrier()) {
    seen = parser_.parse(window, batch.arguments());
    window = window.subspan(parser_.consumed());
    if (seen != verdict::command) break;
    batch.add(settings_.hash_seed, [](std::uint64_t hash) { return shard_of(hash); });
  }
  if (batch.commands() != 0) co_await answer(client, state);
  if (batch.barrier()) {
    const parsed_command& alone = *batch.barrier();
    if (alone.info->route == routing::local) {
      execute_local(state, facts(), *alone.info, alone.args, out_);
    } else {
      co_await execute_on_all_shards(*alone.info, alone.args, settings_, out_);
    }
    ++here_.commands;
    co_await send_out(client);
  }
  if (seen == verdict::protocol_error) {
    net::resp::write_error(out_, "ERR " + parser_.error_text());
    co_await send_out(client);
    state.closing = true;
  }
  co_return seen == verdict::command;
}

task<> session::answer(net::stream& client, client_state& state) {
  command_batch& batch = *batch_;
  while (true) {
    co_await execute_slices();
    auto reached = batch.assemble(state, facts(), out_, out_bytes);
    while (reached == command_batch::assembly::out_full || reached == command_batch::assembly::value) {
      co_await send_out(client);
      if (reached == command_batch::assembly::value) co_await client.write(batch.borrowed_value());
      reached = batch.assemble(state, facts(), out_, out_bytes);
    }
    if (reached == command_batch::assembly::finished) break;
    co_await maybe_yield();  // a command of a million keys is executed a slice at a time
  }
  co_await send_out(client);
  co_await release_pins();
}

/// One message per other shard, all at once; this shard's own part meanwhile.
task<> session::execute_slices() {
  command_batch& batch = *batch_;
  bool local = false;
  for (std::uint32_t shard : batch.shards()) {
    batch_slice& slice = batch.slice(shard);
    if (!slice.needs_execution()) continue;
    if (shard == this_shard_id()) {
      local = true;
    } else {
      remote_.add(shard, execute_slice{}, borrowed(slice));
    }
  }
  if (local) here_.execute(batch.slice(this_shard_id()));
  if (remote_.size() != 0) {
    co_await remote_.all();
    for (std::size_t i = 0; i < remote_.size(); ++i) remote_.take(i);
    remote_.clear();
  }
}

task<> session::release_pins() {
  for (std::uint32_t shard : batch_->shards()) {
    batch_slice& slice = batch_->slice(shard);
    if (!slice.has_pins()) continue;
    co_await submit_to(
        shard, [](borrowed<batch_slice> lent) { lent->release_pins(resource<kv_shard>().keys()); }, borrowed(slice));
  }
}

task<> session::send_out(net::stream& client) {
  if (out_.empty()) co_return;
  std::span<const std::byte> bytes = std::as_bytes(std::span(out_.data(), out_.size()));
  bytes = bytes.subspan(client.try_write(bytes));
  if (!bytes.empty()) co_await client.write(bytes);
  out_.clear();
}

/// False when the shard has no room for it.
bool session::append_unfinished(std::span<const char> more) {
  const std::size_t size = unfinished_.size() + more.size();
  std::size_t capacity = unfinished_.capacity();
  // Doubles, but not past what the command says it needs.
  if (size > capacity) capacity = std::clamp(parser_.window_wanted(), size, std::max(size, 2 * capacity));
  if (!charge_input(capacity + parser_.arguments_held() * bytes_per_argument)) return false;
  unfinished_.reserve(capacity);
  unfinished_.append(more.data(), more.size());
  return true;
}

/// What is left is the beginning of a command.
void session::keep_unfinished(std::span<char> window) {
  if (window.empty()) {
    unfinished_.clear();
    if (unfinished_.capacity() > input_free_bytes) std::string().swap(unfinished_);
    charge_input(0);
  } else if (unfinished_.empty()) {
    unfinished_.assign(window.data(), window.size());
  } else {
    unfinished_.erase(0, unfinished_.size() - window.size());
  }
}

/// Makes `bytes` what this session holds of the shard's room for input; false and no change when there is not so much.
bool session::charge_input(std::size_t bytes) noexcept {
  bytes -= std::min(bytes, input_free_bytes);
  const std::uint64_t held = here_.input_held - input_charged_ + bytes;
  if (held > here_.input_max && bytes > input_charged_) return false;
  here_.input_held = held;
  input_charged_ = bytes;
  return true;
}

server_facts session::facts() const noexcept { return {settings_.memory_max}; }

}  // namespace kv_server
