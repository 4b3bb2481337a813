// SPDX-License-Identifier: Apache-2.0
/// A shard's resources: one of a type, destroyed in reverse order.

#include <skerry/framework/resources.hpp>

#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

namespace skerry {
namespace {

/// Writes its number down when it goes, and what of the others there is then.
template <int Number>
struct numbered {
  numbered(resource_table& of, std::string& out) : table(of), gone(out) {}
  ~numbered() {
    gone += std::to_string(Number);
    gone += table.find<numbered<Number - 1>>() != nullptr ? "<" : "";  // one that it was made with
    gone += table.find<numbered<Number>>() != nullptr ? "=" : "";
    gone += table.find<numbered<Number + 1>>() != nullptr ? ">" : "";
  }
  resource_table& table;
  std::string& gone;
};

void fill(resource_table& table, std::string& gone) {
  table.emplace<numbered<1>>(table, gone);
  table.emplace<numbered<2>>(table, gone);
  table.emplace<numbered<3>>(table, gone);
}

TEST(resources, they_go_in_reverse_order_and_what_was_made_before_is_still_there) {
  std::string gone;
  {
    resource_table table;
    fill(table, gone);
    EXPECT_EQ(table.size(), 3u);
  }
  EXPECT_EQ(gone, "3<2<1");
}

TEST(resources, clear_leaves_the_first_ones) {
  std::string gone;
  resource_table table;
  fill(table, gone);
  table.clear(1);
  EXPECT_EQ(gone, "3<2<");
  EXPECT_NE(table.find<numbered<1>>(), nullptr);
  EXPECT_EQ(table.find<numbered<2>>(), nullptr);
  table.emplace<numbered<2>>(table, gone);
  table.clear();
  EXPECT_EQ(gone, "3<2<2<1");
}

TEST(resources, each_type_has_one) {
  resource_table table;
  EXPECT_EQ(table.find<int>(), nullptr);
  int& made = table.emplace<int>(7);
  table.emplace<long>(8);
  EXPECT_EQ(&table.get<int>(), &made);
  EXPECT_EQ(table.get<int>(), 7);
  EXPECT_EQ(table.get<long>(), 8);
  EXPECT_DEATH(table.emplace<int>(9), "a shard has one resource of a type");
  EXPECT_DEATH(static_cast<void>(table.get<char>()), "this shard has no such resource; emplace it at start-up");
}

struct throwing {
  throwing() { throw std::runtime_error("not now"); }
};

TEST(resources, one_that_could_not_be_made_is_not_there) {
  resource_table table;
  EXPECT_THROW(table.emplace<throwing>(), std::runtime_error);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.find<throwing>(), nullptr);
}

}  // namespace
}  // namespace skerry
