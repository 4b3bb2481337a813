// SPDX-License-Identifier: Apache-2.0
#pragma once

/// json: values in and out of bodies, on nlohmann's library; a type lists its fields once, and what does not fit into
/// one of them is refused.
///
///     struct item {
///       std::uint64_t id = 0;
///       std::string name;
///     };
///     SKERRY_JSON_FIELDS(item, id, name)
///
/// and then
///
///     net::http::router r;
///     r.post("/items", [](json<item> sent) -> task<response> {
///       ++sent->id;
///       co_return json_response(*sent, 201);
///     });
///
/// The macro stands where nlohmann's NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE would, in the namespace of the type, and does
/// what that does, but for reading: nlohmann converts any number to any other, so that 1.7 becomes 1, and 300 becomes
/// 44 in a std::uint8_t. Therefore a type whose from_json comes from elsewhere does not compile as an argument, unless
/// `reads_json` says that it answers for itself. (Changing nlohmann's own conversion by a specialisation would do
/// without a macro, and give one function two meanings in a program that includes nlohmann's header elsewhere.)
///
/// An extra header, and in no other, because nlohmann's takes longer to compile than all of Skerry's together.
///
/// Affinity: the shard of the request.
/// Errors:   http_error: 415 unless Content-Type is application/json or ends in +json (no other site's form can send
///           that); 400 with the position for what is no JSON, and with the field for what is no T, as in
///           `body: sizes[3]: is out of range`. Whole numbers are written without fraction and exponent; 1.0 is none.
///           Fields that T has not are ignored, and all that it has must be there.
/// Limits:   that of the body; the document is up to some 30 times as large as its text. Types: bool, numbers,
///           std::string, nlohmann::json, those with listed fields, and of all these lists and sets, arrays, pairs and
///           tuples, and maps with text as the key.

#include <skerry/net/http/extract.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

/// Lists the fields of a struct, for reading and writing: 63 at most.
#define SKERRY_JSON_FIELDS(Type, ...)                                                             \
  [[maybe_unused]] constexpr bool skerry_lists_json_fields(const Type*) noexcept { return true; } \
  [[maybe_unused]] inline void to_json(nlohmann::json& skerry_json, const Type& skerry_value) {   \
    NLOHMANN_JSON_EXPAND(NLOHMANN_JSON_PASTE(SKERRY_DETAIL_JSON_WRITE, __VA_ARGS__))              \
  }                                                                                               \
  [[maybe_unused]] inline void from_json(const nlohmann::json& skerry_json, Type& skerry_value) { \
    NLOHMANN_JSON_EXPAND(NLOHMANN_JSON_PASTE(SKERRY_DETAIL_JSON_READ, __VA_ARGS__))               \
  }
#define SKERRY_DETAIL_JSON_WRITE(name) skerry_json[#name] = skerry_value.name;
#define SKERRY_DETAIL_JSON_READ(name) ::skerry::net::http::read_json_field(skerry_json, #name, skerry_value.name);

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

/// The bits of a whole number from `least` to `most`.
std::uint64_t whole_number(const nlohmann::json& from, std::int64_t least, std::uint64_t most);
double number(const nlohmann::json& from, double most);
const nlohmann::json& field_of(const nlohmann::json& from, const char* name);
void require_kind(bool is_one, const char* complaint);
/// From within a handler of what reading a value threw: throws it again, with `place` before what it names.
[[noreturn]] void throw_again_at(const std::string& place);
std::string place_of(std::string_view key);
std::string place_of(std::size_t index);

template <class T>
concept lists_json_fields = requires(const T* value) { skerry_lists_json_fields(value); };

template <class T>
concept json_map =
    std::ranges::range<T> && requires { typename T::mapped_type; } && std::same_as<typename T::key_type, std::string>;
template <class T>
concept json_list = std::ranges::range<T> && !requires { typename T::mapped_type; } &&
                    requires(T list, typename T::value_type value) { list.insert(list.end(), std::move(value)); };
template <class T>
concept json_tuple = requires { std::tuple_size<T>::value; };

}  // namespace detail

/// What stands at `place` of a JSON document is no value of the type that is read.
class json_mismatch : public std::runtime_error {
 public:
  json_mismatch(std::string place, std::string complaint)
      : std::runtime_error(place.empty() ? complaint : place + ": " + complaint),
        place_(std::move(place)),
        complaint_(std::move(complaint)) {}

