// capi_guest_tests [PART]: the life of a Vm by the C ABI; see guest.h.
#include "guest.h"

extern const test_file guest_files_test, guest_handles_test, guest_programs_test, guest_states_test,
    guest_vm_test;

enum { kCaseSeconds = 240 };

TEST_FILE(last, {"what was shared is ended", end_guests}, );

int main(int argc, char** argv) {
  static const test_file* const files[] = {&guest_vm_test,      &guest_programs_test,
                                           &guest_files_test,   &guest_states_test,
                                           &guest_handles_test, &last};
  const int status = run_cases(files, sizeof files / sizeof files[0], kCaseSeconds, argc, argv);
  end_guests();  // where not all cases were wanted
  return status;
}
