/* A C program with microVMs in it: start one, put a file in, run programs, talk to its app's port.
     embed [IMAGE]      the image needs python3 and an HTTP server on port 8080; default: counter
   Ctrl-C ends the call that is under way, and nothing of the microVM stays behind. */
#include <microvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char kScript[] = "import sys\nprint('hello', sys.stdin.read().strip())\n";
static const char kRequest[] = "GET / HTTP/1.0\r\nHost: embed\r\n\r\n";

static mvm_cancel* interrupted;

static void on_interrupt(int signal) {
  (void)signal;
  mvm_cancel_fire(interrupted);
}

/* Output comes as soon as there is some; a piece is ours until we free it. */
static mvm_status run_streaming(mvm_vm* vm, const mvm_limits* limits, mvm_error** err) {
  const char* const argv[] = {"/bin/sh", "-c", "uname -sr; echo 'and this is stderr' >&2; exit 7"};
  const mvm_exec_options options = {
      .struct_size = sizeof options, .argv = argv, .argv_count = sizeof argv / sizeof *argv};
  mvm_exec* exec = NULL;
  mvm_status status = mvm_vm_exec(vm, &options, limits, &exec, err);
  mvm_exec_output* piece = NULL;
  while (status == MVM_OK && (status = mvm_exec_read(exec, limits, &piece, err)) == MVM_OK &&
         piece != NULL) {
    printf("%s| %.*s", piece->stream == MVM_EXEC_STDOUT ? "out" : "err", (int)piece->size,
           (const char*)piece->data);
    mvm_free(piece);
  }
  mvm_exit_status* end = NULL;
  if (status == MVM_OK) status = mvm_exec_wait(exec, limits, &end, err);
  if (status == MVM_OK) printf("exit code %d\n", (int)end->code);
  mvm_free(end);
  mvm_exec_free(exec);
  return status;
}

/* Or all at once, with something on stdin. */
static mvm_status run_script(mvm_vm* vm, const mvm_limits* limits, mvm_error** err) {
  mvm_status status =
      mvm_vm_write_file(vm, "/tmp/hello.py", kScript, sizeof kScript - 1, NULL, limits, err);
  if (status != MVM_OK) return status;
  const char* const argv[] = {"python3", "/tmp/hello.py"};
  const mvm_exec_options options = {
      .struct_size = sizeof options, .argv = argv, .argv_count = 2, .stdin_open = 1};
  const mvm_collect_options collect = {
      .struct_size = sizeof collect, .input = "microVM", .input_size = strlen("microVM")};
  mvm_exec_result* result = NULL;
  status = mvm_vm_exec_collect(vm, &options, &collect, limits, &result, err);
  if (status == MVM_OK) printf("%s", (const char*)result->out.data);
  mvm_free(result);
  return status;
}

/* A connection is a socket of ours. */
static mvm_status ask_app(mvm_vm* vm, const mvm_limits* limits, mvm_error** err) {
  int32_t socket = -1;
  const mvm_status status = mvm_vm_connect(vm, 8080, limits, &socket, err);
  if (status != MVM_OK) return status;
  char answer[4096] = "";
  size_t size = 0;
  ssize_t got = write(socket, kRequest, sizeof kRequest - 1);
  while (got > 0 && (got = read(socket, answer + size, sizeof answer - 1 - size)) > 0) {
    size += (size_t)got;
  }
  close(socket);
  answer[size] = '\0';
  const char* body = strstr(answer, "\r\n\r\n");
  printf("the app says: %s", body != NULL ? body + 4 : "nothing\n");
  return MVM_OK;
}

int main(int argc, char** argv) {
  mvm_runtime* runtime = NULL;
  mvm_vm* vm = NULL;
  mvm_error* err = NULL;
  mvm_status status = mvm_cancel_new(&interrupted, &err);
  signal(SIGINT, on_interrupt);
  signal(SIGPIPE, SIG_IGN); /* for our own write(); the library needs it no more than C does */
  const mvm_limits limits = {
      .struct_size = sizeof limits, .cancel = interrupted, .timeout_ms = 5 * 60 * 1000};

  if (status == MVM_OK) status = mvm_runtime_open(NULL, &limits, &runtime, &err);
  if (status == MVM_OK) {
    status = mvm_runtime_run(runtime, argc > 1 ? argv[1] : "counter", NULL, &limits, &vm, &err);
  }
  if (status == MVM_OK) status = run_script(vm, &limits, &err);
  if (status == MVM_OK) status = run_streaming(vm, &limits, &err);
  if (status == MVM_OK) status = ask_app(vm, &limits, &err);
  if (status != MVM_OK) fprintf(stderr, "embed: %s\n", mvm_error_message(err));

  mvm_error_free(err);
  mvm_vm_free(vm); /* with the last handle and the Runtime the microVM ends */
  mvm_runtime_free(runtime);
  mvm_cancel_free(interrupted);
  return status == MVM_OK ? 0 : 1;
}
