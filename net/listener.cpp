// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <memory>

namespace skerry::net {

listener::listener(const address& at, in_drain how)
    : acceptor_(new acceptor(
          this_endpoints(),
          at.is_unix() ? listen_on_path(at, backlog) : listening_socket(make_listening_socket(at, backlog)), how)) {}

listener::listener(unique_fd listening, in_drain how) : acceptor_(nullptr) {
  require_listening(listening.get());
  set_non_blocking(listening.get());
  set_no_delay(listening.get());  // accepted sockets inherit it
  acceptor_ = new acceptor(this_endpoints(), listening_socket(std::move(listening)), how);
}

namespace detail {

namespace {

struct tasks_aside {
  scope tasks;
};

scope& aside_here() {
  auto* found = resources().find<tasks_aside>();
  return (found != nullptr ? *found : resources().emplace<tasks_aside>()).tasks;
}

class end_of_tasks_aside final : public service {
 public:
  task<> stop() override {
    auto end_here = []() -> task<> {
      aside_here().cancel();
      co_await aside_here().until_empty();
    };
    return skerry::detail::call_everywhere(skerry::detail::handler_scope::control, end_here);
  }
};

}  // namespace

scope& scope_of(in_drain how) { return how == in_drain::finishes ? *this_shard().root : aside_here(); }

void log_listening(const address& at) { log::info("listening on {}", at.text()); }

void end_tasks_aside_with_app() { this_assembled_shard().add_service(std::make_unique<end_of_tasks_aside>()); }

task<> until_port_is_free(address at) {
  // A process that was killed keeps its port until the kernel has taken its rings apart: 20 ms, 500 on a busy machine.
  for (int tries = 0; port_in_use(at) && tries < 100; ++tries) co_await sleep_for(std::chrono::milliseconds(10));
  require_free_port(at);
}

}  // namespace detail

}  // namespace skerry::net
