#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "eval/speed.h"

namespace tender::eval {

/// Names of the engines that a model can be compared with: "llama.cpp", "openvino".
std::vector<std::string_view> peer_names();

struct PeerRequest {
  std::string name;             ///< one of peer_names()
  std::string python;           ///< interpreter that has its package
  std::filesystem::path model;  ///< a GGUF file
  std::size_t threads = 1;
  std::size_t context = 1;  ///< most tokens of a run
};

/// Another engine in a process of its own, through its Python package.
class Peer : public SpeedSubject {
 public:
  virtual const std::string& version() const = 0;
  virtual const std::string& system() const = 0;  ///< what it says of CPU features; or empty
};

/// Starts it and loads the model.
/// @throws Error invalid_argument (PEER_UNKNOWN), io (CHILD_START, CHILD_ENDED: its package is not
/// there, it cannot read the file, …;
/// CHILD_ANSWER), CANCELLED as all of its calls
/// @param progress  outlives it
std::unique_ptr<Peer> start_peer(const PeerRequest& request, const Progress& progress);

}  // namespace tender::eval
