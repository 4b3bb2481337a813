# SPDX-License-Identifier: Apache-2.0
# Installs twice from one build tree: without the simulation, as scripts/build leaves it, and with it. The tree is made
# here, from the archives that are built already, so that no other is touched.
include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

set(options -G Ninja "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_CXX_FLAGS=${FLAGS}" "-DCMAKE_BUILD_TYPE=${CONFIG}"
    -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF)
set(tree "${SCRATCH}/tree")
set(prefix "${SCRATCH}/prefix")
file(REMOVE_RECURSE "${SCRATCH}")

# Configures a project of which `lines` are all, against what is installed.
function(configure_user lines status_wanted text_wanted)
  file(WRITE "${SCRATCH}/user/CMakeLists.txt" "cmake_minimum_required(VERSION 3.25)\nproject(user LANGUAGES C CXX)\n${lines}\n")
  execute_process(COMMAND "${CMAKE_COMMAND}" --fresh -S "${SCRATCH}/user" -B "${SCRATCH}/user_build" ${options}
                  "-DCMAKE_PREFIX_PATH=${prefix}" RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")  # messages are broken into lines
  if(NOT status EQUAL status_wanted OR NOT output MATCHES "${text_wanted}")
    message(FATAL_ERROR "${lines}\nended with ${status}, wanted ${status_wanted} and '${text_wanted}':\n${output}")
  endif()
endfunction()

run("${CMAKE_COMMAND}" -S "${SOURCE}" -B "${tree}" ${options} -DSKERRY_APPS=OFF -DSKERRY_TESTS=OFF -DSKERRY_PERF=OFF)
file(GLOB archives "${BUILD}/libskerry_*.a")
set(simulation "${BUILD}/libskerry_simulation.a")
list(REMOVE_ITEM archives "${simulation}")
file(COPY ${archives} DESTINATION "${tree}")

run("${CMAKE_COMMAND}" --install "${tree}" --prefix "${prefix}")
configure_user([[
find_package(skerry 0.1 REQUIRED COMPONENTS net)
add_library(user INTERFACE)
target_link_libraries(user INTERFACE skerry::skerry)
if(TARGET skerry::simulation)
  message(FATAL_ERROR "there is no simulation to link")
endif()
]] 0 "")
configure_user("find_package(skerry REQUIRED COMPONENTS simulation)" 1
               "skerry::simulation was not built when this was installed: scripts/build release skerry_simulation")
configure_user([[
find_package(skerry OPTIONAL_COMPONENTS simulation)
message(STATUS "package ${skerry_FOUND}, simulation '${skerry_simulation_FOUND}'")
]] 0 "package 1, simulation 'FALSE'")

file(WRITE "${SCRATCH}/user/user.cpp" [[
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

int main() {
  skerry::sim::options o;
  o.seed = 1;
  return skerry::sim::run(o, []() -> skerry::task<> { co_await skerry::sleep_for(std::chrono::hours(1)); }).ok() ? 0 : 1;
}
]])
file(COPY "${simulation}" DESTINATION "${tree}")
run("${CMAKE_COMMAND}" --install "${tree}" --prefix "${prefix}")
configure_user([[
find_package(skerry 0.1 REQUIRED COMPONENTS net simulation)
add_executable(user user.cpp)
target_link_libraries(user PRIVATE skerry::simulation)
]] 0 "")
run("${CMAKE_COMMAND}" --build "${SCRATCH}/user_build")
run("${SCRATCH}/user_build/user")
file(REMOVE_RECURSE "${tree}")
