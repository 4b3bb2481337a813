# SPDX-License-Identifier: Apache-2.0
# `cmake --install` puts headers under include/skerry, archives under lib, and a package that find_package(skerry) finds.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/skerry")
get_property(layers GLOBAL PROPERTY SKERRY_LAYERS)
list(TRANSFORM layers PREPEND skerry_ OUTPUT_VARIABLE targets)
list(REMOVE_ITEM targets skerry_simulation)
install(TARGETS ${targets} skerry_skerry
        EXPORT skerry_targets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT skerry_targets NAMESPACE skerry:: FILE skerry_targets.cmake DESTINATION "${package_dir}")
# Only tests link the simulation, so scripts/build leaves it out. It is installed when somebody has built it, and the
# package looks for its archive.
install(TARGETS skerry_simulation EXPORT skerry_simulation_targets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" OPTIONAL)
install(EXPORT skerry_simulation_targets NAMESPACE skerry:: FILE skerry_simulation_targets.cmake DESTINATION "${package_dir}")
set(simulation_archive "${CMAKE_INSTALL_LIBDIR}/${CMAKE_STATIC_LIBRARY_PREFIX}skerry_simulation${CMAKE_STATIC_LIBRARY_SUFFIX}")
foreach(layer ${layers})
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/${layer}" DESTINATION include/skerry
          FILES_MATCHING PATTERN "*.hpp" PATTERN "skerry.hpp" EXCLUDE)
endforeach()
install(FILES "${PROJECT_SOURCE_DIR}/net/skerry.hpp" DESTINATION include/skerry)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/simulation/" DESTINATION include/skerry/shards/sim FILES_MATCHING PATTERN "*.hpp")

configure_package_config_file("${PROJECT_SOURCE_DIR}/scripts/cmake/skerry-config.cmake.in"
  "${PROJECT_BINARY_DIR}/skerry-config.cmake" INSTALL_DESTINATION "${package_dir}" PATH_VARS simulation_archive)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/skerry-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/skerry-config.cmake" "${PROJECT_BINARY_DIR}/skerry-config-version.cmake"
        "${PROJECT_SOURCE_DIR}/scripts/cmake/skerry_dependencies.cmake" DESTINATION "${package_dir}")
