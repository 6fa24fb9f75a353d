#pragma once

// What the tests of this module share; nothing else includes it.

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "io/checkpoint.h"
#include "model/model.h"
#include "tests/support/test_support.h"

namespace tender::model {

inline const char* const kGoldenModels[] = {"llama_gqa", "llama3_tied", "llama_linear",
                                            "qwen2",     "mistral",     "opt_pre",
                                            "opt_post",  "opt_plain"};

inline std::filesystem::path golden_path(const std::string& name) {
  return testing::source_path("src/model/golden/" + name);
}

inline Json read_json(const std::filesystem::path& path) {
  return Json::parse(testing::read_text(path));
}

inline std::unique_ptr<Model> load(const std::filesystem::path& path, Isa isa = host_isa()) {
  ThreadPool pool(1);
  Progress silent;
  return load_model(*io::open_checkpoint(path), isa, pool, silent);
}

/// Logits of all tokens of one sequence, fed in pieces of these sizes (one piece if there are
/// none).
inline Matrix run_model(const Model& model, const std::vector<TokenId>& ids,
                        std::size_t threads = 1, std::vector<std::size_t> pieces = {}) {
  ThreadPool pool(threads);
  if (pieces.empty()) pieces = {ids.size()};
  const auto sequence = model.sequence(ids.size());
  Matrix logits(ids.size(), model.info().vocabulary);
  std::size_t begin = 0;
  for (const std::size_t piece : pieces) {
    const BatchItem item{sequence.get(), std::span(ids).subspan(begin, piece), 0};
    Matrix hidden;
    model.forward({&item, 1}, hidden, pool);
    model.logits(hidden.view(), logits.view().rows_from(begin, piece), pool);
    begin += piece;
  }
  EXPECT_EQ(begin, ids.size());
  return logits;
}

/// Whether two results have the same bits.
inline bool same_bits(const Matrix& a, const Matrix& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         std::memcmp(a.span().data(), b.span().data(), a.span().size_bytes()) == 0;
}

/// Largest distance of two results; NaN counts as infinite.
inline double distance(const Matrix& logits, const Json& expected) {
  double largest = 0;
  for (std::size_t r = 0; r < logits.rows(); ++r)
    for (std::size_t c = 0; c < logits.cols(); ++c) {
      const double difference = std::abs(logits(r, c) - expected.at(r).at(c).get<double>());
      largest = difference <= largest ? largest : std::isnan(difference) ? HUGE_VAL : difference;
    }
  return largest;
}

/// A Hugging Face directory that a test builds or damages.
struct ModelFolder {
  struct Tensor {
    std::string type;  ///< as safetensors writes it
    Shape shape;
    std::string bytes;
  };
  std::unique_ptr<testing::TemporaryFolder> folder = std::make_unique<testing::TemporaryFolder>();
  Json config;
  std::map<std::string, Tensor> tensors;

  ModelFolder() = default;
  /// A copy of one of the golden models.
  explicit ModelFolder(const std::string& golden) {
    config = read_json(golden_path(golden) / "config.json");
    const auto checkpoint = io::open_checkpoint(golden_path(golden));
    for (const TensorInfo& tensor : checkpoint->tensors().tensors())
      tensors[tensor.name] = {
          std::string(to_string(tensor.type)),
          tensor.shape,
          {reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()}};
  }

  std::filesystem::path write() const {
    Json header;
    std::string data;
    for (const auto& [name, tensor] : tensors) {
      header[name] = {{"dtype", tensor.type},
                      {"shape", tensor.shape},
                      {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
      data += tensor.bytes;
    }
    const std::string text = header.dump();
    const std::uint64_t length = text.size();
    std::string file(sizeof(length), '\0');
    std::memcpy(file.data(), &length, sizeof(length));
    testing::write_text(*folder / "model.safetensors", file + text + data);
    testing::write_text(*folder / "config.json", config.dump());
    return folder->path();
  }

  void put(const std::string& name, Shape shape, const std::vector<float>& values) {
    tensors[name] = {"F32",
                     std::move(shape),
                     {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)}};
  }
};

/// The error that a call ends with; an empty one if it does not fail.
template <class Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was refused";
  return {ErrorKind::io, {}, ""};
}

}  // namespace tender::model
