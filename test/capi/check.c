#include "check.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { kLongSeconds = 5 };

static const char* running = "";
static bool failed;  // the running case; checks are made in one thread

static void say_where(const char* file, int line) {
  failed = true;
  fprintf(stderr, "%s:%d: ", file, line);
}

bool check_that(bool holds, const char* what, const char* file, int line) {
  if (holds) return true;
  say_where(file, line);
  fprintf(stderr, "in \"%s\": %s\n", running, what);
  return false;
}

static const char* text_of(const mvm_error* error) {
  return error != NULL ? mvm_error_message(error) : "no error";
}

bool check_status(mvm_status status, mvm_status want, mvm_error** err, const char* what,
                  const char* file, int line) {
  return check_refused(status, want, err, "", what, file, line);
}

// "mvm_vm_exec(vm, …)" → "mvm_vm_exec: "
static const char* function_of(const char* call) {
  static char name[128];
  snprintf(name, sizeof name, "%.*s: ", (int)strcspn(call, "("), call);
  return name;
}

bool check_refused(mvm_status status, mvm_status want, mvm_error** err, const char* part,
                   const char* what, const char* file, int line) {
  // There is an error exactly when the call failed, and it says the same.
  const bool agree =
      status == MVM_OK ? *err == NULL : *err != NULL && mvm_error_code(*err) == status;
  const char* const wanted = part != NULL ? part : function_of(what);
  const bool told = status == MVM_OK || strstr(text_of(*err), wanted) != NULL;
  const bool good = status == want && agree && told;
  if (!good) {
    say_where(file, line);
    fprintf(stderr, "in \"%s\": %s: status %d (wanted %d), \"%s\" (wanted \"%s\")\n", running, what,
            (int)status, (int)want, text_of(*err), wanted);
  }
  mvm_error_free(*err);
  *err = NULL;
  return good;
}

bool check_has(const char* text, const char* part, const char* file, int line) {
  if (text != NULL && strstr(text, part) != NULL) return true;
  say_where(file, line);
  fprintf(stderr, "in \"%s\": \"%s\" is not in \"%s\"\n", running, part,
          text != NULL ? text : "(null)");
  return false;
}

// What is said of a case that hangs or crashes; async-signal-safe.
static void tell_and_die(int signal_number) {
  const char* const what = signal_number == SIGALRM ? "hangs: " : "crashed: ";
  (void)!write(STDERR_FILENO, what, strlen(what));
  (void)!write(STDERR_FILENO, running, strlen(running));
  (void)!write(STDERR_FILENO, "\n", 1);
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool run_case(const test_case* test, unsigned limit_s) {
  const double start = seconds();
  running = test->name;
  failed = false;
  alarm(limit_s);
  test->run();
  alarm(0);
  const double took = seconds() - start;
  if (took > kLongSeconds) fprintf(stderr, "%s: took %.1f s\n", running, took);
  if (failed) fprintf(stderr, "FAILED: %s\n", running);
  return !failed;
}

int run_cases(const test_file* const* files, size_t count, unsigned limit_s, int argc,
              char** argv) {
  const char* const part = argc > 1 ? argv[1] : "";
  size_t passed_count = 0;
  size_t failed_count = 0;
  signal(SIGALRM, tell_and_die);
  signal(SIGSEGV, tell_and_die);
  signal(SIGABRT, tell_and_die);
  for (size_t file = 0; file < count; ++file) {
    for (size_t i = 0; i < files[file]->count; ++i) {
      const test_case* const test = &files[file]->cases[i];
      if (strstr(test->name, part) == NULL) continue;
      ++*(run_case(test, limit_s) ? &passed_count : &failed_count);
    }
  }
  printf("%zu passed, %zu failed, 0 skipped\n", passed_count, failed_count);
  return failed_count > 0 || passed_count == 0;
}
