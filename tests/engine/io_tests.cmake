# Tests of model files, tokenizers and chat templates.
function(pagoda_engine_io_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "LABELS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/${name}_*test.cpp)
  pagoda_test(engine_${name}_test
    SOURCES ${sources} ${CMAKE_CURRENT_LIST_DIR}/tiny_models.cpp
    LIBS pagoda_engine_io LABELS ${arg_LABELS} TIMEOUT ${arg_TIMEOUT})
endfunction()

pagoda_engine_io_test(formats LABELS quick asan)
pagoda_engine_io_test(tokenizer LABELS quick asan)
pagoda_engine_io_test(chat LABELS quick asan)
pagoda_engine_io_test(hostile LABELS ci asan TIMEOUT 900)
