# pagoda_test(NAME SOURCES... [LIBS ...] [LABELS ...] [TIMEOUT seconds])
#
# One GoogleTest program, one ctest entry: its cases share a process, so a whole run starts few of them.
# LABELS quick (the default) belongs to `make quick`, ci to `make test`, long to `make long`; asan is also run
# by `make asan`, under sanitizers.
function(pagoda_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBS;LABELS;ARGS" ${ARGN})
  if(NOT arg_LABELS)
    set(arg_LABELS quick)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  if(CMAKE_CROSSCOMPILING)
    math(EXPR arg_TIMEOUT "10 * ${arg_TIMEOUT}")  # emulated
  endif()
  find_package(GTest REQUIRED)
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} pagoda_flags GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE PAGODA_SHARED_DIR="${PAGODA_SHARED_DIR}"
                                             PAGODA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name} ${arg_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
endfunction()
