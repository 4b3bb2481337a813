// SPDX-License-Identifier: Apache-2.0
#pragma once
// The head of a request as a browser sends it: what parsing is measured with.
#include <string_view>

namespace perf {

inline constexpr std::string_view browser_head =
    "GET /articles/2024/05/thread-per-core?ref=frontpage&page=2 HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://www.example.com/articles/\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=9f86d081884c7d659a2feaa0c55ad015; theme=dark; consent=all.2024-05-01T10:00:00Z; "
    "_ga=GA1.2.1234567890.1714550400\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "If-None-Match: \"5e1f-18a3c9\"\r\n"
    "\r\n";

}  // namespace perf
