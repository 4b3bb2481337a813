// SPDX-License-Identifier: Apache-2.0
#pragma once

/// fake_root: what stands before /proc and /sys of another machine.

#include <skerry/shards/topology.hpp>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

namespace skerry::test_support {

/// A /proc and /sys of our own making.
class fake_root {
 public:
  fake_root() {
    char name[] = "/tmp/skerry-topology-XXXXXX";
    if (mkdtemp(name) != nullptr) path_ = name;
  }
  ~fake_root() {
    if (!path_.empty()) std::filesystem::remove_all(path_);
  }
  fake_root(const fake_root&) = delete;
  fake_root& operator=(const fake_root&) = delete;

  void write(const std::string& path, const std::string& text) {
    std::filesystem::path file = path_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  discovery_source source() const {
    discovery_source here;
    here.root = path_;
    return here;
  }
  std::optional<double> quota() const { return discover({}, source()).quota; }
  std::uint64_t memory() const { return memory_limit_bytes(source()); }

 private:
  std::string path_;
};

}  // namespace skerry::test_support
