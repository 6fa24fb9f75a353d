#include "io/checksums.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mapped_file.h"

namespace tender::io {
namespace {

[[noreturn]] void wrong_hash(const Checkpoint& checkpoint, const std::string& tensor,
                             std::string found, std::string expected) {
  const TensorInfo* info = checkpoint.tensors().find(tensor);
  const std::string sentence =
      "tensor " + quote(tensor) + ": found " + found + ", expected " + expected;
  fail(
      ErrorKind::corrupt_file,
      {.code = "CK_CHECKSUM",
       .file = info == nullptr ? checkpoint.path().string() : checkpoint.tensors().file_of(*info),
       .item = tensor,
       .found = std::move(found),
       .expected = std::move(expected),
       .hint =
           "the checkpoint was changed or damaged since it was written; quantize or convert again"},
      "{}", sentence);
}

/// Compares each stored tensor with its hash in the report. @return how many
std::size_t compare(const Checkpoint& checkpoint, const std::string& text, ThreadPool* pool) {
  const std::string file = (checkpoint.path() / "tender_report.json").string();
  const Json report = parse_json(text, file, "CK_REPORT");
  const auto hashes = report.find("tensors");
  if (!report.is_object() || hashes == report.end() || !hashes->is_object())
    fail(ErrorKind::corrupt_file,
         {.code = "CK_REPORT",
          .file = file,
          .found = "no object 'tensors'",
          .expected = "the hash of every tensor",
          .hint = "the report is damaged; quantize or convert again"},
         "has no object 'tensors' with the hash of every tensor");
  const auto tensors = checkpoint.tensors().tensors();
  const auto check = [&](std::size_t item) {
    const TensorInfo& tensor = tensors[item];
    const auto stored = hashes->find(tensor.name);
    const std::string found = xxh3_hex(tensor.bytes);
    if (pool == nullptr) MappedFile::release(tensor.bytes);
    if (stored == hashes->end() || !stored->is_string())
      wrong_hash(checkpoint, tensor.name, "XXH3 " + found, "a hash in tender_report.json");
    if (*stored != found)
      wrong_hash(checkpoint, tensor.name, "XXH3 " + found,
                 stored->get<std::string>().substr(0, 32));
  };
  if (pool != nullptr)
    pool->for_each_item(tensors.size(), check);
  else
    for (std::size_t item = 0; item < tensors.size(); ++item) check(item);
  for (const auto& [name, hash] : hashes->items())
    if (checkpoint.tensors().find(name) == nullptr)
      wrong_hash(checkpoint, name, "no such tensor", "one with a hash");
  return tensors.size();
}

}  // namespace

std::optional<std::size_t> verify_checksums(const Checkpoint& checkpoint, ThreadPool* pool) {
  const auto report = checkpoint.read("tender_report.json");
  if (!report) return std::nullopt;
  return compare(checkpoint, *report, pool);
}

}  // namespace tender::io
