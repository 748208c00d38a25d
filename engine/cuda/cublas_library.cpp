#include "engine/cuda/cublas_library.h"

#include <dlfcn.h>

#include <string>

#include "engine/error.h"

namespace pagoda::engine::cuda {
namespace {

std::string file_name() {
  return "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
}

// Stays open until the program ends.
void* open_library() {
  void* const library = dlopen(file_name().c_str(), RTLD_NOW | RTLD_LOCAL);
  const char* const reason = library == nullptr ? dlerror() : "";
  require(library != nullptr, ErrorKind::kUnsupported, "products on the device need ", file_name(),
          " (", reason,
          "); install it with the CUDA toolkit, or name its folder in "
          "LD_LIBRARY_PATH");
  return library;
}

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  require(function != nullptr, ErrorKind::kUnsupported, file_name(), " has no function ", name,
          "; install the one of the CUDA toolkit that this program was built with");
}

CublasLibrary load() {
  void* const library = open_library();
  CublasLibrary found = {};
  find(library, "cublasLtCreate", found.create);
  find(library, "cublasLtDestroy", found.destroy);
  find(library, "cublasLtGetStatusString", found.status_string);
  find(library, "cublasLtMatmulDescCreate", found.desc_create);
  find(library, "cublasLtMatmulDescDestroy", found.desc_destroy);
  find(library, "cublasLtMatmulDescSetAttribute", found.desc_set_attribute);
  find(library, "cublasLtMatrixLayoutCreate", found.layout_create);
  find(library, "cublasLtMatrixLayoutDestroy", found.layout_destroy);
  find(library, "cublasLtMatmulPreferenceCreate", found.preference_create);
  find(library, "cublasLtMatmulPreferenceDestroy", found.preference_destroy);
  find(library, "cublasLtMatmulPreferenceSetAttribute", found.preference_set_attribute);
  find(library, "cublasLtMatmulAlgoGetHeuristic", found.heuristic);
  find(library, "cublasLtMatmul", found.matmul);
  return found;
}

}  // namespace

const CublasLibrary& cublas() {
  static const CublasLibrary library = load();
  return library;
}

}  // namespace pagoda::engine::cuda
