# SPDX-License-Identifier: Apache-2.0
# Builds and runs the consumer one WAY: find_package (against an installation made now from the libraries that are built
# already) or add_subdirectory (which compiles the libraries again, without optimisation).
include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

set(options -G Ninja "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_CXX_FLAGS=${FLAGS}" -DCMAKE_BUILD_TYPE=Debug
    -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF)
if(WAY STREQUAL "find_package")
  file(REMOVE_RECURSE "${SCRATCH}")
  run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${SCRATCH}/prefix")
  list(APPEND options "-DCMAKE_PREFIX_PATH=${SCRATCH}/prefix")
  if(CONFIG STREQUAL "Release")  # elsewhere debug information names the sources, for debuggers
    execute_process(COMMAND grep -rlF "${SOURCE}" "${SCRATCH}/prefix" OUTPUT_VARIABLE leaks)
    if(leaks)
      message(FATAL_ERROR "what is installed names the tree it was built in:\n${leaks}")
    endif()
  endif()
else()
  list(APPEND options "-DSKERRY_SOURCE=${SOURCE}")
endif()
run("${CMAKE_COMMAND}" --fresh -S "${SOURCE}/tests/project/consumer" -B "${SCRATCH}/build" ${options})
run("${CMAKE_COMMAND}" --build "${SCRATCH}/build" --parallel 2 --target consumer only_net only_shards)
run("${SCRATCH}/build/consumer")

# What --admin names is opened in a program that never listens, and refused in one that has nothing to open.
function(expect status text)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE seen ERROR_VARIABLE said)
  if(NOT seen EQUAL status OR NOT said MATCHES "${text}")
    message(FATAL_ERROR "${ARGN}\nended with ${seen}:\n${said}")
  endif()
endfunction()
expect(0 "the admin endpoint is at 127.0.0.1:" "${SCRATCH}/build/only_net" --admin 127.0.0.1:0)
expect(1 "silent: this program has no admin endpoint: link skerry::net" "${SCRATCH}/build/only_shards" --admin 127.0.0.1:0)
expect(0 "" "${SCRATCH}/build/only_shards")
