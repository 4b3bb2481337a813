// SPDX-License-Identifier: Apache-2.0
// A user's program that listens to nobody.
#include <skerry/shards/app.hpp>

int main(int argc, char** argv) {
  return skerry::app("silent").run(argc, argv, []() -> skerry::task<> { co_return; });
}
