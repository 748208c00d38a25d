# Flags that every target of the project shares, as one interface target.
add_library(pagoda_flags INTERFACE)
target_compile_options(pagoda_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wno-missing-field-initializers -fstack-protector-strong>
  $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Werror -Wno-missing-field-initializers>)
# g++ 12 reports overlapping copies inside its own std::string operator+ (GCC bug 105651).
target_compile_options(pagoda_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:$<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>>)
# The formulas are compared bit for bit between places; a contraction here and not there would show.
target_compile_options(pagoda_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)

# Index and size code must not narrow or change sign silently.
add_library(pagoda_strict_flags INTERFACE)
target_compile_options(pagoda_strict_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wconversion -Wsign-conversion>)

if(PAGODA_SANITIZE)
  add_compile_options(-fsanitize=${PAGODA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PAGODA_SANITIZE})
endif()
if(PAGODA_COVERAGE)
  add_compile_options(--coverage -O0)
  add_link_options(--coverage)
endif()
