// SPDX-License-Identifier: Apache-2.0
// The limit of a server that sends datagrams back: one thread, one blocking socket, one recvmmsg and one sendmmsg for
// all that have come, each answered from where it was received. Nothing shorter exists: a wait and a receive are one
// call (MSG_WAITFORONE), and the kernel's UDP, which every server pays, is nearly all of what remains. Rejected: GRO
// and GSO, which put together only what one peer sent in one go.
//
//     build/release/perf/udp_mmsg PORT      prints "ready" when it has 127.0.0.1:PORT
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <arpa/inet.h>
#include <sys/socket.h>

namespace {

constexpr unsigned batch_max = 64;
constexpr std::size_t bytes_max = 2048;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "udp_mmsg: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

char bytes[batch_max][bytes_max];
iovec pieces[batch_max];
sockaddr_in names[batch_max];
mmsghdr messages[batch_max];

}  // namespace

int main(int argc, char** argv) {
  const int port = argc == 2 ? std::atoi(argv[1]) : 0;
  if (port <= 0 || port > 65535) {
    std::fprintf(stderr, "usage: udp_mmsg PORT\n");
    return 1;
  }
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<std::uint16_t>(port));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) < 0) die("bind");
  for (unsigned i = 0; i < batch_max; ++i) {
    messages[i].msg_hdr.msg_name = &names[i];
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    for (unsigned i = 0; i < batch_max; ++i) {
      pieces[i] = {bytes[i], bytes_max};
      messages[i].msg_hdr.msg_namelen = sizeof names[i];
    }
    const int count = recvmmsg(fd, messages, batch_max, MSG_WAITFORONE, nullptr);
    if (count < 0 && errno != EINTR) die("receive");
    for (int i = 0; i < count; ++i) pieces[i].iov_len = messages[i].msg_len;
    for (int sent = 0; sent < count;) {
      const int more = sendmmsg(fd, messages + sent, static_cast<unsigned>(count - sent), 0);
      sent += more > 0 ? more : 1;  // one that the kernel refuses is lost, as datagrams are
    }
  }
}
