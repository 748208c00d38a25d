// Small tensors of floats to a safetensors file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace pagoda::engine {

class SafetensorsWriter {
 public:
  // data: as many floats as the shape has elements.
  void add(const std::string& name, const std::vector<int64_t>& shape,
           const std::vector<float>& data);

  // Beside its place first, and moved there when it is whole. Errors: kIo.
  void write(const std::filesystem::path& path) const;

 private:
  struct Entry {
    std::string name;
    std::vector<int64_t> shape;
    size_t begin, end;  // bytes of the data
  };
  std::vector<Entry> entries_;
  std::vector<float> data_;
};

}  // namespace pagoda::engine
