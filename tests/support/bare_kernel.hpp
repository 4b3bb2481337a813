// SPDX-License-Identifier: Apache-2.0
#pragma once

/// bare_kernel: one backend without a shard above it, for tests of the seam itself, which run on each kernel backend.
///
///     bare_kernel kernel(GetParam());
///     request r;
///     prepare::poll(kernel.submit(r), fd, POLLIN);
///     kernel.until([&] { return r.ended(); });
///
/// Affinity: the thread of the test.

#include <skerry/backends/choose.hpp>
#include <skerry/framework/startup_error.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace skerry::test_support {

/// An operation that keeps what it is told.
class request final : public operation {
 public:
  struct answer {
    std::int32_t result;
    std::uint32_t flags;
  };
  void complete(std::int32_t result, std::uint32_t flags) noexcept override { answers.push_back({result, flags}); }

  bool ended() const noexcept { return !answers.empty() && !in_flight(); }
  std::int32_t last() const noexcept { return answers.back().result; }

  std::vector<answer> answers;
};

class bare_kernel {
 public:
  static constexpr std::uint32_t buffer_bytes = 4096;

  explicit bare_kernel(const std::string& name, std::size_t buffers = 4)
      : one_(std::move(make_backends(name, 1, 64).all.front())), memory_(buffers) {
    for (std::size_t i = 0; i < buffers; ++i) provide(static_cast<std::uint16_t>(i));
  }
  ~bare_kernel() { one_->stop(); }

  backend& operator*() noexcept { return *one_; }
  submission& submit(request& r) noexcept { return one_->submit(r); }
  void provide(std::uint16_t number) {
    memory_[number].resize(buffer_bytes);
    one_->receive_buffers().provide(memory_[number].data(), buffer_bytes, number);
  }
  /// What came in the buffer that the answer names.
  std::string bytes_of(const request::answer& a) const {
    EXPECT_TRUE(completion::has_buffer(a.flags));
    return memory_[completion::buffer_number(a.flags)].substr(0, static_cast<std::size_t>(a.result));
  }

  /// Lets the kernel work until it is so; a test that hangs fails.
  ::testing::AssertionResult until(const std::function<bool()>& is_so) {
    const clock::time_point end = clock::now() + std::chrono::seconds(30);
    while (!is_so()) {
      if (clock::now() > end) return ::testing::AssertionFailure() << "30 s have passed";
      one_->wait(clock::now() + std::chrono::milliseconds(100));
    }
    return ::testing::AssertionSuccess();
  }
  /// The result of one with one completion.
  std::int32_t result_of(request& r) {
    EXPECT_TRUE(until([&] { return r.ended(); }));
    EXPECT_EQ(r.answers.size(), 1u);
    return r.answers.empty() ? 1 : r.last();
  }
  /// Everything that can be done now has been done.
  void turn() {
    for (int i = 0; i < 3; ++i) one_->submit_and_reap();
  }

 private:
  std::unique_ptr<backend> one_;
  std::vector<std::string> memory_;
};

/// The names of those that work here.
inline std::vector<const char*> kernels() {
  try {
    make_backends("io_uring", 1, 64).all.front()->stop();
    return {"io_uring", "epoll"};
  } catch (const startup_error&) {
    return {"epoll"};
  }
}

using on_each_kernel = ::testing::TestWithParam<const char*>;

}  // namespace skerry::test_support
