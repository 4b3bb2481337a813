// SPDX-License-Identifier: Apache-2.0
/// Handlers that must not compile, and the sentence that tells why.

#include <skerry/net/http/router.hpp>

#include <optional>
#include <string>

namespace {

using namespace skerry::net::http;

[[maybe_unused]] void add(router& r) {
#if CASE == 0
  r.post("/{id}", [](request&, path<"id", int>, body) { return response(); });
#elif CASE == 1
  r.get("/{id}", [](const path<"id", int>&) { return response(); });
#elif CASE == 2
  r.post("/", [](body, body) { return response(); });
#elif CASE == 3
  r.get("/{id}", [](path<"id", std::optional<int> >) { return response(); });
#elif CASE == 4
  r.get("/", [](request&, query<"q", int>) { return std::string(); });
#endif
}

}  // namespace
