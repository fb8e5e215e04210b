// Programs and terminals of a guest from C: their streams, with and without waiting, coming back to
// them, their ends.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bad_handles.h"
#include "guest.h"

static mvm_exec* start_shell(const char* script, const mvm_exec_options* with) {
  mvm_error* err = NULL;
  mvm_exec* exec = NULL;
  if (shared_vm() == NULL) return NULL;
  const char* const argv[] = {"/bin/sh", "-c", script};
  mvm_exec_options options = *with;
  options.struct_size = sizeof options;
  options.argv = argv;
  options.argv_count = 3;
  CHECK_OK(mvm_vm_exec(shared_vm(), &options, NULL, &exec, &err));
  return exec;
}

static void a_program_is_run_and_collected(void) {
  mvm_error* err = NULL;
  REQUIRE(shared_vm() != NULL);
  const char* const argv[] = {"/bin/sh", "-c", "cat; pwd; echo $COLOUR >&2; exit 3"};
  const char* const env[] = {"COLOUR=green"};
  mvm_exec_options options = shell_options(argv);
  options.env = env;
  options.env_count = 1;
  options.cwd = "/tmp";
  const mvm_collect_options collect = {
      .struct_size = sizeof collect, .input = "a\0b", .input_size = 3};
  mvm_exec_result* result = NULL;
  REQUIRE_OK(mvm_vm_exec_collect(shared_vm(), &options, &collect, NULL, &result, &err));
  CHECK(result->out.size == 8 && memcmp(result->out.data, "a\0b/tmp\n", 8) == 0);
  CHECK(strcmp((const char*)result->err.data, "green\n") == 0);
  CHECK(result->status->code == 3 && result->status->signal == 0 && result->status->timed_out == 0);
  mvm_free(result);
  const char* const missing[] = {"no-such-program"};
  options = (mvm_exec_options){.struct_size = sizeof options, .argv = missing, .argv_count = 1};
  REQUIRE_OK(mvm_vm_exec_collect(shared_vm(), &options, NULL, NULL, &result, &err));
  CHECK(result->status->code == 127);
  CHECK_HAS(result->status->message, "no-such-program");
  mvm_free(result);
}

static void wrong_options_are_refused(void) {
  mvm_error* err = NULL;
  REQUIRE(shared_vm() != NULL);
  mvm_exec* exec = UNTOUCHED;
  mvm_exec_result* result = UNTOUCHED;
  const char* const with_null[] = {"echo", NULL};
  mvm_exec_options options = {.struct_size = sizeof options};
  CHECK_INVALID(mvm_vm_exec(shared_vm(), NULL, NULL, &exec, &err));
  CHECK_INVALID(mvm_vm_exec_collect(shared_vm(), NULL, NULL, NULL, &result, &err));
  CHECK_FAILS(mvm_vm_exec(shared_vm(), &options, NULL, &exec, &err),
              MVM_INVALID_ARGUMENT);  // no argv
  options.argv_count = 2;
  CHECK_INVALID(mvm_vm_exec(shared_vm(), &options, NULL, &exec, &err));
  options.argv = with_null;
  CHECK_INVALID(mvm_vm_exec(shared_vm(), &options, NULL, &exec, &err));
  options.argv_count = 1;
  CHECK_INVALID(mvm_vm_exec(shared_vm(), &options, NULL, NULL, &err));
  options.id = "not/an/id";
  CHECK_FAILS(mvm_vm_exec(shared_vm(), &options, NULL, &exec, &err), MVM_INVALID_ARGUMENT);
  CHECK(exec == UNTOUCHED && result == UNTOUCHED);
}

