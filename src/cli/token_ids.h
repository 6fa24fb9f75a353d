#pragma once

#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace tender::cli {

/// "1,2,3", "1, 2" or "1 2": one number at least, none left out. @throws Error invalid_argument
/// (CLI_IDS), naming `flag`
std::vector<text::TokenId> parse_token_ids(const std::string& list, const std::string& flag);

}  // namespace tender::cli
