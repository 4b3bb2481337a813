// SPDX-License-Identifier: Apache-2.0
#pragma once

/// json: values in and out of bodies, on nlohmann's library; a type names its fields once, by that library's macro.
///
///     struct item {
///       std::uint64_t id = 0;
///       std::string name;
///     };
///     NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(item, id, name)
///
/// and then
///
///     net::http::router r;
///     r.post("/items", [](json<item> sent) -> task<response> {
///       ++sent->id;
///       co_return json_response(*sent, 201);
///     });
///
/// An extra header, and in no other, because nlohmann's takes longer to compile than all of Skerry's together.
///
/// Affinity: the shard of the request.
/// Errors:   http_error: 415 unless Content-Type is application/json or ends in +json (no other site's form can send
///           that); 400 with the position for what is no JSON, and with the field for what is no T.
/// Limits:   that of the body; the document is up to some 30 times as large as its text. Numbers are
///           converted as nlohmann converts them: one that is too large for its field wraps.

#include <skerry/net/http/extract.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

namespace skerry::net::http {

/// The body as a T.
template <class T>
class json : public detail::extracted<T> {
 public:
  using detail::extracted<T>::extracted;
};

namespace detail {

/// Throws http_error unless the request says that its body is JSON.
void require_json(const request& r);
[[noreturn]] void refuse_json(std::string_view text, std::size_t byte);
[[noreturn]] void refuse_json(std::string_view what);

}  // namespace detail

/// `text` as a T. Throws http_error(400).
template <class T>
T parse_json(std::string_view text) {
  try {
    return nlohmann::json::parse(text).get<T>();
  } catch (const nlohmann::json::parse_error& error) {
    detail::refuse_json(text, error.byte);
  } catch (const nlohmann::json::exception& error) {
    detail::refuse_json(error.what());
  }
}

template <class T>
struct extractor<json<T>> {
  static task<json<T>> from(request& r) {
    detail::require_json(r);
    const std::string text = co_await r.read_all();
    co_return json<T>(parse_json<T>(text));
  }
};

/// `value` as the body. Bytes that are no UTF-8 become U+FFFD.
template <class T>
response json_response(const T& value, unsigned status = 200) {
  constexpr auto replace = nlohmann::json::error_handler_t::replace;
  return response::json(nlohmann::json(value).dump(-1, ' ', false, replace)).status(status);
}

}  // namespace skerry::net::http
