# Tests of the runner: products and small operations, sampling, scheduling, the forward pass, whole
# generations, and the program.
function(pagoda_runner_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBS;LABELS;ARGS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/${name}_test.cpp
    ${CMAKE_CURRENT_LIST_DIR}/${name}_*_test.cpp)
  pagoda_test(engine_${name}_test SOURCES ${sources} ${arg_SOURCES} LIBS pagoda_engine ${arg_LIBS}
    LABELS ${arg_LABELS} TIMEOUT ${arg_TIMEOUT} ARGS ${arg_ARGS})
endfunction()

pagoda_runner_test(math)
pagoda_runner_test(sample)
pagoda_runner_test(sched)

# On machines without AVX-512 oneDNN has other kernels; the promises about bits are the same.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  foreach(isa AVX2 SSE41)
    add_test(NAME engine_math_test_${isa} COMMAND engine_math_test --gtest_filter=Matrix.*)
    set_tests_properties(engine_math_test_${isa} PROPERTIES
      LABELS quick TIMEOUT 300 ENVIRONMENT DNNL_MAX_CPU_ISA=${isa})
  endforeach()
endif()
pagoda_runner_test(model SOURCES ${CMAKE_CURRENT_LIST_DIR}/random_model.cpp ${CMAKE_CURRENT_LIST_DIR}/tiny_models.cpp)
pagoda_runner_test(runner LABELS ci TIMEOUT 900)

pagoda_runner_test(draft LABELS ci TIMEOUT 900 ARGS --gtest_filter=-*FiftyPrompts)
add_test(NAME engine_draft_test_long
  COMMAND engine_draft_test --gtest_filter=*FiftyPrompts)
set_tests_properties(engine_draft_test_long PROPERTIES LABELS long TIMEOUT 3600)
pagoda_runner_test(tensor_parallel LABELS ci TIMEOUT 600)
pagoda_runner_test(embed SOURCES ${CMAKE_CURRENT_LIST_DIR}/tiny_models.cpp LABELS ci)
pagoda_runner_test(cli SOURCES ${CMAKE_CURRENT_LIST_DIR}/tiny_models.cpp LABELS ci)
target_compile_definitions(engine_cli_test PRIVATE PAGODA_CLI="$<TARGET_FILE:pagoda_cli>")
add_dependencies(engine_cli_test pagoda_cli)

set(random_models ${CMAKE_CURRENT_LIST_DIR}/random_model.cpp ${CMAKE_CURRENT_LIST_DIR}/tiny_models.cpp)
pagoda_runner_test(cuda_host SOURCES ${random_models})
if(PAGODA_HAS_CUDA)
  find_package(CUDAToolkit REQUIRED)
  pagoda_runner_test(cuda_device SOURCES ${random_models} LIBS CUDA::cudart_static LABELS ci)
endif()
