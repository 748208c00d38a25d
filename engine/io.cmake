# Model files, tokenizers and chat templates: files in, numbers and text out, no attention.
find_package(nlohmann_json 3.11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

file(GLOB pagoda_engine_io_sources CONFIGURE_DEPENDS
  ${CMAKE_CURRENT_LIST_DIR}/formats/*.cpp
  ${CMAKE_CURRENT_LIST_DIR}/tokenizer/*.cpp
  ${CMAKE_CURRENT_LIST_DIR}/chat/*.cpp)
add_library(pagoda_engine_io STATIC ${pagoda_engine_io_sources})
target_include_directories(pagoda_engine_io PUBLIC ${PROJECT_SOURCE_DIR})
target_link_libraries(pagoda_engine_io
  PUBLIC nlohmann_json::nlohmann_json
  PRIVATE PkgConfig::PCRE2 PkgConfig::UTF8PROC pagoda_flags)
