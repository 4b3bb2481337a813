// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/clock.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/observe/log_writer.hpp>

#include <algorithm>
#include <array>
#include <exception>

#include <fmt/format.h>

namespace skerry::detail {

constinit task_name_hook current_task_name = nullptr;
constinit std::atomic<log_writer*> other_threads_log = nullptr;

bool other_thread_log_enabled(log_level level) noexcept {
  const log_writer* writer = other_threads_log.load();
  return level >= (writer != nullptr ? writer->settings().level : log_settings().level);
}

void log_line(log_level level, fmt::string_view format, fmt::format_args args) noexcept {
  SKERRY_ASSERT(level < log_level::off, "no line has the level off");
  std::array<char, log_message_max> bytes;
  log_record record{.wall = clock::wall(), .level = level};
  const auto fill = [&](fmt::string_view text, fmt::format_args with) {  // allocates nothing
    const auto result = fmt::vformat_to_n(bytes.data(), bytes.size(), text, with);
    record.message = {bytes.data(), std::min(result.size, bytes.size())};
    record.cut = result.size - record.message.size();
  };
  const auto fail = [&](const char* what) {
    fill("this line cannot be formatted ({}): {}", fmt::make_format_args(what, format));
  };
  try {
    fill(format, args);
  } catch (const std::exception& failure) {
    fail(failure.what());
  } catch (...) {
    fail("an exception of an unknown type");
  }
  if (const shard_core* shard = current_shard) {
    record.shard = shard->id;
    if (current_task_name != nullptr) record.task = current_task_name().substr(0, log_task_max);
    if (shard->log != nullptr) return shard->log->writer().submit(*shard->log, record);
  }
  if (log_writer* writer = other_threads_log.load()) return writer->write_now(record);
  log_writer().write_now(record);
}

}  // namespace skerry::detail
