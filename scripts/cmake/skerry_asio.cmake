# SPDX-License-Identifier: Apache-2.0
# SKERRY_ASIO_COROUTINES: whether Boost.Asio has coroutines under this compiler. For peers and an example; no layer uses Asio.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_FLAGS "${CMAKE_CXX23_STANDARD_COMPILE_OPTION}")
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  string(APPEND CMAKE_REQUIRED_FLAGS " -fcoroutines")
endif()
set(CMAKE_REQUIRED_QUIET ON)
check_cxx_source_compiles([[
#include <boost/asio/detail/config.hpp>
#ifndef BOOST_ASIO_HAS_CO_AWAIT
#error Boost 1.74 knows the coroutines of g++ and of clang with libc++, not of clang with libstdc++
#endif
int main() {}
]] SKERRY_ASIO_COROUTINES)
