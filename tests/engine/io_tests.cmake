# Tests of model files, tokenizers and chat templates.
foreach(name formats tokenizer chat)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/${name}_*test.cpp)
  if(sources)
    pagoda_test(engine_${name}_test SOURCES ${sources} LIBS pagoda_engine_io)
  endif()
endforeach()
