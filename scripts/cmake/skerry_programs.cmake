# SPDX-License-Identifier: Apache-2.0
# Programs on top of the layers: every test, benchmark and app is one source file (or one folder) and a list of what it links.

# skerry_add_test(file USES targets... [SOURCES more.cpp...] [LABELS a b])
# One GoogleTest program per file; the first label is the folder. A test of a pure structure lists its sources and links
# no layer at all, which proves that the structure knows neither reactor nor clock.
function(skerry_add_test file)
  cmake_parse_arguments(arg "" "TIMEOUT" "USES;SOURCES;LABELS" ${ARGN})
  get_filename_component(name "${file}" NAME_WE)
  get_filename_component(folder "${file}" DIRECTORY)
  string(REGEX REPLACE "/.*" "" layer "${folder}")
  add_executable(${name} ${file} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE skerry_options ${arg_USES} GTest::gtest_main)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${layer};${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
  set_property(GLOBAL APPEND PROPERTY skerry_test_programs ${name})
endfunction()
