// SPDX-License-Identifier: Apache-2.0
// What fmt's library has under the name that g++ gives it, once more under clang's, for fmt::format_to: Debian builds
// the library with g++, and the two disagree about the name of a template whose parameters depend on others.
#ifdef __clang__

#include <fmt/format.h>

template void fmt::detail::vformat_to<char>(fmt::detail::buffer<char>& to, fmt::string_view text,
                                            fmt::basic_format_args<FMT_BUFFER_CONTEXT(char)> arguments,
                                            fmt::detail::locale_ref);

#endif
