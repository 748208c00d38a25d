// Files damaged everywhere: cut off at every byte of the header, every byte of the header changed,
// and what still opens is read to the end. Whatever happens must be a typed error or a sound model;
// run under sanitizers this is the fuzz test of the readers.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <random>

#include "engine/error.h"
#include "engine/formats/model_file.h"
#include "engine/formats/quants.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

// A file that exists in memory only: thousands of them are written here.
class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("model", MFD_CLOEXEC)) {}
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(fd_); }

  void write(const std::string& bytes) const {
    ASSERT_EQ(ftruncate(fd_, 0), 0);
    ASSERT_EQ(pwrite(fd_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }

  // Takes the place of a file in a folder.
  void stand_in_for(const std::filesystem::path& file) const {
    std::filesystem::remove(file);
    std::filesystem::create_symlink(path(), file);
  }

 private:
  int fd_;
};

// Opens, reads every tensor, makes the tokenizer and uses it. Whether all of that went well.
bool use_model(const std::filesystem::path& path) {
  try {
    const ModelFile model = ModelFile::open(path);
    for (const std::string& name : model.tensor_names()) {
      const TensorView tensor = model.tensor(name);
      std::vector<float> values(static_cast<size_t>(tensor.num_elements()));
      dequantize(tensor.type, tensor.bytes, values);
    }
    const Tokenizer tokenizer = Tokenizer::from_model(model);
    const std::vector<TokenId> ids = tokenizer.encode("hi ab\xff <s> z", {.parse_special = true});
    tokenizer.decode(ids);
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(HostileFiles, GgufCutOffAtEveryByte) {
  const MemoryFile memory;
  const GgufWriter gguf = tiny_gguf();
  const std::string file = gguf.file();
  ASSERT_TRUE((memory.write(file), use_model(memory.path())));
  const size_t header = gguf.header().size();
  for (size_t size = 0; size < file.size(); size += size < header + 64 ? 1 : 97) {
    memory.write(file.substr(0, size));
    ASSERT_FALSE(use_model(memory.path()))
        << "accepted with " << size << " of " << file.size() << " bytes";
  }
}

TEST(HostileFiles, GgufWithEveryHeaderByteChanged) {
  const MemoryFile memory;
  const GgufWriter gguf = tiny_gguf();
  const std::string file = gguf.file();
  int accepted = 0, refused = 0;
  for (size_t at = 0; at < gguf.header().size(); ++at) {
    for (uint8_t change : {0x01, 0x80, 0xff}) {
      std::string damaged = file;
      damaged[at] = static_cast<char>(static_cast<uint8_t>(damaged[at]) ^ change);
      memory.write(damaged);
      ++(use_model(memory.path()) ? accepted : refused);
    }
  }
  // Letters of names and scores may change unnoticed; counts, lengths and offsets may not.
  EXPECT_GT(refused, 2000);
  EXPECT_GT(accepted, 100);
}

TEST(HostileFiles, GgufWithRandomChanges) {
  const MemoryFile memory;
  const GgufWriter gguf = tiny_gguf();
  const std::string file = gguf.file();
  const size_t header = gguf.header().size();
  std::mt19937 random(3);
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = file;
    for (uint32_t change = 0; change < 1 + random() % 4; ++change) {
      const size_t at = random() % header;
      constexpr uint64_t kNumbers[] = {0,        1,   31,         32,         255,        65536,
                                       1u << 31, ~0u, 1ull << 40, 1ull << 62, 1ull << 63, ~0ull};
      damaged.replace(at, 8, raw(kNumbers[random() % std::size(kNumbers)]));
    }
    memory.write(damaged);
    refused += !use_model(memory.path());
  }
  EXPECT_GT(refused, 1500);
}

TEST(HostileFiles, SafetensorsCutOffAndChanged) {
  const std::filesystem::path folder = test_folder("safetensors");
  const TinyFolder tiny;
  tiny.write(folder);
  const MemoryFile memory;
  memory.stand_in_for(folder / "model.safetensors");
  const std::string file = tiny.safetensors();
  memory.write(file);
  ASSERT_TRUE(use_model(folder));
  const size_t header = 8 + tiny.directory.dump().size();
  for (size_t size = 0; size < file.size(); size += size < header + 64 ? 1 : 97) {
    memory.write(file.substr(0, size));
    ASSERT_FALSE(use_model(folder)) << "accepted with " << size << " bytes";
  }
  int refused = 0;
  for (size_t at = 0; at < header; ++at) {
    for (uint8_t change : {0x01, 0x08, 0x80}) {
      std::string damaged = file;
      damaged[at] = static_cast<char>(static_cast<uint8_t>(damaged[at]) ^ change);
      memory.write(damaged);
      refused += !use_model(folder);
    }
  }
  EXPECT_GT(refused, static_cast<int>(3 * header * 9 / 10));  // nearly every byte matters
}

TEST(HostileFiles, TokenizerJsonChanged) {
  const std::filesystem::path folder = test_folder("tokenizer_json");
  const TinyFolder tiny;
  tiny.write(folder);
  const MemoryFile memory;
  memory.stand_in_for(folder / "tokenizer.json");
  const std::string file = tiny.tokenizer.dump();
  std::mt19937 random(5);
  int refused = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string damaged = file;
    constexpr std::string_view kPieces[] = {"1", "-", "\"",   "{",  "}",  "[",    "]",
                                            ":", ",", "null", "\\", "e9", "\xff", "true"};
    damaged.replace(random() % damaged.size(), random() % 3,
                    kPieces[random() % std::size(kPieces)]);
    memory.write(damaged);
    try {
      Tokenizer::from_folder(folder).encode("hi ab\xff <s> z", {.parse_special = true});
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 700);
}

}  // namespace
}  // namespace pagoda::engine