// As a loop around poll() reads it.
static void output_is_polled(void) {
  mvm_error* err = NULL;
  mvm_exec* const exec = start_shell("read line; echo got $line; echo also >&2; exit 5",
                                     &(mvm_exec_options){.stdin_open = 1});
  REQUIRE(exec != NULL);
  mvm_exec_output* output = UNTOUCHED;
  mvm_exit_status* status = UNTOUCHED;
  CHECK_FAILS(mvm_exec_try_read(exec, &output, &err), MVM_WOULD_BLOCK);
  CHECK(output == UNTOUCHED);
  size_t taken = 0;
  CHECK_OK(mvm_exec_try_write_stdin(exec, "hello\n", 6, &taken, &err));
  CHECK(taken >= 1);
  if (taken < 6) CHECK_OK(mvm_exec_write_stdin(exec, &"hello\n"[taken], 6 - taken, NULL, &err));
  int32_t fd = -1;
  CHECK_OK(mvm_exec_fd(exec, &fd, &err));
  size_t size[2] = {0};
  for (;;) {
    if (!CHECK(readable(fd, 20000))) break;
    const mvm_status tried = mvm_exec_try_read(exec, &output, &err);
    if (tried == MVM_WOULD_BLOCK) {
      mvm_error_free(err);
      continue;
    }
    if (!CHECK_OK(tried) || output == NULL) break;
    CHECK(output->struct_size >= sizeof *output && output->lost_bytes == 0);
    size[output->stream == MVM_EXEC_STDERR] += output->size;
    mvm_free(output);
  }
  CHECK(size[0] == strlen("got hello\n") && size[1] == strlen("also\n"));
  uint64_t position = 0;
  CHECK_OK(mvm_exec_position(exec, &position, &err));
  CHECK(position == size[0] + size[1]);
  REQUIRE_OK(mvm_exec_try_wait(exec, &status, &err));
  CHECK(status->code == 5);
  mvm_free(status);
  mvm_exec_free(exec);
  refuse_exec(exec);
}

static void input_is_bytes_and_ends(void) {
  mvm_error* err = NULL;
  static char data[200000];
  mvm_exec* const exec = start_shell("wc -c", &(mvm_exec_options){.stdin_open = 1});
  REQUIRE(exec != NULL);
  mvm_bool writer = 0;
  CHECK_OK(mvm_exec_writer(exec, &writer, &err));
  CHECK(writer == 1);
  CHECK_INVALID(mvm_exec_write_stdin(exec, NULL, 1, NULL, &err));
  CHECK_OK(mvm_exec_write_stdin(exec, NULL, 0, NULL, &err));
  CHECK_OK(mvm_exec_write_stdin(exec, data, sizeof data, NULL, &err));
  CHECK_OK(mvm_exec_close_stdin(exec, NULL, &err));
  CHECK_OK(mvm_exec_try_close_stdin(exec, &err));  // once more
  mvm_exec_output* output = NULL;
  REQUIRE_OK(mvm_exec_read(exec, NULL, &output, &err));
  CHECK(output != NULL && output->size == 7 && memcmp(output->data, "200000\n", 7) == 0);
  mvm_free(output);
  CHECK_OK(mvm_exec_read(exec, NULL, &output, &err));
  CHECK(output == NULL);
  CHECK_OK(mvm_exec_wait(exec, NULL, NULL, &err));
  mvm_exec_free(exec);
}

// Somewhere in what it puts out until its end: a shell may have words of its own for a signal.
static bool says(mvm_exec* exec, const char* text) {
  mvm_error* err = NULL;
  mvm_exec_output* output = NULL;
  bool found = false;
  while (CHECK_OK(mvm_exec_read(exec, NULL, &output, &err)) && output != NULL) {
    found |= memmem(output->data, output->size, text, strlen(text)) != NULL;
    mvm_free(output);
    output = NULL;
  }
  return found;
}

