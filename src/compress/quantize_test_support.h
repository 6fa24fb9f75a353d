#pragma once

// What the tests of quantize() share: a tiny model, a text, requests and what comes of them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "compress/quantize.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::compress {

namespace fs = std::filesystem;
using ::tender::testing::read_text;
using ::tender::testing::TemporaryFolder;
using ::tender::testing::write_text;
using ::testing::HasSubstr;

/// Keeps what it was told; may ask to stop.
class Notes : public Progress {
 public:
  void note(std::string_view sentence) override { text += std::string(sentence) + "\n"; }
  void update(std::uint64_t, std::uint64_t, std::string_view what) override {
    if (!stop_at.empty() && what.starts_with(stop_at)) stopped = true;
  }
  bool cancelled() const override { return stopped; }
  std::string text;
  std::string stop_at;
  bool stopped = false;
};

inline std::map<std::string, std::string> files_of(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(directory))
    files[entry.path().filename().string()] = read_text(entry.path());
  return files;
}

/// All files but the report, which tells how long it took.
inline std::map<std::string, std::string> model_of(const fs::path& directory) {
  auto files = files_of(directory);
  files.erase("tender_report.json");
  return files;
}

class QuantizeTest : public ::testing::Test {
 protected:
  QuantizeTest() {
    testing::write_tiny_model(model());
    write_text(text(), testing::tiny_text(4000));
  }

  fs::path model() const { return folder_ / "tiny"; }
  fs::path text() const { return folder_ / "calibration.txt"; }

  QuantizeRequest request(const std::string& name, const std::string& method = "tender",
                          const std::string& options = "{}") const {
    QuantizeRequest request;
    request.output = folder_ / name;
    request.recipe = {.method = method, .options = options};
    request.calibration = text();
    request.windows = {.samples = 6, .seqlen = 48, .seed = 3};
    request.tool_version = "test";
    return request;
  }

  Report run(const QuantizeRequest& request, std::size_t threads = 1, Isa isa = host_isa()) {
    ThreadPool pool(threads);
    return quantize(*io::open_checkpoint(model()), request, isa, pool, notes_);
  }

  Error refused(const QuantizeRequest& request) {
    try {
      run(request);
    } catch (const Error& error) {
      EXPECT_FALSE(fs::exists(request.output)) << "nothing is left behind";
      return error;
    }
    ADD_FAILURE() << "not refused";
    return Error(ErrorKind::io, {}, "");
  }

  /// Writes `value` over element `index` of a tensor of the model.
  void poke(const std::string& tensor, std::size_t index, float value) {
    std::string bytes = read_text(model() / "model.safetensors");
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    const Json header = Json::parse(bytes.substr(8, length));
    ASSERT_EQ(header.at(tensor).at("dtype"), "F32");
    const auto begin = header.at(tensor).at("data_offsets").at(0).get<std::size_t>();
    std::memcpy(bytes.data() + 8 + length + begin + 4 * index, &value, sizeof value);
    write_text(model() / "model.safetensors", bytes);
  }

  TemporaryFolder folder_;
  Notes notes_;
};

}  // namespace tender::compress
