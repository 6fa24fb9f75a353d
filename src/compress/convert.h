#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/output.h"
#include "base/progress.h"
#include "io/checkpoint.h"
#include "tensor/matrix.h"
#include "tensor/tensor_source.h"

namespace tender::compress {

/// Changes weights on their way into a converted model.
class WeightTransform {
 public:
  virtual ~WeightTransform() = default;
  /// @param rows  [first, first + rows.rows()) of the tensor, in place; a vector is one row
  virtual void apply(const std::string& tensor, std::size_t first,
                     MatrixView<float> rows) const = 0;
};

struct ConvertRequest {
  std::filesystem::path output;
  Overwrite overwrite = Overwrite::refuse;
  std::optional<DType> type;  ///< f32, f16 or bf16; nothing: the smallest that holds every number
  const WeightTransform* transform = nullptr;
};

struct ConvertReport {
  DType type = DType::f32;
  std::uint64_t numbers = 0;  ///< written
  std::uint64_t rounded = 0;  ///< of them, those that `type` could not hold exactly
  std::uint64_t bytes = 0;    ///< of the weight files
  std::vector<std::string> files;
  std::vector<std::string> notes;  ///< such as what could not be taken over
};

/// Writes a model as a Hugging Face directory of float tensors: weights streamed, config.json,
/// generation_config.json and tokenizer files. A GGUF file is put under Hugging Face's names,
/// rotary rows in order; a quantized directory of ours gives the weights that its codes stand for,
/// which is what the codes alone lose.
///
/// Reads every weight once more where no type is given. The directory appears whole or not at all.
/// @throws Error io (IO_EXISTS, …), invalid_input (FLOAT_RANGE, CANCELLED), those of reading the
/// model
ConvertReport convert(const io::Checkpoint& checkpoint, const ConvertRequest& request,
                      Progress& progress);

}  // namespace tender::compress