static void a_program_is_left_listed_and_come_back_to(void) {
  mvm_error* err = NULL;
  mvm_exec* exec =
      start_shell("echo begun; trap 'echo caught; exit 9' TERM; while :; do sleep 0.1; done",
                  &(mvm_exec_options){.id = "c-lasting"});
  REQUIRE(exec != NULL);
  uint32_t pid = 0;
  char* id = NULL;
  CHECK_OK(mvm_exec_pid(exec, &pid, &err));
  CHECK(pid > 1);
  REQUIRE_OK(mvm_exec_id(exec, &id, &err));
  CHECK(strcmp(id, "c-lasting") == 0);
  mvm_free(id);
  mvm_exec_output* output = NULL;
  REQUIRE_OK(mvm_exec_read(exec, NULL, &output, &err));
  mvm_free(output);
  CHECK_OK(mvm_exec_detach(exec, NULL, &err));
  CHECK_FAILS(mvm_exec_read(exec, NULL, &output, &err), MVM_BUSY);
  mvm_exec_free(exec);

  mvm_exec_list* execs = NULL;
  REQUIRE_OK(mvm_vm_execs(shared_vm(), NULL, &execs, &err));
  REQUIRE(execs->count == 1);
  CHECK(strcmp(execs->items[0]->id, "c-lasting") == 0 && execs->items[0]->pid == pid);
  CHECK(execs->items[0]->ended == NULL && execs->items[0]->output_bytes == 6);
  mvm_free(execs);
  const mvm_exec_attach_options from = {
      .struct_size = sizeof from, .position = 6, .has_position = 1};
  REQUIRE_OK(mvm_vm_attach_exec(shared_vm(), "c-lasting", &from, NULL, &exec, &err));
  CHECK_OK(mvm_vm_signal_exec(shared_vm(), "c-lasting", SIGTERM, NULL, &err));
  CHECK(says(exec, "caught\n"));
  mvm_exit_status* status = NULL;
  REQUIRE_OK(mvm_exec_wait(exec, NULL, &status, &err));
  CHECK(status->code == 9);
  mvm_free(status);
  mvm_exec_free(exec);
  CHECK_FAILS(mvm_vm_attach_exec(shared_vm(), "c-lasting", NULL, NULL, &exec, &err), MVM_NOT_FOUND);
}

static void the_end_of_a_detached_program_is_waited_for(void) {
  mvm_error* err = NULL;
  mvm_exec* const exec =
      start_shell("sleep 1; exit 4", &(mvm_exec_options){.id = "c-detached", .detached = 1});
  REQUIRE(exec != NULL);
  mvm_exec_free(exec);
  mvm_exit_status* status = NULL;
  REQUIRE_OK(mvm_vm_wait_exec(shared_vm(), "c-detached", NULL, &status, &err));
  CHECK(status->code == 4);
  mvm_free(status);
  CHECK_FAILS(mvm_vm_wait_exec(shared_vm(), "c-detached", NULL, NULL, &err), MVM_NOT_FOUND);
}

static void a_freed_program_is_killed(void) {
  mvm_exec* const exec =
      start_shell("echo $$ >/tmp/c-killed; exec sleep 1000", &(mvm_exec_options){.id = ""});
  REQUIRE(exec != NULL);
  free(shell(shared_vm(), "until [ -s /tmp/c-killed ]; do sleep 0.1; done"));
  mvm_exec_free(exec);
  CHECK(shell_says(shared_vm(),
                   "for i in $(seq 100); do [ -d /proc/$(cat /tmp/c-killed) ] || { echo gone; "
                   "exit; }; sleep 0.1; done",
                   "gone\n"));
}

static mvm_cancel* to_fire;

static void fire(int signal_number) {
  (void)signal_number;
  mvm_cancel_fire(to_fire);
}

static void a_signal_handler_ends_the_wait(void) {
  mvm_error* err = NULL;
  mvm_exec* const exec = start_shell("exec sleep 1000", &(mvm_exec_options){.id = ""});
  REQUIRE(exec != NULL);
  REQUIRE_OK(mvm_cancel_new(&to_fire, &err));
  struct sigaction action = {.sa_handler = fire};
  sigaction(SIGUSR1, &action, NULL);
  char command[64];
  snprintf(command, sizeof command, "{ sleep 0.5; kill -USR1 %d; } &", (int)getpid());
  CHECK(system(command) == 0);
  mvm_exit_status* status = UNTOUCHED;
  const mvm_limits limits = {.struct_size = sizeof limits, .cancel = to_fire};
  CHECK_FAILS(mvm_exec_wait(exec, &limits, &status, &err), MVM_CANCELLED);
  CHECK(status == UNTOUCHED);
  signal(SIGUSR1, SIG_DFL);
  CHECK_OK(mvm_exec_signal(exec, SIGKILL, NULL, &err));
  CHECK_FAILS(mvm_exec_signal(exec, 12345, NULL, &err), MVM_INVALID_ARGUMENT);
  REQUIRE_OK(mvm_exec_wait(exec, NULL, &status, &err));
  CHECK(status->signal == SIGKILL);
  mvm_free(status);
  mvm_exec_free(exec);
  mvm_cancel_free(to_fire);
}

