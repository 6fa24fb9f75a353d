// What is wrong with a request whatever the model is.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "compress/float_tensors.h"
#include "compress/quantize.h"
#include "model/model.h"
#include "quant/registry.h"

namespace tender::compress {
namespace {

/// The path as the file system sees it, as far as it exists.
std::filesystem::path weakly(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::weakly_canonical(path.has_filename() ? path : path.parent_path(), error);
}

}  // namespace

void refuse_source(const std::filesystem::path& output, const io::Checkpoint& checkpoint) {
  const std::filesystem::path place = weakly(output);
  for (std::filesystem::path at = weakly(checkpoint.path());; at = at.parent_path()) {
    if (at == place)
      fail(ErrorKind::invalid_argument,
           {.code = "IO_PATH",
            .item = output.string(),
            .found = "the model itself, or a folder that holds it",
            .expected = "another place",
            .hint = "choose a new path for the output"},
           "the output {} would replace the model that is read", quote(output.string()));
    if (at == at.parent_path()) return;
  }
}

int head_bits_beside(const std::string& method, const std::string& options) {
  const quant::MethodTraits traits = quant::method(method).traits(Json::parse(options));
  return traits.inputs == quant::InputRounding::none || traits.float_product ? 0 : 8;
}

void validate(const QuantizeRequest& request) {
  const quant::MethodEntry& method = quant::method(request.recipe.method);
  const Json options = method.resolve(Json::parse(request.recipe.options));
  if (std::ranges::find(kFloatTypes, request.recipe.float_type) == std::end(kFloatTypes))
    fail(ErrorKind::invalid_argument,
         {.code = "FLOAT_DTYPE", .item = "float-dtype", .expected = "f16, bf16 or f32"},
         "--float-dtype takes f16, bf16 or f32");
  if (const int bits = request.recipe.head_bits; bits != 0 && bits != 4 && bits != 8)
    fail(ErrorKind::invalid_argument,
         {.code = "HEAD_BITS",
          .item = "head-bits",
          .found = std::to_string(bits),
          .expected = "8, 4, or 0 for a float head"},
         "--head-bits {}: expected 8, 4, or 0 for a float head", bits);
  if (const auto& attention = request.recipe.attention)
    for (const int bits : {attention->rows, attention->cache})
      model::validate(model::RunOptions{.kv_bits = bits});
  if (request.calibration) validate(request.windows);
  if (request.save_calibration && weakly(*request.save_calibration) == weakly(request.output))
    fail(ErrorKind::invalid_argument,
         {.code = "CALIBRATION_CONFLICT",
          .item = "save-calibration",
          .hint = "choose another path for one of them"},
         "--save-calibration and the output are the same path");
  if (request.load_calibration && request.save_calibration)
    fail(ErrorKind::invalid_argument, {.code = "CALIBRATION_CONFLICT", .item = "save-calibration"},
         "--load-calibration and --save-calibration exclude each other: what is loaded is stored "
         "already");
  if (request.save_calibration && !request.recipe.keep_float.empty())
    fail(ErrorKind::invalid_argument,
         {.code = "CALIBRATION_CONFLICT",
          .item = "keep-float",
          .hint = "keep the calibration in a run of its own, then load it"},
         "--save-calibration keeps the ranges of all sites, and --keep-float leaves some unseen");
  if (request.save_calibration && !request.calibration)
    fail(ErrorKind::invalid_argument, {.code = "CALIBRATION_CONFLICT", .item = "save-calibration"},
         "--save-calibration needs --calibration FILE");
  if (method.traits(options).wants_inputs && !request.calibration && !request.load_calibration)
    fail(
        ErrorKind::invalid_argument,
        {.code = "CALIBRATION_NEEDED",
         .item = "calibration",
         .found = "no calibration text",
         .expected = "--calibration FILE",
         .hint = "give a text of the kind the model will see (plain text, or JSONL with a field "
                 "\"text\")"},
        "method {} with these options must see activations: give it a text with --calibration FILE",
        method.name);
  if (method.traits(options).wants_moment && !request.calibration)
    fail(ErrorKind::invalid_argument,
         {.code = "CALIBRATION_NEEDED",
          .item = "calibration",
          .found = request.load_calibration ? "stored ranges alone" : "no calibration text",
          .expected = "--calibration FILE",
          .hint = "give the text as well: a stored calibration holds no second moments"},
         "method {} with these options needs the rows themselves: give it the text with "
         "--calibration FILE",
         method.name);
}

}  // namespace tender::compress
