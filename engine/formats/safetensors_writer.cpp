#include "engine/formats/safetensors_writer.h"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/error.h"

namespace pagoda::engine {

void SafetensorsWriter::add(const std::string& name, const std::vector<int64_t>& shape,
                            const std::vector<float>& data) {
  int64_t elements = 1;
  for (int64_t size : shape) elements *= size;
  require(elements == std::ssize(data), ErrorKind::kInvalidArgument, "tensor ", name, " has ",
          data.size(), " elements, its shape ", elements);
  const size_t begin = data_.size() * sizeof(float);
  data_.insert(data_.end(), data.begin(), data.end());
  entries_.push_back({name, shape, begin, data_.size() * sizeof(float)});
}

void SafetensorsWriter::write(const std::filesystem::path& path) const {
  nlohmann::ordered_json directory = nlohmann::ordered_json::object();
  for (const Entry& entry : entries_)
    directory[entry.name] = {
        {"dtype", "F32"}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  std::string header = directory.dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');  // the data begins at a multiple of 8
  std::filesystem::path partial = path;
  partial += ".partial";
  std::ofstream file(partial, std::ios::binary | std::ios::trunc);
  const uint64_t size = header.size();
  char length[8];
  for (int i = 0; i < 8; i++) length[i] = static_cast<char>(size >> (8 * i));
  file.write(length, sizeof length);
  file.write(header.data(), std::ssize(header));
  file.write(reinterpret_cast<const char*>(data_.data()),
             static_cast<std::streamsize>(data_.size() * sizeof(float)));
  file.close();
  std::error_code error;
  if (file.good()) std::filesystem::rename(partial, path, error);
  const bool written = file.good() && !error;
  if (!written) std::filesystem::remove(partial, error);
  require(written, ErrorKind::kIo, path.string(), " cannot be written");
}

}  // namespace pagoda::engine