static void* run_some(void* failures) {
  for (int i = 0; i < 4; ++i) {
    const char* const argv[] = {"/bin/echo", "some"};
    const mvm_exec_options options = {.struct_size = sizeof options, .argv = argv, .argv_count = 2};
    mvm_exec_result* result = NULL;
    const mvm_status status = mvm_vm_exec_collect(shared_vm(), &options, NULL, NULL, &result, NULL);
    if (status != MVM_OK || result->out.size != 5) ++*(int*)failures;
    if (status == MVM_OK) mvm_free(result);
  }
  return NULL;
}

static void threads_share_a_vm(void) {
  enum { kThreads = 16 };
  REQUIRE(shared_vm() != NULL);
  pthread_t threads[kThreads];
  int failures[kThreads] = {0};
  for (int i = 0; i < kThreads; ++i)
    REQUIRE(pthread_create(&threads[i], NULL, run_some, &failures[i]) == 0);
  for (int i = 0; i < kThreads; ++i) {
    CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(failures[i] == 0);
  }
}

// Reads until the text is there; false at the end, or when it takes too long.
static bool read_until(mvm_pty* pty, const char* text) {
  mvm_error* err = NULL;
  const mvm_limits limits = {.struct_size = sizeof limits, .timeout_ms = 60000};
  char seen[8192] = "";
  size_t size = 0;
  while (strstr(seen, text) == NULL) {
    mvm_pty_output* output = NULL;
    if (!CHECK_OK(mvm_pty_read(pty, &limits, &output, &err)) || output == NULL) return false;
    for (size_t i = 0; i < output->size && size < sizeof seen - 1; ++i)
      seen[size++] = (char)output->data[i];
    seen[size] = '\0';
    mvm_free(output);
  }
  return true;
}

static bool type_keys(mvm_pty* pty, const char* keys) {
  mvm_error* err = NULL;
  return CHECK_OK(mvm_pty_write(pty, keys, strlen(keys), NULL, &err));
}

static void a_terminal_is_used_left_and_come_back_to(void) {
  mvm_error* err = NULL;
  REQUIRE(shared_vm() != NULL);
  const char* const argv[] = {"bash", "--norc", "-i"};
  const mvm_pty_options options = {.struct_size = sizeof options,
                                   .argv = argv,
                                   .argv_count = 3,
                                   .id = "c-tty",
                                   .rows = 33,
                                   .columns = 99};
  mvm_pty* pty = NULL;
  REQUIRE_OK(mvm_vm_pty(shared_vm(), &options, NULL, &pty, &err));
  type_keys(pty, "stty size; echo $TERM\r");
  CHECK(read_until(pty, "33 99\r\nxterm-256color\r\n"));
  CHECK_OK(mvm_pty_resize(pty, 50, 132, NULL, &err));
  CHECK_FAILS(mvm_pty_resize(pty, 0, 132, NULL, &err), MVM_INVALID_ARGUMENT);
  CHECK_INVALID(mvm_pty_resize(pty, 65536, 132, NULL, &err));
  size_t taken = 0;
  CHECK_OK(mvm_pty_try_write(pty, "stty size\r", 10, &taken, &err));
  CHECK(taken == 10);
  CHECK(read_until(pty, "50 132\r\n"));
  uint64_t position = 0;
  uint32_t pid = 0;
  char* id = NULL;
  CHECK_OK(mvm_pty_position(pty, &position, &err));
  CHECK_OK(mvm_pty_pid(pty, &pid, &err));
  REQUIRE_OK(mvm_pty_id(pty, &id, &err));
  CHECK(position > 0 && pid > 1 && strcmp(id, "c-tty") == 0);
  mvm_free(id);
  CHECK_OK(mvm_pty_detach(pty, &err));
  mvm_pty_free(pty);

  mvm_pty_list* ptys = NULL;
  REQUIRE_OK(mvm_vm_ptys(shared_vm(), NULL, &ptys, &err));
  CHECK(ptys->count == 1 && ptys->items[0]->rows == 50 && ptys->items[0]->columns == 132);
  CHECK(ptys->items[0]->pid == pid && ptys->items[0]->ended == NULL);
  mvm_free(ptys);
  const mvm_pty_attach_options attach = {
      .struct_size = sizeof attach, .position = position, .has_position = 1};
  REQUIRE_OK(mvm_vm_attach_pty(shared_vm(), "c-tty", &attach, NULL, &pty, &err));
  type_keys(pty, "echo back; exit 6\r");
  CHECK(read_until(pty, "back\r\n"));
  mvm_exit_status* status = NULL;
  REQUIRE_OK(mvm_pty_wait(pty, NULL, &status, &err));
  CHECK(status->code == 6);
  mvm_free(status);
  mvm_pty_free(pty);
  refuse_pty(pty);
}

