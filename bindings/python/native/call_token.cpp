#include "call_token.hpp"

#include <utility>
#include <vector>

#include "process.hpp"

namespace microvm::python {

namespace {

constexpr size_t kMostSpare = 32;

// Tokens that no call has, of this process: a forked child shares the descriptors of its parent's.
struct SpareTokens {
  uint32_t process = 0;
  std::vector<CancelToken> tokens;
};

std::vector<CancelToken>& spare_tokens() {
  static SpareTokens* spare = new SpareTokens;
  // Those of the parent are left alone: the child may have closed them, and have other files there.
  if (spare->process != process_number()) spare = new SpareTokens{process_number(), {}};
  return spare->tokens;
}

CancelToken take_token() {
  auto& spare = spare_tokens();
  if (spare.empty()) return {};
  CancelToken token = std::move(spare.back());
  spare.pop_back();
  return token;
}

}  // namespace

CallToken::CallToken() : process_(process_number()), token_(take_token()) {}

CallToken::~CallToken() {
  if (process_ != process_number() || token_.cancelled()) return;
  if (spare_tokens().size() < kMostSpare) spare_tokens().push_back(std::move(token_));
}

}  // namespace microvm::python
