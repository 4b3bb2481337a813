// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/address.hpp>

#include <cstring>
#include <string>

#include <gtest/gtest.h>

namespace skerry::net {
namespace {

TEST(address, text_and_parse_are_each_other_s_inverse) {
  for (const std::string text :
       {"127.0.0.1:80", "0.0.0.0:0", "[::1]:65535", "[fe80::1%lo]:9", "unix:/run/a b", "unix:x", "unix:@name"}) {
    const auto parsed = address::parse(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->text(), text);
  }
}

TEST(address, what_is_no_address_with_a_port_gives_nothing) {
  for (const char* text :
       {"", "127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8x", "::1:80",
        "[127.0.0.1]:80", "[::1]", "localhost:80", "[fe80::1%no such interface]:80", "[::1%]:80", "unix:", "unix:@"}) {
    EXPECT_FALSE(address::parse(text)) << text;
  }
}

TEST(address, a_zone_is_the_name_or_number_of_an_interface) {
  const auto by_name = address::parse("fe80::1%lo", 80);
  const auto by_number = address::parse("fe80::1%1", 80);
  ASSERT_TRUE(by_name && by_number);
  EXPECT_EQ(by_name->text(), by_number->text());
  EXPECT_FALSE(address::parse("127.0.0.1%lo", 80));
}

TEST(address, a_unix_socket_has_a_path_or_an_abstract_name_of_at_most_107_bytes_and_no_port) {
  const auto file = address::unix_socket("/run/skerry.sock");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->path(), "/run/skerry.sock");
  EXPECT_EQ(file->port(), 0);
  const auto abstract = address::unix_socket("@skerry");
  ASSERT_TRUE(abstract);
  EXPECT_EQ(abstract->path(), "");
  EXPECT_TRUE(address::unix_socket(std::string(107, 'x')));
  EXPECT_FALSE(address::unix_socket(std::string(108, 'x')));
  EXPECT_FALSE(address::unix_socket(std::string("a\0b", 3)));
  EXPECT_EQ(file->family(), AF_UNIX);
}

TEST(address, what_the_kernel_gives_of_a_unix_socket_is_the_name_it_was_bound_to) {
  for (const std::string text : {"unix:/run/skerry.sock", "unix:@name", "unix:relative"}) {
    const address given = *address::parse(text);
    sockaddr_storage storage{};
    std::memcpy(&storage, given.data(), given.size());
    EXPECT_EQ(address::from_kernel(&storage, given.size()).text(), text);
  }
  sockaddr_storage nameless{};
  nameless.ss_family = AF_UNIX;
  EXPECT_EQ(address::from_kernel(&nameless, sizeof(sa_family_t)).text(), "unix:");
}

}  // namespace
}  // namespace skerry::net
