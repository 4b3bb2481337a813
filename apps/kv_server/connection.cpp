// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/resp/parser.hpp>
#include <skerry/shards/call_batch.hpp>

#include <string>
#include <system_error>
#include <vector>

#include <kv_server/command_batch.hpp>
#include <kv_server/connection.hpp>
#include <kv_server/kv_shard.hpp>
#include <kv_server/server_commands.hpp>

namespace kv_server {

using namespace skerry;

namespace {

constexpr std::size_t out_bytes = 32 * 1024;
constexpr std::size_t carry_bytes_kept = 16 * 1024;

class connection {
 public:
  explicit connection(net::stream client)
      : client_(std::move(client)),
        settings_(resource<server_settings>()),
        here_(resource<kv_shard>()),
        parser_(limits_for(settings_)),
        batch_(std::make_unique<command_batch>(shard_count())),
        remote_(shard_count()) {
    ++here_.connections;
    state_.id = (++resource<client_ids>().last * shard_count()) + this_shard_id();
  }
  ~connection() {
    --here_.connections;
    return_pins(std::move(batch_));
  }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  task<> run() {
    while (!state_.closing) {
      buffer bytes = co_await client_.read();
      if (bytes.empty()) co_return;
      std::span<char> window(reinterpret_cast<char*>(bytes.data()), bytes.size());
      if (!carry_.empty()) {
        carry_.append(window.data(), window.size());
        bytes = buffer();
        window = carry_;
      }
      bool more = true;
      while (more && !state_.closing) more = co_await run_batch(window);
      keep(window);
    }
    co_await client_.flush();
  }

 private:
  static net::resp::request_limits limits_for(const server_settings& settings) {
    net::resp::request_limits limits;
    // One command never holds more than the server may.
    auto most = static_cast<std::uint32_t>(std::min<std::uint64_t>(limits.command_bytes_max, settings.memory_max));
    limits.command_bytes_max = std::max<std::uint32_t>(most, 1 << 20);
    return limits;
  }

  /// Runs the commands at the front of `window` and drops them from it. True when there may be more.
  task<bool> run_batch(std::span<char>& window) {
    using net::resp::verdict;
    command_batch& batch = *batch_;
    batch.clear();
    verdict seen = verdict::need_more;
    while (!batch.full() && !batch.barrier()) {
      seen = parser_.parse(window, batch.arguments());
      window = window.subspan(parser_.consumed());
      if (seen != verdict::command) break;
      batch.add(settings_.hash_seed, [](std::uint64_t hash) { return shard_of(hash); });
    }
    if (batch.commands() != 0) co_await answer();
    if (batch.barrier()) {
      const parsed_command& alone = *batch.barrier();
      if (alone.info->route == routing::local) {
        execute_local(state_, facts(), *alone.info, alone.args, out_);
      } else {
        co_await execute_on_all_shards(*alone.info, alone.args, settings_, out_);
      }
      ++here_.commands;
      co_await send_out();
    }
    if (seen == verdict::protocol_error) {
      net::resp::write_error(out_, "ERR " + parser_.error_text());
      co_await send_out();
      state_.closing = true;
    }
    co_return seen == verdict::command;
  }

  task<> answer() {
    command_batch& batch = *batch_;
    while (true) {
      co_await execute_slices();
      auto state = batch.assemble(state_, facts(), out_, out_bytes);
      while (state == command_batch::assembly::out_full || state == command_batch::assembly::value) {
        co_await send_out();
        if (state == command_batch::assembly::value) co_await client_.write(batch.borrowed_value());
        state = batch.assemble(state_, facts(), out_, out_bytes);
      }
      if (state == command_batch::assembly::finished) break;
    }
    co_await send_out();
    co_await release_pins();
  }

  /// One message per other shard, all at once; this shard's own part meanwhile.
  task<> execute_slices() {
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

  task<> release_pins() {
    for (std::uint32_t shard : batch_->shards()) {
      batch_slice& slice = batch_->slice(shard);
      if (!slice.has_pins()) continue;
      co_await submit_to(
          shard, [](borrowed<batch_slice> lent) { lent->release_pins(resource<kv_shard>().keys()); }, borrowed(slice));
    }
  }

  task<> send_out() {
    if (out_.empty()) co_return;
    std::span<const std::byte> bytes = std::as_bytes(std::span(out_.data(), out_.size()));
    bytes = bytes.subspan(client_.try_write(bytes));
    if (!bytes.empty()) co_await client_.write(bytes);
    out_.clear();
  }

  /// What is left is the beginning of a command: kept until the rest comes.
  void keep(std::span<char> window) {
    if (window.empty()) {
      carry_.clear();
      if (carry_.capacity() > carry_bytes_kept) carry_ = std::string();
    } else if (carry_.empty()) {
      carry_.assign(window.data(), window.size());
    } else {
      carry_.erase(0, carry_.size() - window.size());
    }
  }

  server_facts facts() const noexcept { return {settings_.memory_max}; }

  struct execute_slice {
    void operator()(borrowed<batch_slice> slice) const { resource<kv_shard>().execute(*slice); }
  };

  net::stream client_;
  const server_settings& settings_;
  kv_shard& here_;
  client_state state_;
  net::resp::request_parser parser_;
  std::unique_ptr<command_batch> batch_;
  call_batch<execute_slice, borrowed<batch_slice>> remote_;
  reply_buffer out_{out_bytes};
  std::string carry_;
};

}  // namespace

task<> serve(net::stream client) {
  try {
    connection served(std::move(client));
    co_await served.run();
  } catch (const std::system_error& broken) {
    log::debug("connection: {}", broken.what());
  }
}

}  // namespace kv_server
