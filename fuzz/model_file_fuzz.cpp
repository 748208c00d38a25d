// A model file of any bytes, GGUF or safetensors by its first byte, opened and used to the end:
// every tensor restored, the tokenizer made and run. Whatever the bytes are: a typed error, or a
// model without any access beyond them.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "engine/error.h"
#include "engine/formats/gguf.h"
#include "engine/formats/model_file.h"
#include "engine/formats/quants.h"
#include "engine/formats/safetensors.h"
#include "engine/tokenizer/tokenizer.h"

namespace {

namespace engine = pagoda::engine;

constexpr int64_t kMaxElements = 1 << 20;  // larger tensors are legal but waste the fuzzer's time

// A file in memory, with a path by which it can be opened.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(memfd_create("model", MFD_CLOEXEC)) {
    for (size_t done = 0; done < size;) {
      const ssize_t written = write(fd_, data + done, size - done);
      if (written <= 0) break;
      done += static_cast<size_t>(written);
    }
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

void restore(std::span<const engine::TensorView> tensors) {
  for (const engine::TensorView& tensor : tensors) {
    if (tensor.num_elements() > kMaxElements) continue;
    std::vector<float> values(static_cast<size_t>(tensor.num_elements()));
    engine::dequantize(tensor.type, tensor.bytes, values);
  }
}

void use_tokenizer(const engine::Tokenizer& tokenizer) {
  const std::vector<engine::TokenId> ids =
      tokenizer.encode("hi there 123\xff <s> \xC3\xA9", {.parse_special = true});
  tokenizer.decode(ids);
}

template <class Use>
void try_to(Use use) {
  try {
    use();
  } catch (const engine::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const MemoryFile file(data, size);
  if (size > 0 && data[0] == 'G') {
    try_to([&] { restore(engine::GgufFile::open(file.path()).tensors()); });
    try_to(
        [&] { use_tokenizer(engine::Tokenizer::from_gguf(engine::GgufFile::open(file.path()))); });
    try_to([&] { engine::ModelFile::open(file.path()); });
  } else {
    try_to([&] { restore(engine::SafetensorsFile::open(file.path()).tensors()); });
  }
  return 0;
}
