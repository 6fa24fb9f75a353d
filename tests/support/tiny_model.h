#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace tender::testing {

/// A Llama of a few thousand weights: grouped queries, sizes that are no multiples of a vector's
/// width, and a few loud channels after each norm, as real models have them.
struct TinyModel {
  std::size_t layers = 2;
  std::size_t width = 48;
  std::size_t intermediate = 88;
  std::size_t heads = 4;
  std::size_t kv_heads = 2;
  std::size_t context = 256;
  bool tied_head = true;
  bool adds_bos = false;      ///< tokenizer.json puts <|begin|> in front
  std::string dtype = "F32";  ///< of the matrices: F32, F16 or BF16; vectors are F32
  float loudness = 12.0F;     ///< of the loud channels
  std::uint64_t seed = 1;
};

/// Tokens of tokenizer.json: 256 bytes, 16 merges, then <|begin|> and <|end|>.
constexpr std::size_t kTinyVocabulary = 274;

/// Writes a whole Hugging Face directory: config.json, generation_config.json, model.safetensors,
/// tokenizer.json, tokenizer_config.json. Same options, same bytes on every machine.
/// @param directory  made if it is absent
void write_tiny_model(const std::filesystem::path& directory, const TinyModel& model = {});

/// English-looking text of about so many bytes, the same for the same seed; a token of the tiny
/// tokenizer is some 2 bytes of it.
std::string tiny_text(std::size_t bytes, std::uint64_t seed = 1);

}  // namespace tender::testing
