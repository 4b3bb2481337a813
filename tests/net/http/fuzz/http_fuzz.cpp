// SPDX-License-Identifier: Apache-2.0
// libFuzzer: any bytes, cut anywhere, get the same verdict, and nothing is read outside of them. The first byte says
// how they are cut. They are read as a stream of requests, whose chunked bodies are decoded, and as a chunked body.
//
//     http_fuzz corpus                 until it finds something
//     http_fuzz crash-0123abcd         that again
#include <skerry/net/http/chunked_decoder.hpp>
#include <skerry/net/http/request_parser.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace {

using skerry::net::http::chunked_decoder;
using skerry::net::http::field;
using skerry::net::http::framing;
using skerry::net::http::request_parser;
using skerry::net::http::verdict;

/// What was read, as one text. Each window is a copy exactly as large as it, so that ASan sees reads beyond.
class reader {
 public:
  void feed(std::string_view bytes) {
    kept_ += bytes;
    while (!over_ && !kept_.empty() && (in_body_ ? read_body() : read_head())) {
    }
  }
  void read_only_a_body() { in_body_ = true; }
  const std::string& seen() const { return seen_; }

 private:
  std::span<const char> copy() {
    window_.reset(new char[kept_.size()]);
    std::ranges::copy(kept_, window_.get());
    return {window_.get(), kept_.size()};
  }
  bool read_head() {
    verdict found = parser_.parse(copy());
    if (found == verdict::need_more) return false;
    if (found == verdict::error) return refuse(parser_.error_status(), parser_.error_text());
    const auto& head = parser_.head();
    for (std::string_view view : {head.method_text, head.target, head.path, head.query, head.host}) say(view);
    for (const field& f : head.fields) {
      say(f.name);
      say(f.value);
    }
    say(std::to_string(head.content_length));
    in_body_ = head.framing == framing::chunked;
    kept_.erase(0, parser_.consumed());
    parser_.reset();
    return true;
  }
  bool read_body() {
    verdict found = decoder_.decode(copy());
    seen_.append(decoder_.data().begin(), decoder_.data().end());
    if (found == verdict::error) return refuse(decoder_.error_status(), decoder_.error_text());
    if (decoder_.consumed() == 0) std::abort();
    kept_.erase(0, decoder_.consumed());
    if (found == verdict::complete) {
      say("end");
      in_body_ = false;
      decoder_.reset();
    }
    return true;
  }
  bool refuse(unsigned status, std::string_view text) {
    say(std::to_string(status));
    say(text);
    over_ = true;
    return false;
  }
  void say(std::string_view text) { seen_.append(text).push_back('\n'); }

  request_parser parser_{{.request_line_bytes_max = 256, .head_bytes_max = 1024, .fields_max = 16}};
  chunked_decoder decoder_;
  std::unique_ptr<char[]> window_;
  std::string kept_;
  std::string seen_;
  bool in_body_ = false;
  bool over_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1U + data[0] % 64U;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  for (bool only_a_body : {false, true}) {
    reader whole;
    reader cut;
    if (only_a_body) {
      whole.read_only_a_body();
      cut.read_only_a_body();
    }
    whole.feed(bytes);
    for (std::size_t at = 0; at < bytes.size(); at += piece) cut.feed(bytes.substr(at, piece));
    if (whole.seen() != cut.seen()) std::abort();
  }
  return 0;
}
