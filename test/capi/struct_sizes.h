// A struct of options as older and newer headers would give it.
#pragma once

#include <string.h>

#include "check.h"

enum { kTailBytes = 64 };

// `call` takes `options`, which point to a `type`, and `&err`; `want` is what it says with all
// defaults, after which `release` frees what it gave.
#define CHECK_SIZES(type, want, call, release)                                           \
  do {                                                                                   \
    struct {                                                                             \
      type known;                                                                        \
      unsigned char tail[kTailBytes];                                                    \
    } given;                                                                             \
    const type* const options = &given.known;                                            \
    for (int size_case = 0; size_case < kSizeCases; ++size_case) {                       \
      const mvm_status wanted = set_size(size_case, &given, sizeof given.known, (want)); \
      if (!check_refused((call), wanted, &err, "", #call, __FILE__, __LINE__)) {         \
        check_that(false, kSizeCaseNames[size_case], __FILE__, __LINE__);                \
        continue;                                                                        \
      }                                                                                  \
      if (wanted == MVM_OK) {                                                            \
        release;                                                                         \
      }                                                                                  \
    }                                                                                    \
  } while (0)

enum { kSizeZero, kSizeShort, kSizeKnown, kSizeLongZeroes, kSizeLongOther, kSizeCases };
static const char* const kSizeCaseNames[] = {
    "struct_size 0", "a short struct, garbage behind it", "the struct as it is",
    "a longer one, zeroes at the end", "a longer one, something at the end"};

// Fills `given`, whose first field is the size; returns the status that the call then has.
static inline mvm_status set_size(int size_case, void* given, size_t known, mvm_status defaults) {
  const uint32_t sizes[] = {0, sizeof(uint32_t), (uint32_t)known, (uint32_t)known + kTailBytes,
                            (uint32_t)known + kTailBytes};
  memset(given, 0, known + kTailBytes);
  // Behind a short one lies what is no field of it.
  if (size_case == kSizeShort) memset(given, 0xee, known + kTailBytes);
  if (size_case == kSizeLongOther) ((unsigned char*)given)[known + kTailBytes - 1] = 1;
  memcpy(given, &sizes[size_case], sizeof sizes[0]);
  if (size_case == kSizeZero) return MVM_INVALID_ARGUMENT;
  return size_case == kSizeLongOther ? MVM_UNSUPPORTED : defaults;
}
