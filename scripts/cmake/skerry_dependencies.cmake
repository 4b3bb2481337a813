# SPDX-License-Identifier: Apache-2.0
# What Skerry uses from the system. The installed config file includes this same file, so the two cannot drift.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(Boost 1.74 REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)

# What ships no CMake package of its own: each becomes one interface target with a fixed name.
function(skerry_pkg_config target module)
  if(TARGET ${target})
    return()
  endif()
  pkg_check_modules(${target} REQUIRED IMPORTED_TARGET GLOBAL ${module})
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_link_libraries(${target} INTERFACE PkgConfig::${target})
endfunction()
skerry_pkg_config(skerry_liburing liburing)
skerry_pkg_config(skerry_hwloc hwloc)
skerry_pkg_config(skerry_zlib zlib)
skerry_pkg_config(skerry_brotli libbrotlienc)
skerry_pkg_config(skerry_zstd libzstd)
skerry_pkg_config(skerry_crypto libcrypto)
