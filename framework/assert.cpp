// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>

#include <cstdio>
#include <cstdlib>

#include <unistd.h>

namespace skerry::detail {

constinit assert_context describe_assert_context = nullptr;

void assert_failed(const char* condition, const char* what, const char* file, int line) noexcept {
  char context[256] = "";
  if (describe_assert_context != nullptr) describe_assert_context(context, sizeof context);
  char text[1024];
  int length = std::snprintf(text, sizeof text, "skerry: assertion failed: %s: %s\n  at %s:%d%s\n", condition, what,
                             file, line, context);
  if (length > static_cast<int>(sizeof text)) length = sizeof text;
  [[maybe_unused]] auto written = ::write(2, text, static_cast<unsigned>(length));
  std::abort();
}

}  // namespace skerry::detail
