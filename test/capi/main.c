// capi_tests [PART]: the C ABI without guests; the cases whose name has PART in it, or all.
#include <stdlib.h>

#include "place.h"

extern const test_file arguments_test, callbacks_test, cancel_test, handles_test, store_test,
    streams_test, threads_test;

int main(int argc, char** argv) {
  static const test_file* const files[] = {&arguments_test, &handles_test, &store_test,
                                           &callbacks_test, &streams_test, &cancel_test,
                                           &threads_test};
  const unsigned limit_s = under_valgrind() ? 120 : 30;
  setenv("MICROVM_DATA_DIR", test_path("default"), 1);  // never that of who runs the tests
  return run_cases(files, sizeof files / sizeof files[0], limit_s, argc, argv);
}
