#include "ml/base/digest.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <boost/crc.hpp>

#include "absl/strings/escaping.h"
#include "ml/base/check.h"

namespace prunelab {
namespace {

std::string Hex(const unsigned char* digest) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), SHA256_DIGEST_LENGTH));
}

}  // namespace

std::string Sha256(absl::string_view bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  return Hex(digest);
}

struct Sha256Stream::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256Stream::Sha256Stream() : state_(std::make_unique<State>()) {
  PRUNELAB_CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1);
}

Sha256Stream::~Sha256Stream() = default;

void Sha256Stream::Add(absl::string_view bytes) {
  PRUNELAB_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

std::string Sha256Stream::Finish() {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  PRUNELAB_CHECK(EVP_DigestFinal_ex(state_->context, digest, nullptr) == 1);
  return Hex(digest);
}

uint32_t Crc32c(absl::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

}  // namespace prunelab
