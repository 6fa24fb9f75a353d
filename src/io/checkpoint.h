#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "tensor/tensor_source.h"

namespace tender::io {

/// A model on disk, opened and checked: every tensor lies inside its file. What the tensors mean is
/// not known here, so files of unknown architectures open too.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  /// "gguf", "hf_directory" or "safetensors" (a bare file).
  virtual std::string_view container() const = 0;
  /// What the user gave, for messages.
  const std::filesystem::path& path() const { return path_; }
  virtual const TensorSource& tensors() const = 0;

  /// Metadata of a GGUF file by key (all parts of a split model are one checkpoint); null
  /// otherwise.
  virtual const class GgufMetadata* gguf() const { return nullptr; }
  /// config.json of a directory, an object; null otherwise.
  virtual const Json* config() const { return nullptr; }
  /// __metadata__ of a bare safetensors file; null otherwise.
  virtual const std::map<std::string, std::string>* header_metadata() const { return nullptr; }
  /// A small file of the directory by its name, such as "tokenizer.json"; nothing if it is absent.
  virtual std::optional<std::string> read(std::string_view file_name) const {
    static_cast<void>(file_name);
    return std::nullopt;
  }
  /// Remarks on the input that are no errors: "auto_map is ignored".
  const std::vector<std::string>& notes() const { return notes_; }
  /// Files that make up the model, weights first: for hashes and sizes.
  virtual std::vector<std::filesystem::path> files() const = 0;

 protected:
  std::filesystem::path path_;
  std::vector<std::string> notes_;
};

/// What a caller may do without: a directory of tokenizer files has no weights and no config.json.
enum class Need : std::uint8_t {
  model,      ///< config.json and weights
  tokenizer,  ///< weights and config.json may be missing
};

/// Opens a GGUF file (given any part of a split one), a Hugging Face directory or a bare
/// safetensors file; the kind is read from the bytes, never from the name.
/// @throws Error with the codes of docs/errors.md (checkpoints 8.1 to 8.3)
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path,
                                            Need need = Need::model);

/// One value of GGUF metadata. Integers keep their sign but not their width; arrays are flat.
struct GgufValue {
  enum class Type : std::uint8_t {
    u8,
    i8,
    u16,
    i16,
    u32,
    i32,
    f32,
    boolean,
    string,
    array,
    u64,
    i64,
    f64
  };
  Type type = Type::u32;
  Type element = Type::u32;  ///< of an array
  std::variant<std::uint64_t, std::int64_t, double, bool, std::string, std::vector<std::string>,
               std::vector<double>, std::vector<std::int64_t>>
      value;  ///< arrays: strings; floats as double; integers and booleans as int64
};

/// Typed access to GGUF metadata; a key of another type is GG_KEY_TYPE, a missing one
/// GG_KEY_MISSING.
class GgufMetadata {
 public:
  using Map = std::map<std::string, GgufValue, std::less<>>;
  GgufMetadata(std::string file, Map values) : file_(std::move(file)), values_(std::move(values)) {}

  const Map& all() const { return values_; }
  const std::string& file() const { return file_; }
  bool has(std::string_view key) const { return values_.find(key) != values_.end(); }

  /// Integers may be stored in any width; the value must lie in [least, most] (GG_PARAM).
  std::int64_t integer(std::string_view key, std::int64_t least, std::int64_t most) const;
  std::optional<std::int64_t> find_integer(std::string_view key, std::int64_t least,
                                           std::int64_t most) const;
  std::optional<double> find_number(std::string_view key) const;
  double number(std::string_view key) const;
  std::optional<bool> find_boolean(std::string_view key) const;
  const std::string& string(std::string_view key) const;
  const std::string* find_string(std::string_view key) const;
  const std::vector<std::string>* find_strings(std::string_view key) const;
  /// Arrays of f32 or f64.
  const std::vector<double>* find_numbers(std::string_view key) const;
  /// Arrays of any integer type.
  const std::vector<std::int64_t>* find_integers(std::string_view key) const;

 private:
  std::string file_;
  Map values_;
};

/// Values of a stored tensor as float32, exactly as its format defines them (f64 is rounded).
/// `out` has tensor.elements() numbers. @throws Error unsupported (TENSOR_TYPE) for types that no
/// one computes with
void to_float32(const TensorInfo& tensor, std::span<float> out);
/// The same for rows [begin, begin + count) of a tensor of rank 2 (or rank 1: one row).
void rows_to_float32(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t count,
                     std::span<float> out);
/// Whether to_float32 knows the type.
bool is_computable(DType type);

}  // namespace tender::io
