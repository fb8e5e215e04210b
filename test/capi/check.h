// The checks of the tests that are written in C, and what runs their cases. A case is a function;
// the first check of REQUIRE that fails leaves it. The program ends with the line that
// test/suite/results.sh counts.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "microvm.h"

typedef struct {
  const char* name;
  void (*run)(void);
} test_case;

// Of one file; main.c names them all.
typedef struct {
  const test_case* cases;
  size_t count;
} test_file;

#define TEST_FILE(name, ...)                                   \
  static const test_case name##_cases[] = {__VA_ARGS__};       \
  const test_file name = {                                     \
      .cases = name##_cases,                                   \
      .count = sizeof(name##_cases) / sizeof(name##_cases[0]), \
  }

// Runs those whose name contains argv[1], or all. A case that takes longer than `limit_s` ends the
// program, by name.
int run_cases(const test_file* const* files, size_t count, unsigned limit_s, int argc, char** argv);

bool check_that(bool holds, const char* what, const char* file, int line);
// Frees *err. True when `status` is `want`; else it is told with the error's message, and that the
// two do not agree.
bool check_status(mvm_status status, mvm_status want, mvm_error** err, const char* what,
                  const char* file, int line);
// `part` is in `text`; NULL is no text.
bool check_has(const char* text, const char* part, const char* file, int line);
// As check_status, and the message has `part`; NULL: the name of the function that `what` calls.
bool check_refused(mvm_status status, mvm_status want, mvm_error** err, const char* part,
                   const char* what, const char* file, int line);

#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)
#define REQUIRE(condition)         \
  do {                             \
    if (!CHECK(condition)) return; \
  } while (0)
// `call` uses `&err`, which stands in the case: mvm_error *err = NULL.
#define CHECK_OK(call) check_status((call), MVM_OK, &err, #call, __FILE__, __LINE__)
#define REQUIRE_OK(call)         \
  do {                           \
    if (!CHECK_OK(call)) return; \
  } while (0)
#define CHECK_FAILS(call, want) check_status((call), (want), &err, #call, __FILE__, __LINE__)
#define CHECK_REFUSED(call, want, part) \
  check_refused((call), (want), &err, (part), #call, __FILE__, __LINE__)
// Of a call that fails for a bad argument, and says in which function.
#define CHECK_INVALID(call) \
  check_refused((call), MVM_INVALID_ARGUMENT, &err, NULL, #call, __FILE__, __LINE__)
#define CHECK_HAS(text, part) check_has((text), (part), __FILE__, __LINE__)
