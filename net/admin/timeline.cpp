// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/admin/timeline.hpp>

#include <algorithm>
#include <iterator>

#include <fmt/core.h>

namespace skerry::net::admin {

using observe::trace_event;
using observe::trace_kind;

void timeline::append_name(std::string& out) const {
  fmt::format_to(std::back_inserter(out),
                 R"({{"ph":"M","pid":1,"tid":{0},"name":"thread_name","args":{{"name":"shard {0}"}}}},)"
                 "\n",
                 shard_);
}

void timeline::append(std::string& out, std::span<const trace_event> events) {
  for (const trace_event& each : events) {
    last_ns_ = std::max(each.time_ns, last_ns_ + 1);
    const auto put = [&]<class... Args>(const char* phase, fmt::format_string<Args...> rest, Args&&... args) {
      fmt::format_to(std::back_inserter(out), R"({{"ph":"{}","pid":1,"tid":{},"ts":{}.{:03},)", phase, shard_,
                     last_ns_ / 1000, last_ns_ % 1000);
      fmt::format_to(std::back_inserter(out), rest, std::forward<Args>(args)...);
      out += "},\n";
    };
    switch (each.kind) {
      case trace_kind::task_begin:
        open_task_ = each.a;
        put("B", R"("name":"task {}","cat":"task")", each.a);
        break;
      case trace_kind::task_end:
        // The begin of the first step may have been overwritten.
        if (open_task_ == each.a) put("E", R"("name":"task {}")", each.a);
        open_task_ = 0;
        break;
      // An arrow is named by its sender and number; a reply's by the same and "back".
      case trace_kind::message_sent:
        put("i", R"("name":"send to {}","cat":"message","s":"t")", each.arg);
        put("s", R"("name":"message","cat":"message","id":"{}:{}")", shard_, each.a);
        break;
      case trace_kind::message_begin:
        put("i", R"("name":"from {}","cat":"message","s":"t")", each.arg);
        put("f", R"("name":"message","cat":"message","bp":"e","id":"{}:{}")", each.arg, each.a);
        break;
      case trace_kind::message_end:
        put("s", R"("name":"reply","cat":"message","id":"{}:{}:back")", each.arg, each.a);
        break;
      case trace_kind::message_reply:
        put("i", R"("name":"reply from {}","cat":"message","s":"t")", each.arg);
        put("f", R"("name":"reply","cat":"message","bp":"e","id":"{}:{}:back")", shard_, each.a);
        break;
      case trace_kind::completion:
        put("i", R"("name":"completion","cat":"io","s":"t","args":{{"operation":{},"result":{}}})", each.arg,
            static_cast<std::int64_t>(each.b));
        break;
      case trace_kind::timer: put("i", R"("name":"timer","cat":"timer","s":"t")"); break;
      default:
        put("i", R"("name":"event {}","cat":"program","s":"t","args":{{"a":{},"b":{}}})",
            static_cast<std::uint32_t>(each.kind), each.a, each.b);
    }
  }
}

}  // namespace skerry::net::admin
