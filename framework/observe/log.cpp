// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/clock.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/observe/log_writer.hpp>

#include <algorithm>
#include <array>
#include <exception>
#include <string>

#include <fmt/format.h>

namespace skerry::detail {

constinit task_name_hook current_task_name = nullptr;
constinit std::atomic<log_writer*> other_threads_log = nullptr;

namespace {

using message_bytes = std::array<char, log_message_max>;

// Formats without allocating; remembers how much did not fit.
void format_message(message_bytes& bytes, log_record& record, fmt::string_view format, fmt::format_args args) {
  const auto result = fmt::vformat_to_n(bytes.data(), bytes.size(), format, args);
  const std::size_t kept = std::min(result.size, bytes.size());
  record.message = {bytes.data(), kept};
  record.cut = result.size - kept;
}

void describe_failure(message_bytes& bytes, log_record& record, fmt::string_view format, const char* what) noexcept {
  try {
    format_message(bytes, record, "this line cannot be formatted ({}): {}", fmt::make_format_args(what, format));
  } catch (...) {
    record.message = "this line cannot be formatted";
  }
}

void write_elsewhere(const log_record& record) noexcept {
  if (log_writer* writer = other_threads_log.load()) {
    writer->write_now(record);
    return;
  }
  try {
    std::string line;
    append_line(line, record, log_settings().format);
    descriptor_sink(2).write(line);
  } catch (const std::exception&) {
    // No memory for a line: there is nowhere left to say so.
  }
}

}  // namespace

bool other_thread_log_enabled(log_level level) noexcept {
  const log_writer* writer = other_threads_log.load();
  return level >= (writer != nullptr ? writer->settings().level : log_settings().level);
}

void log_line(log_level level, fmt::string_view format, fmt::format_args args) noexcept {
  SKERRY_ASSERT(level < log_level::off, "no line has the level off");
  const shard_core* shard = current_shard;
  message_bytes bytes;
  log_record record{.wall = clock::wall(), .level = level};
  try {
    format_message(bytes, record, format, args);
  } catch (const std::exception& failure) {
    describe_failure(bytes, record, format, failure.what());
  } catch (...) {
    describe_failure(bytes, record, format, "an exception of an unknown type");
  }
  if (shard == nullptr) return write_elsewhere(record);
  record.shard = shard->id;
  if (current_task_name != nullptr) record.task = current_task_name().substr(0, log_task_max);
  if (shard->log == nullptr) return write_elsewhere(record);
  shard->log->writer().submit(*shard->log, record);
}

}  // namespace skerry::detail
