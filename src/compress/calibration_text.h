#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "compress/text_file.h"
#include "text/tokenizer.h"

namespace tender::compress {

/// How much of a text calibration sees.
struct CalibrationWindows {
  std::size_t samples = 128;  ///< windows, at least 1
  std::size_t seqlen = 2048;  ///< tokens of a window, at least 2
  std::uint64_t seed = 0;
};

/// Not longer than what a model was made for. @param context  that many tokens
CalibrationWindows fitted(CalibrationWindows asked, std::size_t context);

/// Windows of a token stream, as calibration shows them to the model, each a sequence of its own.
///
/// A text is one stream, tokenized once with the tokenizer's own special tokens, cut into
/// windows; `samples` of them are drawn with the seed and kept in the order of the text. The
/// documents of a JSONL file are shuffled with the seed, joined by a blank line and tokenized as
/// one stream, of which the first windows are taken (as in tender.md 3.1). No window is used twice
/// and none is filled up: a text that is too short for all of them gives fewer, and says so.
/// @throws Error invalid_argument (SAMPLES, SEQLEN)
void validate(const CalibrationWindows& asked);

struct CalibrationText {
  std::vector<std::vector<text::TokenId>> windows;
  std::string name;           ///< of the file, without its folder
  std::string sha256;         ///< of the bytes on disk
  std::string format;         ///< "text" or "jsonl"
  std::size_t documents = 1;  ///< in the file
  CalibrationWindows asked;

  std::size_t tokens() const { return windows.size() * asked.seqlen; }
  /// For the report and the fingerprint: nothing that depends on place or time.
  OrderedJson describe() const;
};

/// Reads a text file, or JSONL (by its name, or because its first line is an object with `text`).
/// @throws Error invalid_input (TXT_UTF8, TXT_TOO_SHORT, JSONL_LINE with the number of the line),
///         invalid_argument (SAMPLES, SEQLEN)
CalibrationText read_calibration_text(const std::filesystem::path& path,
                                      const text::Tokenizer& tokenizer,
                                      const CalibrationWindows& asked, InvalidText invalid,
                                      Progress& progress);

}  // namespace tender::compress
