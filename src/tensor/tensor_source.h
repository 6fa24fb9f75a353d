#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tender {

/// Element types of stored tensors: those of safetensors, then the block types of GGUF.
enum class DType : std::uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q8_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  q8_k,
  iq2_xxs,
  iq2_xs,
  iq3_xxs,
  iq1_s,
  iq4_nl,
  iq3_s,
  iq2_s,
  iq4_xs,
  iq1_m,
  tq1_0,
  tq2_0,
  mxfp4,
  nvfp4,
  q1_0,
  q2_0,
};

/// What there is to know about a type: `block` elements are stored in `bits` bits.
struct DTypeTraits {
  DType type;
  std::string_view name;       ///< as its container writes it: "F16", "Q4_1"
  std::size_t block;           ///< elements that are stored together
  std::size_t bits;            ///< of one block
  bool safetensors;            ///< may stand in a safetensors file
  std::optional<int> gguf_id;  ///< its number in GGUF
};

std::span<const DTypeTraits> all_dtypes();
const DTypeTraits& traits(DType type);
inline std::string_view to_string(DType type) { return traits(type).name; }

/// Row-major shape, outermost first, as Hugging Face writes it (GGUF lists the other way round).
using Shape = std::vector<std::uint64_t>;

/// Product of the dimensions, or nothing where it reaches 2^48.
std::optional<std::uint64_t> element_count(const Shape& shape);
std::string to_string(const Shape& shape);

struct TensorInfo {
  std::string name;
  DType type = DType::f32;
  Shape shape;
  std::span<const std::byte> bytes;  ///< lives as long as the source
  std::uint64_t elements() const;
};

/// Named tensors whose extents were checked when the source was opened. Bytes are mapped, not read.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// In the order of the files.
  virtual std::span<const TensorInfo> tensors() const = 0;
  virtual const TensorInfo* find(std::string_view name) const = 0;
  /// The file that holds this tensor, for messages.
  virtual std::string file_of(const TensorInfo& tensor) const = 0;
};

/// One named piece of a packed layer.
struct Part {
  std::string name;  ///< such as "tender_codes"
  DType type = DType::u8;
  Shape shape;
  std::span<const std::byte> bytes;
};

/// Takes the parts of a packed layer when it is stored.
class PartSink {
 public:
  virtual ~PartSink() = default;
  /// Copies the bytes. A name is given once.
  virtual void put(std::string_view name, DType type, Shape shape,
                   std::span<const std::byte> bytes) = 0;

  template <class T>
  void put(std::string_view name, DType type, Shape shape, std::span<const T> values) {
    put(name, type, std::move(shape), std::as_bytes(values));
  }
};

/// Gives the parts of a packed layer back; every promise about them is checked by the reader of the
/// parts.
class PartSource {
 public:
  virtual ~PartSource() = default;
  /// Nothing if there is no such part.
  virtual std::optional<Part> find(std::string_view name) const = 0;
  /// What the parts belong to, for messages: "model.layers.0.mlp.down_proj".
  virtual std::string where() const = 0;
  /// Names of all parts there are.
  virtual std::vector<std::string> names() const = 0;

  /// The part of that name, type and shape. @throws Error corrupt_file (CK_PART_MISSING,
  /// CK_PART_SHAPE)
  Part get(std::string_view name, DType type, const Shape& shape) const;
};

}  // namespace tender
