# SPDX-License-Identifier: Apache-2.0
# Run by tests: compiles one case of one file, without output, and judges the result.
#   cmake -DCOMPILER=... -DARGUMENTS=file.rsp -DSOURCE=... -DCASE=n [-DEXPECT=regex] -P skerry_compile_case.cmake
# With EXPECT the compiler must refuse the file in words that match; without, it must accept it.
execute_process(COMMAND "${COMPILER}" "@${ARGUMENTS}" "-DCASE=${CASE}" -fsyntax-only -x c++ "${SOURCE}"
                RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT DEFINED EXPECT)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "case ${CASE} of ${SOURCE} must compile:\n${output}")
  endif()
elseif(status EQUAL 0)
  message(FATAL_ERROR "case ${CASE} of ${SOURCE} compiles, and must be refused with: ${EXPECT}")
elseif(NOT output MATCHES "${EXPECT}")
  message(FATAL_ERROR "case ${CASE} of ${SOURCE} must be refused with: ${EXPECT}\nbut the compiler said:\n${output}")
endif()
