# SPDX-License-Identifier: Apache-2.0
# Programs on top of the layers: every test, benchmark and app is one source file (or one folder) and a list of what it links.

# The first folder under tests, which is the label: `scripts/test net` runs those of net.
function(skerry_test_layer file out)
  file(RELATIVE_PATH layer "${PROJECT_SOURCE_DIR}/tests" "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  string(REGEX REPLACE "/.*" "" layer "${layer}")
  set(${out} "${layer}" PARENT_SCOPE)
endfunction()

# AddressSanitizer's stacks on the heap, which show a use after return, are searched through when they are full: exceptions
# and fibers leave frames there. A test that throws by the thousand (label `throws`) or simulates takes up to a hundred times
# as long with them, and finds nothing with full ones; all others have them (scripts/test).
set(skerry_own_stack ASAN_OPTIONS=detect_stack_use_after_return=0)

# skerry_add_test(file USES targets... [SOURCES more.cpp...] [LABELS a b])
# One GoogleTest program per file; the first label is the folder. A test of a pure structure lists its sources and links
# no layer at all, which proves that the structure knows neither reactor nor clock.
function(skerry_add_test file)
  cmake_parse_arguments(arg "" "TIMEOUT" "USES;SOURCES;LABELS" ${ARGN})
  get_filename_component(name "${file}" NAME_WE)
  skerry_test_layer("${file}" layer)
  add_executable(${name} ${file} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(${name} PRIVATE skerry_options ${arg_USES} GTest::gtest_main)
  if(arg_USES MATCHES "skerry::(shards|toolkit|net|skerry|simulation)")
    target_link_libraries(${name} PRIVATE test_faults)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)  # for what hangs; under a sanitizer on a busy machine a minute is soon gone
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${layer};${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
  set(environment "")
  if(arg_LABELS MATCHES "sim|throws")
    set(environment ${skerry_own_stack})
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "${environment}")
  endif()
  set_target_properties(${name} PROPERTIES SKERRY_ENVIRONMENT "${environment}")
endfunction()

# The same programs once more behind a kernel that answers late, in part and in another order (tests/support/faulty_backend.hpp).
function(skerry_disturb_tests)
  foreach(name IN LISTS ARGN)
    get_test_property(${name} LABELS labels)
    get_target_property(environment ${name} SKERRY_ENVIRONMENT)
    add_test(NAME ${name}@faults COMMAND ${name})
    set_tests_properties(${name}@faults PROPERTIES LABELS "${labels};faults" TIMEOUT 600
      ENVIRONMENT "SKERRY_TEST_FAULTS=1;${environment}")
  endforeach()
endfunction()

# The same programs once more, their shards in a simulation (tests/support/simulated_run.cpp), each test with `RUNS` seeds;
# under a sanitizer with a quarter of them, 4 at most. Each seed makes and drops a machine: the heap keeps the last one.
function(skerry_simulate_tests)
  cmake_parse_arguments(arg "" "RUNS" "" ${ARGN})
  if(CMAKE_CXX_FLAGS MATCHES "fsanitize=thread")  # one thread runs all
    return()
  endif()
  if(CMAKE_CXX_FLAGS MATCHES "fsanitize")
    math(EXPR arg_RUNS "(${arg_RUNS} + 3) / 4")
    if(arg_RUNS GREATER 4)
      set(arg_RUNS 4)
    endif()
  endif()
  foreach(name IN LISTS arg_UNPARSED_ARGUMENTS)
    target_link_libraries(${name} PRIVATE test_simulation skerry::simulation)
    get_test_property(${name} LABELS labels)
    add_test(NAME ${name}@sim COMMAND ${name} --gtest_repeat=${arg_RUNS} --gtest_brief)
    set_tests_properties(${name}@sim PROPERTIES LABELS "${labels};sim" TIMEOUT 600
      ENVIRONMENT "SKERRY_TEST_SIM=1;${skerry_own_stack};MALLOC_TRIM_THRESHOLD_=268435456;MALLOC_MMAP_THRESHOLD_=33554432")
  endforeach()
endfunction()

# The same programs once more on epoll, and those of DISTURBED so behind the kernel that disturbs, too.
# Under ThreadSanitizer only those that show how threads meet there (the pool for files, wake-ups): the rest takes minutes.
set(skerry_epoll_under_tsan submit_to_test app_test host_test stream_test file_test file_stream_test process_test kv_server_test)
function(skerry_test_on_epoll)
  cmake_parse_arguments(arg "" "" "DISTURBED" ${ARGN})
  foreach(name IN LISTS arg_UNPARSED_ARGUMENTS)
    if(CMAKE_CXX_FLAGS MATCHES "fsanitize=thread" AND NOT name IN_LIST skerry_epoll_under_tsan)
      continue()
    endif()
    get_test_property(${name} LABELS labels)
    get_test_property(${name} TIMEOUT timeout)
    get_target_property(environment ${name} SKERRY_ENVIRONMENT)
    add_test(NAME ${name}@epoll COMMAND ${name})
    set_tests_properties(${name}@epoll PROPERTIES LABELS "${labels};epoll" TIMEOUT ${timeout}
      ENVIRONMENT "SKERRY_BACKEND=epoll;${environment}")
  endforeach()
  foreach(name IN LISTS arg_DISTURBED)
    get_test_property(${name} LABELS labels)
    add_test(NAME ${name}@epoll@faults COMMAND ${name})
    set_tests_properties(${name}@epoll@faults PROPERTIES LABELS "${labels};epoll;faults;no-asan;no-tsan" TIMEOUT 600
      ENVIRONMENT "SKERRY_BACKEND=epoll;SKERRY_TEST_FAULTS=1")
  endforeach()
endfunction()

# The same programs once more with a thread of the kernel's per ring (--sqpoll-idle-ms), which is asleep as often as awake. More
# rings than CPUs make a thousand wake-ups take seconds, so storms between shards are left out.
function(skerry_test_on_sqpoll)
  foreach(name IN LISTS ARGN)
    get_test_property(${name} LABELS labels)
    get_test_property(${name} TIMEOUT timeout)
    get_target_property(environment ${name} SKERRY_ENVIRONMENT)
    add_test(NAME ${name}@sqpoll COMMAND ${name})
    set_tests_properties(${name}@sqpoll PROPERTIES LABELS "${labels};sqpoll;no-asan;no-tsan" TIMEOUT ${timeout}
      ENVIRONMENT "SKERRY_SQPOLL_IDLE_MS=1;GTEST_FILTER=-*storm*;${environment}" SKIP_REGULAR_EXPRESSION "--sqpoll-idle-ms needs io_uring")
  endforeach()
endfunction()

# The same programs once more with sends that the kernel does not copy (--send-zc-bytes), also on loopback: on the kernel, which
# also disturbs, and with `RUNS` seeds in a simulation, which looks whether bytes stay as they are until it lets go. On loopback the
# kernel copies into pages of its own, which a tiny receive buffer has no room for: it drops them, and sending again takes seconds.
function(skerry_test_on_zero_copy)
  cmake_parse_arguments(arg "" "RUNS" "" ${ARGN})
  foreach(name IN LISTS arg_UNPARSED_ARGUMENTS)
    get_test_property(${name} LABELS labels)
    add_test(NAME ${name}@zc COMMAND ${name})
    set_tests_properties(${name}@zc PROPERTIES LABELS "${labels};zc;no-asan;no-tsan" TIMEOUT 600
      ENVIRONMENT "SKERRY_TEST_SEND_ZC=1;SKERRY_TEST_FAULTS=1;GTEST_FILTER=-*tiny_window*:*cancelled_write*:*written_and_not_sent*:*cancelled_at_any_step*:*slow_reader*:*only_a_part*:*closes_at_once_only*")
    if(TEST ${name}@sim)
      get_test_property(${name}@sim ENVIRONMENT environment)
      add_test(NAME ${name}@sim@zc COMMAND ${name} --gtest_repeat=${arg_RUNS} --gtest_brief)
      set_tests_properties(${name}@sim@zc PROPERTIES LABELS "${labels};sim;zc" TIMEOUT 600
        ENVIRONMENT "${environment};SKERRY_TEST_SEND_ZC=1")
    endif()
  endforeach()
endfunction()

# What a source that links the given targets is compiled with, in a response file: for tests that call the compiler.
function(skerry_compile_arguments name out)
  add_library(${name} INTERFACE)
  target_link_libraries(${name} INTERFACE ${ARGN})
  set(file "${CMAKE_CURRENT_BINARY_DIR}/${name}.rsp")
  set(include_directories "$<FILTER:$<TARGET_PROPERTY:${name},INTERFACE_INCLUDE_DIRECTORIES>,EXCLUDE,^/usr/include$>")
  set(definitions "$<TARGET_PROPERTY:${name},INTERFACE_COMPILE_DEFINITIONS>")
  string(CONCAT content
    "${CMAKE_CXX23_STANDARD_COMPILE_OPTION}\n"
    "$<$<CXX_COMPILER_ID:GNU>:-fcoroutines\n>"
    "$<$<BOOL:${definitions}>:\"-D$<JOIN:${definitions},\"\n\"-D>\"\n>"
    "$<$<BOOL:${include_directories}>:\"-I$<JOIN:${include_directories},\"\n\"-I>\"\n>")
  file(GENERATE OUTPUT "${file}" CONTENT "${content}" TARGET ${name})
  set(${out} "${file}" PARENT_SCOPE)
endfunction()

# skerry_add_compile_fail_test(file USES targets... EXPECT "regex of case 1" "regex of case 2"...)
# One source, in which `#if CASE == 1` and so on select what must not compile. Case 0 must compile, so that the others
# fail for their reason; case n must fail with a message that matches the n-th regex (CMake's; no semicolon).
function(skerry_add_compile_fail_test file)
  cmake_parse_arguments(arg "" "" "USES;EXPECT" ${ARGN})
  get_filename_component(name "${file}" NAME_WE)
  skerry_test_layer("${file}" layer)
  skerry_compile_arguments(${name} arguments ${arg_USES})
  set(case 0)
  foreach(regex IN ITEMS "" LISTS arg_EXPECT)
    set(expect "")
    if(case GREATER 0)
      set(expect "-DEXPECT=${regex}")
    endif()
    add_test(NAME ${name}_case_${case}
             COMMAND "${CMAKE_COMMAND}" "-DCOMPILER=${CMAKE_CXX_COMPILER}" "-DARGUMENTS=${arguments}"
                     "-DSOURCE=${CMAKE_CURRENT_SOURCE_DIR}/${file}" -DCASE=${case} ${expect}
                     -P "${PROJECT_SOURCE_DIR}/scripts/cmake/skerry_compile_case.cmake")
    set_tests_properties(${name}_case_${case} PROPERTIES LABELS "${layer};no-asan;no-tsan" TIMEOUT 120)
    math(EXPR case "${case} + 1")
  endforeach()
endfunction()
