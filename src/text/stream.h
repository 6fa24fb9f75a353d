#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tender::text {

/// Turns the bytes of tokens, which end anywhere, into UTF-8 that can be shown at once.
///
/// Bytes that begin a character are held back until it is whole. Bytes that no further byte can
/// make valid come out as U+FFFD, one for each longest piece that begins a character or single byte
/// (the practice that the Unicode standard recommends, chapter 3, and that Python and browsers
/// follow); so what comes out is always valid UTF-8, and in all the same text however the bytes
/// were cut.
class StreamDecoder {
 public:
  /// @return the text that is complete now, possibly empty
  std::string push(std::string_view bytes);
  /// What was held back: nothing, or U+FFFD for a character that never became whole.
  std::string finish();

 private:
  std::string held_;  // at most 3 bytes
};

/// Finds stop strings in a text that arrives in pieces. Text that may begin a stop string is held
/// back; the stop string itself, and all after it, never comes out.
class StopMatcher {
 public:
  /// @throws Error invalid_argument STOP_EMPTY for an empty stop string
  explicit StopMatcher(std::vector<std::string> stops);

  /// @return the text that belongs to no stop string. Nothing after a stop string was found.
  std::string push(std::string_view text);
  /// True once a stop string was found.
  bool stopped() const { return stopped_; }
  /// What was held back, where the text ended without a stop string.
  std::string finish();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace tender::text