  const std::string& place() const noexcept { return place_; }  ///< "price", "sizes[3]", "address.street"
  const std::string& complaint() const noexcept { return complaint_; }

 private:
  std::string place_, complaint_;
};

/// Whether a T is read by its from_json. A type that was not listed by the macro specialises this as true, and then it
/// answers for what it does with numbers; so do enumerations with NLOHMANN_JSON_SERIALIZE_ENUM.
template <class T>
inline constexpr bool reads_json = detail::lists_json_fields<T>;

/// `from` as a T, into `to`. Throws json_mismatch, and what a from_json of one's own throws.
template <class T>
void read_json(const nlohmann::json& from, T& to);

/// Its field `name`, which must be there: for a from_json of one's own.
template <class T>
void read_json_field(const nlohmann::json& from, const char* name, T& to) {
  const nlohmann::json& value = detail::field_of(from, name);
  try {
    read_json(value, to);
  } catch (...) {
    detail::throw_again_at(name);
  }
}

namespace detail {

template <class T, class Place>
T json_element(const nlohmann::json& from, Place place) {
  T value{};
  try {
    read_json(from, value);
  } catch (...) {
    throw_again_at(place_of(place));
  }
  return value;
}

template <class T>
void read_json_list(const nlohmann::json& from, T& to) {
  require_kind(from.is_array(), "is no list");
  to.clear();
  for (std::size_t i = 0; i < from.size(); ++i) {
    to.insert(to.end(), json_element<typename T::value_type>(from[i], i));
  }
}

template <class T>
void read_json_map(const nlohmann::json& from, T& to) {
  require_kind(from.is_object(), "is no object");
  to.clear();
  for (const auto& [key, value] : from.get_ref<const nlohmann::json::object_t&>()) {
    to.emplace(key, json_element<typename T::mapped_type>(value, std::string_view(key)));
  }
}

template <class T>
void read_json_tuple(const nlohmann::json& from, T& to) {
  constexpr std::size_t size = std::tuple_size_v<T>;
  require_kind(from.is_array() && from.size() == size, "is no list of the right length");
  const auto read_all = [&]<std::size_t... I>(std::index_sequence<I...>) {
    ((std::get<I>(to) = json_element<std::tuple_element_t<I, T>>(from[I], I)), ...);
  };
  read_all(std::make_index_sequence<size>());
}

}  // namespace detail

template <class T>
void read_json(const nlohmann::json& from, T& to) {
  using limits = std::numeric_limits<T>;
  if constexpr (std::same_as<T, nlohmann::json>) {
    to = from;
  } else if constexpr (reads_json<T>) {
    from.get_to(to);
  } else if constexpr (std::same_as<T, bool>) {
    detail::require_kind(from.is_boolean(), "is neither true nor false");
    to = from.get<bool>();
  } else if constexpr (std::integral<T>) {
    to = static_cast<T>(detail::whole_number(from, limits::min(), limits::max()));
  } else if constexpr (std::floating_point<T>) {
    constexpr bool is_narrow = sizeof(T) < sizeof(double);
    to = static_cast<T>(detail::number(from, is_narrow ? limits::max() : std::numeric_limits<double>::max()));
  } else if constexpr (std::same_as<T, std::string>) {
    detail::require_kind(from.is_string(), "is no text");
    to = from.get_ref<const std::string&>();
  } else if constexpr (detail::json_map<T>) {
    detail::read_json_map(from, to);
  } else if constexpr (detail::json_list<T>) {
    detail::read_json_list(from, to);
  } else if constexpr (detail::json_tuple<T>) {
    detail::read_json_tuple(from, to);
  } else {
    static_assert(reads_json<T>,
                  "list the fields of this type with SKERRY_JSON_FIELDS; if it has a from_json of its own, "
                  "reads_json says that this may be used");
  }
}

/// `text` as a T. Throws http_error(400).
template <class T>
T parse_json(std::string_view text) {
  try {
    T value{};
    read_json(nlohmann::json::parse(text), value);
    return value;
  } catch (const nlohmann::json::parse_error& error) {
    detail::refuse_json(text, error.byte);
  } catch (const nlohmann::json::exception& error) {
    detail::refuse_json(error.what());
  } catch (const json_mismatch& error) {
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
