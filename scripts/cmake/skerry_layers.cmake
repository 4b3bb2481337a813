# SPDX-License-Identifier: Apache-2.0
# A layer is one folder, one static library and one include root. The root holds a single link,
# <build>/include/<layer>/skerry/<layer> -> <source>/<layer>, so `#include <skerry/net/stream.hpp>` is the same text in the
# tree and installed, and an include of a layer that is not linked finds no file.

add_library(skerry_options INTERFACE)
target_compile_features(skerry_options INTERFACE cxx_std_23)
target_compile_options(skerry_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>  # g++ 12 warns of every "literal" + std::string (GCC bug 105651)
  $<$<BOOL:${SKERRY_WERROR}>:-Werror>
  # A section for each function and constant, so that a program's linker can leave out what it does not use and put
  # what belongs together side by side (apps/CMakeLists.txt).
  $<$<AND:$<CONFIG:Release>,$<CXX_COMPILER_ID:GNU,Clang>>:-ffunction-sections$<SEMICOLON>-fdata-sections>
  $<$<CXX_COMPILER_ID:GNU>:-fcoroutines>)

# Assertions say net/stream.hpp, not where somebody's build tree was; in Release debug information does too, so that
# archives can be installed and compared. Debug keeps the paths, for debuggers. The last prefix that fits is taken.
function(skerry_hide_path path instead)
  target_compile_options(skerry_options INTERFACE "-f$<IF:$<CONFIG:Release>,file,macro>-prefix-map=${path}=${instead}")
endfunction()
skerry_hide_path("${PROJECT_SOURCE_DIR}/" "")
skerry_hide_path("${PROJECT_BINARY_DIR}" ".")

# skerry_add_layer(name USES public targets... PRIVATELY private targets...)
function(skerry_add_layer layer)
  cmake_parse_arguments(arg "" "" "USES;PRIVATELY" ${ARGN})
  set(root "${PROJECT_BINARY_DIR}/include/${layer}")
  file(MAKE_DIRECTORY "${root}/skerry")
  file(CREATE_LINK "${PROJECT_SOURCE_DIR}/${layer}" "${root}/skerry/${layer}" SYMBOLIC)
  skerry_hide_path("${root}/skerry/" "")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${layer}/*.cpp")
  if(sources)
    add_library(skerry_${layer} STATIC ${sources})
    target_link_libraries(skerry_${layer} PRIVATE $<BUILD_INTERFACE:skerry_options> ${arg_PRIVATELY})
    set(visible PUBLIC)
  else()  # headers only
    add_library(skerry_${layer} INTERFACE)
    set(visible INTERFACE)
  endif()
  set_target_properties(skerry_${layer} PROPERTIES EXPORT_NAME ${layer})
  add_library(skerry::${layer} ALIAS skerry_${layer})
  target_include_directories(skerry_${layer} ${visible} $<BUILD_INTERFACE:${root}> $<INSTALL_INTERFACE:include>)
  target_compile_features(skerry_${layer} ${visible} cxx_std_23)
  target_compile_options(skerry_${layer} ${visible} $<$<CXX_COMPILER_ID:GNU>:-fcoroutines>)
  target_link_libraries(skerry_${layer} ${visible} ${arg_USES})
  set_property(GLOBAL APPEND PROPERTY SKERRY_LAYERS ${layer})
endfunction()

# skerry::skerry is every layer, and <skerry/skerry.hpp> is every public header.
function(skerry_add_umbrella)
  set(root "${PROJECT_BINARY_DIR}/include/umbrella")
  file(MAKE_DIRECTORY "${root}/skerry")
  file(CREATE_LINK "${PROJECT_SOURCE_DIR}/net/skerry.hpp" "${root}/skerry/skerry.hpp" SYMBOLIC)
  add_library(skerry_skerry INTERFACE)
  set_target_properties(skerry_skerry PROPERTIES EXPORT_NAME skerry)
  add_library(skerry::skerry ALIAS skerry_skerry)
  target_include_directories(skerry_skerry INTERFACE $<BUILD_INTERFACE:${root}> $<INSTALL_INTERFACE:include>)
  target_link_libraries(skerry_skerry INTERFACE skerry::net)
endfunction()
