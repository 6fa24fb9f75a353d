#include "io/safetensors_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/checked.h"
#include "base/contracts.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/output.h"

namespace tender::io {
namespace {

using Tensors = std::span<const TensorToWrite>;

std::uint64_t bytes_of(const TensorToWrite& tensor) {
  const DTypeTraits& type = traits(tensor.type);
  require(type.safetensors, "the type of a tensor to write stands in safetensors files");
  const auto count = element_count(tensor.shape);
  require(count.has_value() && *count * type.bits % 8 == 0, "a tensor to write has whole bytes");
  return *count * type.bits / 8;
}

std::string json_string(std::string_view text) { return to_text(Json(text)); }

/// The length and the JSON of a file's header, padded with spaces so that the data begins at a
/// multiple of 8.
std::string header_of(Tensors tensors, const std::map<std::string, std::string>& metadata) {
  std::string json = "{\"__metadata__\":{";
  for (const auto& [key, value] : metadata)
    json += json_string(key) + ":" + json_string(value) + ",";
  json.back() = '}';  // never empty: there is always a format
  std::uint64_t begin = 0;
  for (const TensorToWrite& tensor : tensors) {
    const std::uint64_t end = begin + bytes_of(tensor);
    std::string shape;
    for (const std::uint64_t extent : tensor.shape)
      shape += (shape.empty() ? "" : ",") + std::to_string(extent);
    json += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        json_string(tensor.name), to_string(tensor.type), shape, begin, end);
    begin = end;
  }
  json += '}';
  json.resize(round_up(json.size(), 8), ' ');
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(json.size() >> (8 * i) & 0xffU);
  return length + json;
}

/// Writes one file and adds its name, size and hashes to `written`.
void write_file(const std::filesystem::path& directory, const std::string& name, Tensors tensors,
                const std::map<std::string, std::string>& metadata, WrittenTensors& written) {
  OutputFile file(directory / name, Overwrite::refuse);
  file.write(header_of(tensors, metadata));
  for (const TensorToWrite& tensor : tensors) {
    const std::uint64_t before = file.written();
    Xxh3 hash;
    tensor.write([&](std::span<const std::byte> bytes) {
      hash.update(bytes);
      file.write(bytes);
    });
    require(file.written() - before == bytes_of(tensor),
            "a tensor's writer gives as many bytes as its shape needs");
    const bool is_new = written.xxh3.emplace(tensor.name, hash.hex()).second;
    require(is_new, "tensors to write have different names");
  }
  written.bytes += file.written();
  written.files.push_back(name);
  file.commit();
}

/// Cuts tensors into runs of at most `shard_bytes`; a larger tensor has a run of its own.
std::vector<Tensors> cut(Tensors tensors, std::uint64_t shard_bytes) {
  std::vector<Tensors> shards;
  std::size_t first = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::uint64_t more = bytes_of(tensors[i]);
    if (i > first && bytes + more > shard_bytes) {
      shards.push_back(tensors.subspan(first, i - first));
      first = i;
      bytes = 0;
    }
    bytes += more;
  }
  shards.push_back(tensors.subspan(first));
  return shards;
}

void write_index(const std::filesystem::path& directory, const std::vector<Tensors>& shards,
                 WrittenTensors& written) {
  std::uint64_t total = 0;
  std::map<std::string_view, std::string_view> places;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    for (const TensorToWrite& tensor : shards[i]) {
      total += bytes_of(tensor);
      places.emplace(tensor.name, written.files[i]);
    }
  }
  std::string json =
      fmt::format("{{\n  \"metadata\": {{\"total_size\": {}}},\n  \"weight_map\": {{", total);
  for (const auto& [tensor, file] : places)
    json += fmt::format("{}\n    {}: {}", tensor == places.begin()->first ? "" : ",",
                        json_string(tensor), json_string(file));
  json += "\n  }\n}\n";
  OutputFile file(directory / "model.safetensors.index.json", Overwrite::refuse);
  file.write(json);
  written.bytes += file.written();
  file.commit();
}

}  // namespace

WrittenTensors write_safetensors(const std::filesystem::path& directory,
                                 std::vector<TensorToWrite> tensors,
                                 const std::map<std::string, std::string>& metadata,
                                 std::uint64_t shard_bytes) {
  std::map<std::string, std::string> all = metadata;
  all["format"] = "pt";
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    return std::tuple(traits(b.type).bits, std::string_view(a.name)) <
           std::tuple(traits(a.type).bits, std::string_view(b.name));
  });
  const std::vector<Tensors> shards = cut(tensors, shard_bytes);
  WrittenTensors written;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        shards.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_file(directory, name, shards[i], all, written);
  }
  if (shards.size() > 1)
    write_index(directory, shards, written);  // last: without it the shards are no model
  return written;
}

}  // namespace tender::io
