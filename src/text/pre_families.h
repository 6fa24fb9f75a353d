#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/json.h"

namespace tender::text {

/// What GGUF's `tokenizer.ggml.pre` stands for (checkpoints 7.4).
struct PreFamily {
  Json pre_tokenizer;  ///< in tokenizer.json's form
  Json normalizer;     ///< null or as above
  bool ignore_merges = false;
  bool adds_bos = false;  ///< where `tokenizer.ggml.add_bos_token` is silent
};

/// @param name  the value of the key; "default" where it is missing
/// @throws Error unsupported TK_COMPONENT for a name that is not known
PreFamily pre_family(std::string_view name, std::string_view file);

}  // namespace tender::text
