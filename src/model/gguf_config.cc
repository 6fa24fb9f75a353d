#include "model/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/hf_config.h"

namespace tender::model {
namespace {

double shortest(double value) {
  if (static_cast<double>(static_cast<float>(value)) != value) return value;  // stored as f64
  const std::string text = fmt::format("{}", static_cast<float>(value));
  double read = value;
  std::from_chars(text.data(), text.data() + text.size(), read);
  return read;
}

/// N of "blk.N.…", or nothing.
std::optional<std::uint64_t> block_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return std::nullopt;
  return number;
}

}  // namespace

GgufConfig::GgufConfig(const io::Checkpoint& checkpoint)
    : checkpoint_(checkpoint),
      metadata_(*checkpoint.gguf()),
      prefix_(metadata_.string("general.architecture") + ".") {}

std::int64_t GgufConfig::integer(std::string_view name, std::int64_t least,
                                 std::int64_t most) const {
  return metadata_.integer(key(name), least, most);
}

std::int64_t GgufConfig::integer(std::string_view name, std::int64_t least, std::int64_t most,
                                 std::int64_t fallback) const {
  return metadata_.find_integer(key(name), least, most).value_or(fallback);
}

std::int64_t GgufConfig::layered(std::string_view name, std::int64_t least, std::int64_t most,
                                 std::size_t layers) const {
  const auto entry = metadata_.all().find(key(name));
  if (entry == metadata_.all().end() || entry->second.type != io::GgufValue::Type::array)
    return integer(name, least, most);
  const std::vector<std::int64_t>& list = *metadata_.find_integers(key(name));
  if (list.size() != layers)
    refuse(name, fmt::format("a list of {}", list.size()),
           fmt::format("one value for each of {} layers", layers));
  for (const std::int64_t value : list) {
    if (value < least || value > most)
      refuse(name, std::to_string(value), fmt::format("integers in [{}, {}]", least, most));
    if (value != list.front())
      unsupported(name, "a list of different values", "layers that are all alike");
  }
  return list.front();
}

std::int64_t GgufConfig::layered(std::string_view name, std::int64_t least, std::int64_t most,
                                 std::size_t layers, std::int64_t fallback) const {
  return metadata_.has(key(name)) ? layered(name, least, most, layers) : fallback;
}

double GgufConfig::number(std::string_view name, double least, double most) const {
  const double value = metadata_.number(key(name));
  if (!(value >= least && value <= most))
    refuse(name, fmt::format("{}", value), fmt::format("a number in [{}, {}]", least, most));
  return shortest(value);
}

double GgufConfig::number(std::string_view name, double least, double most, double fallback) const {
  return metadata_.has(key(name)) ? number(name, least, most) : fallback;
}

std::size_t GgufConfig::layers() const {
  const auto count =
      static_cast<std::uint64_t>(integer("block_count", 1, std::int64_t{Caps::layers}));
  std::uint64_t stored = 0;
  for (const TensorInfo& tensor : checkpoint_.tensors().tensors())
    if (const auto block = block_of(tensor.name)) stored = std::max(stored, *block + 1);
  if (stored != count)
    refuse("block_count", std::to_string(count),
           fmt::format("{}, as many as the file has blocks", stored));
  return count;
}

void GgufConfig::refuse(std::string_view name, const std::string& found,
                        const std::string& expected) const {
  fail(ErrorKind::corrupt_file,
       {.code = "GG_PARAM",
        .file = metadata_.file(),
        .item = key(name),
        .found = found,
        .expected = expected,
        .hint = "the metadata of the file is damaged"},
       "{} is {}: expected {}", key(name), found, expected);
}

void GgufConfig::unsupported(std::string_view name, const std::string& found,
                             const std::string& supported) const {
  fail(ErrorKind::unsupported,
       {.code = "ARCH_FEATURE",
        .file = metadata_.file(),
        .item = key(name),
        .found = found,
        .expected = supported,
        .hint = "this build runs only models with " + supported},
       "{} is {}: this build supports {}", key(name), found, supported);
}

}  // namespace tender::model
