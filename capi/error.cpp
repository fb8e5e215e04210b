// Status, errors, versions.
#include "error.hpp"

#include <climits>
#include <cstdlib>
#include <new>

using microvm::Error;
using microvm::ErrorCode;

struct mvm_error {
  mvm_status code;
  std::string message;
};

namespace microvm::capi {
namespace {

constexpr int64_t kLastCode = static_cast<int64_t>(ErrorCode::would_block);

static_assert(MVM_INVALID_ARGUMENT == -static_cast<int>(ErrorCode::invalid_argument));
static_assert(MVM_INTERNAL == -static_cast<int>(ErrorCode::internal));
static_assert(MVM_WOULD_BLOCK == -kLastCode);
static_assert(MVM_VM_SUSPENDED == -static_cast<int>(ErrorCode::vm_suspended));

// For who asks why there is no memory when there is none.
mvm_error* no_memory_error() noexcept {
  static mvm_error error{MVM_OUT_OF_MEMORY, "out of memory"};  // fits into the string itself
  return &error;
}

bool is_status(int64_t status) {
  return status < 0 && status >= -kLastCode;
}

}  // namespace

mvm_status report(mvm_error** err, Error error) noexcept {
  const auto status = -static_cast<mvm_status>(error.code);
  if (err == nullptr) return status;
  auto* made = new (std::nothrow) mvm_error{status, std::move(error.message)};
  if (made == nullptr) return report_out_of_memory(err);
  *err = made;
  return status;
}

mvm_status report_out_of_memory(mvm_error** err) noexcept {
  if (err != nullptr) *err = no_memory_error();
  return MVM_OUT_OF_MEMORY;
}

mvm_status report_thrown(mvm_error** err, const char* function, const char* what) noexcept try {
  return report(err, {ErrorCode::internal, std::string(function) + ": " + what});
} catch (...) {
  return report_out_of_memory(err);
}

Error callback_error(const char* who, int64_t status) {
  const std::string message = std::string(who) + " returned " + std::to_string(status);
  if (!is_status(status)) return {ErrorCode::invalid_argument, message + ", which is no status"};
  const auto code = static_cast<ErrorCode>(-status);
  return {code, message + " (" + error_code_name(code) + ")"};
}

}  // namespace microvm::capi

uint32_t mvm_abi_version(void) {
  return MVM_ABI_VERSION;
}

const char* mvm_version(void) {
  return MICROVM_VERSION;
}

const char* mvm_error_code_name(mvm_status status) {
  if (status == MVM_OK) return "ok";
  if (!microvm::capi::is_status(status)) return "unknown";
  return microvm::error_code_name(static_cast<ErrorCode>(-status));
}

mvm_status mvm_error_code(const mvm_error* error) {
  return error == nullptr ? MVM_OK : error->code;
}

const char* mvm_error_message(const mvm_error* error) {
  return error == nullptr ? "" : error->message.c_str();
}

void mvm_error_free(mvm_error* error) {
  if (error != microvm::capi::no_memory_error()) delete error;
}

void mvm_free(void* result) {
  std::free(result);
}