static void a_terminal_is_polled_signalled_and_hung_up(void) {
  mvm_error* err = NULL;
  REQUIRE(shared_vm() != NULL);
  const char* const argv[] = {
      "/bin/sh", "-c", "trap 'echo int' INT; read go; echo set; while :; do sleep 0.1; done"};
  mvm_pty_options options = {
      .struct_size = sizeof options, .argv = argv, .argv_count = 3, .id = "c-hung", .writing = 99};
  mvm_pty* pty = UNTOUCHED;
  CHECK_INVALID(mvm_vm_pty(shared_vm(), &options, NULL, &pty, &err));  // no such value
  options.writing = MVM_PTY_SHARED;
  options.rows = 65536;
  CHECK_INVALID(mvm_vm_pty(shared_vm(), &options, NULL, &pty, &err));
  CHECK(pty == UNTOUCHED);
  options.rows = 0;
  REQUIRE_OK(mvm_vm_pty(shared_vm(), &options, NULL, &pty, &err));
  mvm_pty_output* output = UNTOUCHED;
  mvm_exit_status* status = UNTOUCHED;
  CHECK_FAILS(mvm_pty_try_read(pty, &output, &err), MVM_WOULD_BLOCK);
  CHECK(output == UNTOUCHED);
  mvm_bool writer = 0;
  CHECK_OK(mvm_pty_writer(pty, &writer, &err));
  CHECK(writer == 1);
  int32_t fd = -1;
  CHECK_OK(mvm_pty_fd(pty, &fd, &err));
  type_keys(pty, "go\r");
  CHECK(read_until(pty, "set\r\n"));
  CHECK_OK(mvm_pty_signal(pty, SIGINT, NULL, &err));
  CHECK(readable(fd, 20000));
  CHECK(read_until(pty, "int"));
  CHECK_FAILS(mvm_pty_try_wait(pty, &status, &err), MVM_WOULD_BLOCK);
  CHECK(status == UNTOUCHED);
  CHECK_OK(mvm_vm_close_pty(shared_vm(), "c-hung", NULL, &err));
  REQUIRE_OK(mvm_pty_wait(pty, NULL, &status, &err));
  CHECK(status->signal == SIGHUP);
  mvm_free(status);
  mvm_pty_free(pty);
  CHECK_FAILS(mvm_vm_close_pty(shared_vm(), "c-hung", NULL, &err), MVM_NOT_FOUND);
}

TEST_FILE(
    guest_programs_test, {"programs: one is run and collected", a_program_is_run_and_collected},
    {"programs: wrong options are refused", wrong_options_are_refused},
    {"programs: output is polled", output_is_polled},
    {"programs: input is bytes and ends", input_is_bytes_and_ends},
    {"programs: one is left, listed and come back to", a_program_is_left_listed_and_come_back_to},
    {"programs: the end of a detached one is waited for",
     the_end_of_a_detached_program_is_waited_for},
    {"programs: a freed one is killed", a_freed_program_is_killed},
    {"programs: a signal handler ends the wait", a_signal_handler_ends_the_wait},
    {"programs: threads share a Vm", threads_share_a_vm},
    {"terminals: one is used, left and come back to", a_terminal_is_used_left_and_come_back_to},
    {"terminals: one is polled, signalled and hung up",
     a_terminal_is_polled_signalled_and_hung_up}, );
