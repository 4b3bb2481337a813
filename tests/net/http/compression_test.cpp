// SPDX-License-Identifier: Apache-2.0
/// What clients accept, what becomes of bodies for them, and that it can be read with the libraries they have.

#include <skerry/net/http/compression.hpp>
#include <skerry/shards/block_on.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <brotli/decode.h>
#include <gtest/gtest.h>
#include <net/http/ask.hpp>
#include <support/heap_count.hpp>
#include <zlib.h>
#include <zstd.h>

namespace skerry {
namespace {

using namespace net::http;
using test_support::answer;
using test_support::ask;
using test_support::ask_on_shard;
using test_support::question;

constexpr std::array every{content_coding::zstd, content_coding::br, content_coding::gzip};

std::string_view chosen(std::vector<field> fields, std::span<const content_coding> offered = every) {
  return to_string(accepted_codings(fields).best_of(offered));
}

TEST(accepted_codings, the_greatest_weight_wins_then_the_order_of_the_server) {
  const std::vector<std::pair<std::string_view, std::string_view>> table{
      {"gzip, deflate, br, zstd", "zstd"},  // Chrome and Firefox
      {"gzip, deflate, br", "br"},          // Safari
      {"gzip, deflate", "gzip"},            // an older one, over plain HTTP
      {"deflate, gzip, br, zstd", "zstd"},  // curl --compressed
      {"gzip;q=1.0, br;q=0.8, *;q=0.1", "gzip"},
      {"*", "zstd"},
      {"zstd;q=0, *", "br"},
      {"*;q=0", "identity"},
      {"identity;q=1, *;q=0", "identity"},  // a browser's for media
      {"identity, gzip;q=0.5", "identity"},
      {"identity;q=0.5, gzip;q=0.5", "gzip"},
      {"identity;q=0.5, gzip;q=0.501", "gzip"},
      {"identity;q=0, br;q=0.001", "br"},
      {"gzip;q=0", "identity"},
      {"gzip;q=0.000", "identity"},
      {"gzip;q=0.", "identity"},
      {"gzip;q=1.", "gzip"},
      {"compress, dcb", "identity"},
      {"x-gzip", "gzip"},
      {"GZip ; Q=0.3 ,bR\t;\tq=0.4", "br"},
      {",, gzip ,", "gzip"},
      {"", "identity"},
  };
  for (const auto& [sent, expected] : table) EXPECT_EQ(chosen({{"accept-encoding", sent}}), expected) << sent;
  EXPECT_EQ(chosen({}), "identity");
  EXPECT_EQ(chosen({{"Accept-Encoding", "gzip"}, {"Accept-Encoding", "br"}}), "br") << "two lines are one list";
  EXPECT_EQ(chosen({{"Accept-Encoding", "zstd, br, gzip"}}, {}), "identity");
}

TEST(accepted_codings, what_is_malformed_counts_as_nothing) {
  for (const std::string_view sent : {"gzip;q=2", "gzip;q=1.001", "gzip;q=0.1234", "gzip;q=-1", "gzip;q=", "gzip;q",
                                      "gzip;", "gzip;level=1", "gzip;q=0,5;q=1", "gz ip", "gzip;q=.5", "gzip;q=1x",
                                      "gzip;q= 1", ";q=1", "\"gzip\"", "gzip=1", "br, gzip;q=a"}) {
    EXPECT_EQ(chosen({{"Accept-Encoding", sent}}), "identity") << sent;
  }
  EXPECT_EQ(chosen({{"Accept-Encoding", "gzip"}, {"Accept-Encoding", "gzip;q=x"}}), "identity");
}

TEST(accepted_codings, identity_is_refused_by_name_or_with_all_others) {
  const auto refused = [](std::string_view sent) {
    const std::vector<field> fields{{"Accept-Encoding", sent}};
    return accepted_codings(fields).refuse_identity();
  };
  EXPECT_TRUE(refused("identity;q=0"));
  EXPECT_TRUE(refused("gzip, *;q=0"));
  EXPECT_FALSE(refused("identity;q=0.1, *;q=0"));
  EXPECT_FALSE(refused("gzip"));
  EXPECT_FALSE(refused("identity;q=0, gzip;q=x"));
}

std::string unpacked(const answer& got) {
  std::string out(2 << 20, '\0');
  std::size_t size = 0;
  const auto encoded_by = [&](std::string_view name) {
    return got.fields.find("Content-Encoding: " + std::string(name) + "\r\n") != std::string::npos;
  };
  if (encoded_by("gzip")) {
    z_stream from{};
    EXPECT_EQ(::inflateInit2(&from, 15 + 16), Z_OK);
    from.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(got.body.data()));
    from.avail_in = static_cast<uInt>(got.body.size());
    from.next_out = reinterpret_cast<Bytef*>(out.data());
    from.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(::inflate(&from, Z_FINISH), Z_STREAM_END);
    EXPECT_EQ(from.avail_in, 0u);
    size = from.total_out;
    ::inflateEnd(&from);
  } else if (encoded_by("br")) {
    size = out.size();
    EXPECT_EQ(::BrotliDecoderDecompress(got.body.size(), reinterpret_cast<const std::uint8_t*>(got.body.data()), &size,
                                        reinterpret_cast<std::uint8_t*>(out.data())),
              BROTLI_DECODER_RESULT_SUCCESS);
  } else if (encoded_by("zstd")) {
    size = ::ZSTD_decompress(out.data(), out.size(), got.body.data(), got.body.size());
    EXPECT_FALSE(::ZSTD_isError(size));
  } else {
    return got.body;
  }
  out.resize(size);
  return out;
}

std::string items(std::size_t bytes) {
  std::string text;
  for (std::uint64_t i = 0; text.size() < bytes; ++i) {
    text += R"({"id":)" + std::to_string(i * 7919) + R"(,"name":"item )" + std::to_string(i) + R"("},)";
  }
  text.resize(bytes);
  return text;
}

/// Bytes that no coding makes fewer.
std::string noise(std::size_t bytes) {
  std::string text;
  for (std::uint64_t x = 1; text.size() < bytes;) {
    x = x * 6364136223846793005U + 1442695040888963407U;
    text += static_cast<char>(x >> 56);
  }
  return text;
}

router serving(response (*make)(), compression_options options = compression_options()) {
  router r;
  r.use(compress(std::move(options)));
  r.get("/", [make](request&) { return make(); });
  return r;
}

answer get(router& r, std::string_view accepted, method m = method::get) {
  return ask(r, question(m, "/", {field("Accept-Encoding", accepted)}));
}
bool has(const answer& got, std::string_view line) { return got.fields.find(line) != std::string::npos; }

constexpr std::string_view vary = "Vary: Accept-Encoding\r\n";

TEST(compress, every_coding_gives_back_the_body) {
  for (const std::size_t size : {1024u, 1025u, 10'000u, 65'536u, 131'072u}) {
    router r;
    r.use(compress());
    r.get("/", [size](request&) { return response::json(items(size)); });
    for (const std::string_view coding : {"gzip", "br", "zstd"}) {
      const answer got = get(r, coding);
      EXPECT_EQ(got.fields, std::string(vary) + "Content-Encoding: " + std::string(coding) + "\r\n");
      EXPECT_LT(got.body.size(), size / 2) << coding;
      EXPECT_TRUE(unpacked(got) == items(size)) << coding << ' ' << size;
    }
    EXPECT_EQ(get(r, "").body, items(size));
    EXPECT_EQ(get(r, "").fields, vary) << "caches must know that others get it compressed";
  }
}

TEST(compress, every_level_gives_back_the_body_from_the_same_encoders) {
  std::vector<router> levels;
  for (int level = 0; level <= 19; ++level) {
    compression_options options;
    options.zstd_level = std::max(level, 1);
    options.brotli_quality = std::min(level, 11);
    options.gzip_level = std::clamp(level, 1, 9);
    levels.push_back(serving([] { return response::text(items(50'000)); }, std::move(options)));
  }
  block_on([&]() -> task<> {
    for (router& r : levels) {
      for (const std::string_view coding : {"zstd", "br", "gzip"}) {
        const question q(method::get, "/", {field("Accept-Encoding", coding)});
        const answer got = co_await ask_on_shard(r, q);
        EXPECT_LT(got.body.size(), 25'000u);
        EXPECT_TRUE(unpacked(got) == items(50'000)) << coding;
      }
    }
  });
}

TEST(compress, what_is_too_short_or_too_long_is_left_alone) {
  router shorter = serving([] { return response::text(items(1023)); });
  EXPECT_EQ(get(shorter, "gzip").fields, "");
  EXPECT_EQ(get(shorter, "gzip").body, items(1023));
  EXPECT_EQ(unpacked(get(shorter, "gzip, identity;q=0")), items(1023)) << "unless that is all that can be read";
  EXPECT_TRUE(has(get(shorter, "gzip, identity;q=0"), "Content-Encoding: gzip"));
  router longer = serving([] { return response::text(items(131'073)); });
  EXPECT_EQ(get(longer, "gzip").fields, "");
  EXPECT_EQ(get(longer, "gzip").body.size(), 131'073u);
}

TEST(compress, what_does_not_shrink_is_left_alone) {
  router r = serving([] { return response::text(noise(5000)); });
  for (const std::string_view coding : {"gzip", "br", "zstd"}) {
    EXPECT_EQ(get(r, coding).fields, vary);
    EXPECT_EQ(get(r, coding).body, noise(5000));
    const std::string only = std::string(coding) + ", *;q=0";
    EXPECT_TRUE(has(get(r, only), "Content-Encoding"));
    EXPECT_EQ(unpacked(get(r, only)), noise(5000));
  }
}

TEST(compress, types_that_shrink_are_text_and_what_is_made_of_it) {
  const auto compressed = [](std::string_view type) {
    router r;
    r.use(compress());
    r.get("/", [type](request&) { return response().body(type, items(5000)); });
    return has(get(r, "gzip"), "Content-Encoding");
  };
  for (const std::string_view type :
       {"text/plain; charset=utf-8", "text/html", "Text/CSS ;x=y", "application/json", "application/problem+json",
        "application/JavaScript", "application/xml", "image/svg+xml", "application/atom+xml;charset=utf-8"}) {
    EXPECT_TRUE(compressed(type)) << type;
  }
  for (const std::string_view type : {"", "text", "image/png", "application/octet-stream", "application/zip",
                                      "video/mp4", "application/jsonp", "image/json", "textile/plain"}) {
    EXPECT_FALSE(compressed(type)) << type;
  }
}

TEST(compress, what_its_handler_encoded_digested_or_protects_is_left_alone) {
  for (const field& each : {field("Content-Encoding", "gzip"), field("content-range", "bytes 0-4999/9000"),
                            field("Repr-Digest", "sha-256=:AAAA:"), field("Cache-Control", "private, no-transform")}) {
    router r;
    r.use(compress());
    r.get("/", [each](request&) { return response::text(items(5000)).header(each.name, each.value); });
    const answer got = get(r, "gzip");
    EXPECT_EQ(got.body, items(5000)) << each.name;
    EXPECT_EQ(got.fields, std::string(each.name) + ": " + std::string(each.value) + "\r\n");
  }
  router twice = serving([] { return response::text(items(5000)); });
  twice.use(compress());
  EXPECT_EQ(unpacked(get(twice, "gzip")), items(5000));
}

TEST(compress, the_other_fields_stay_but_for_those_about_the_bytes) {
  router r = serving([] {
    return response::text(items(5000)).header("ETag", "\"1\"").header("Accept-Ranges", "bytes").header("X-A", "b");
  });
  EXPECT_EQ(get(r, "gzip").fields, "X-A: b\r\nVary: Accept-Encoding\r\nContent-Encoding: gzip\r\nETag: W/\"1\"\r\n");
  EXPECT_EQ(get(r, "").fields, "ETag: \"1\"\r\nAccept-Ranges: bytes\r\nX-A: b\r\nVary: Accept-Encoding\r\n");
  router weak = serving([] { return response::text(items(5000)).header("ETag", "W/\"1\""); });
  EXPECT_TRUE(has(get(weak, "gzip"), "ETag: W/\"1\"\r\n"));
}

TEST(compress, statuses_without_a_body_of_their_own_pass) {
  router nothing = serving([] { return response(204); });
  EXPECT_EQ(get(nothing, "gzip, *;q=0").fields, "");
  router part = serving([] { return response::text(items(5000)).status(206); });
  EXPECT_EQ(get(part, "gzip").fields, vary);
  EXPECT_EQ(get(part, "gzip").body, items(5000));
  router error = serving([] { return problem(500, items(5000)); });
  EXPECT_TRUE(has(get(error, "gzip"), "Content-Encoding: gzip"));
}

TEST(compress, head_has_the_fields_and_length_of_get) {
  router r = serving([] { return response::text(items(5000)); });
  EXPECT_EQ(get(r, "br", method::head).fields, get(r, "br").fields);
  EXPECT_EQ(get(r, "br", method::head).body.size(), get(r, "br").body.size()) << "the server counts and drops it";
}

TEST(compress, streams_pass) {
  router r = serving([] { return response::stream("text/plain", [](body_writer&) -> task<> { co_return; }); });
  EXPECT_EQ(get(r, "gzip, *;q=0").fields, "");
}

TEST(compress, takes_little_from_the_heap_once_it_is_warm) {
  static const std::string kept = items(50'000);
  router r = serving([] { return response::literal("text/plain", kept); });
  block_on([&]() -> task<> {
    for (const std::string_view coding : {"gzip", "br", "zstd"}) {
      const question q(method::get, "/", {field("Accept-Encoding", coding)});
      request_head head = q.head;
      head.fields = q.fields;
      test_support::no_body none;
      std::uint64_t before = 0;
      for (int i = 0; i < 20; ++i) {
        if (i == 10) before = test_support::heap_allocations();
        request asked(head, none);
        const response made = co_await r(asked);
        EXPECT_LT(made.bytes().size(), 25'000u);
      }
      EXPECT_LE(test_support::heap_allocations() - before, 10 * 3u) << coding << ": its fields and its body";
    }
  });
}

TEST(compress, options_without_sense_are_refused) {
  const auto refused = [](auto change) {
    compression_options options;
    change(options);
    EXPECT_THROW(compress(options), std::invalid_argument);
  };
  refused([](auto& o) { o.bytes_min = o.bytes_max + 1; });
  refused([](auto& o) { o.bytes_max = 1 << 30; });
  refused([](auto& o) { o.zstd_level = 0; });
  refused([](auto& o) { o.brotli_quality = 12; });
  refused([](auto& o) { o.gzip_level = 10; });
}

}  // namespace
}  // namespace skerry
