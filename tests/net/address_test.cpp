// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/address.hpp>

#include <string>

#include <gtest/gtest.h>

namespace skerry::net {
namespace {

TEST(address, text_and_parse_are_each_other_s_inverse) {
  for (const std::string text : {"127.0.0.1:80", "0.0.0.0:0", "[::1]:65535", "[fe80::1%lo]:9"}) {
    const auto parsed = address::parse(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->text(), text);
  }
}

TEST(address, what_is_no_address_with_a_port_gives_nothing) {
  for (const char* text :
       {"", "127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8x", "::1:80",
        "[127.0.0.1]:80", "[::1]", "localhost:80", "[fe80::1%no such interface]:80", "[::1%]:80"}) {
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

}  // namespace
}  // namespace skerry::net
