#include "base/file_hash.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "base/error.h"
#include "base/mapped_file.h"

namespace tender {
namespace {

constexpr std::size_t kSlice = std::size_t{16} << 20U;

void check(int ok) {
  if (ok != 1) fail(ErrorKind::io, {.code = "HASH"}, "SHA-256 is not available in this OpenSSL");
}

}  // namespace

std::string sha256_of_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free);
  check(EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr));
  for (std::span<const std::byte> rest = file.bytes(); !rest.empty();) {
    const auto slice = rest.first(std::min(kSlice, rest.size()));
    check(EVP_DigestUpdate(context.get(), slice.data(), slice.size()));
    MappedFile::release(slice);
    rest = rest.subspan(slice.size());
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  check(EVP_DigestFinal_ex(context.get(), digest.data(), &size));
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

}  // namespace tender
