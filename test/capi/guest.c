#include "guest.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kEventKinds = 10 };

static mvm_runtime* runtime;
static mvm_vm* vm_of_all;
static atomic_int told[kEventKinds];

static void print_line(void* user, const char* line) {
  (void)user;
  fprintf(stderr, "log: %s\n", line);
}

static void count_event(void* user, const mvm_vm_event* event) {
  (void)user;
  if (event->kind >= 0 && event->kind < kEventKinds) atomic_fetch_add(&told[event->kind], 1);
}

int events_told(mvm_vm_event_kind kind) {
  return atomic_load(&told[kind]);
}

mvm_runtime* guest_runtime(void) {
  if (runtime != NULL) return runtime;
  mvm_error* err = NULL;
  const mvm_runtime_options options = {
      .struct_size = sizeof options, .log = print_line, .on_event = count_event};
  CHECK_OK(mvm_runtime_open(&options, NULL, &runtime, &err));
  return runtime;
}

mvm_vm* shared_vm(void) {
  if (vm_of_all == NULL) vm_of_all = run_counter(NULL);
  return vm_of_all;
}

void end_guests(void) {
  end_vm(vm_of_all);
  vm_of_all = NULL;
  mvm_runtime_free(runtime);
  runtime = NULL;
}

mvm_vm* run_counter(const mvm_run_options* options_or_null) {
  mvm_error* err = NULL;
  mvm_vm* vm = NULL;
  if (guest_runtime() == NULL) return NULL;
  CHECK_OK(mvm_runtime_run(guest_runtime(), "counter", options_or_null, NULL, &vm, &err));
  return vm;
}

void end_vm(mvm_vm* vm) {
  mvm_error* err = NULL;
  char* id = NULL;
  if (vm == NULL) return;
  CHECK_OK(mvm_vm_terminate(vm, NULL, &err));
  if (CHECK_OK(mvm_vm_id(vm, &id, &err))) {
    // Of one that outlives its process the record is still there.
    const mvm_status removed = mvm_runtime_remove_vm(guest_runtime(), id, NULL, NULL);
    CHECK(removed == MVM_OK || removed == MVM_NOT_FOUND);
  }
  mvm_free(id);
  mvm_vm_free(vm);
}

mvm_exec_options shell_options(const char* const* argv_of_three) {
  return (mvm_exec_options){
      .struct_size = sizeof(mvm_exec_options), .argv = argv_of_three, .argv_count = 3};
}

char* shell(mvm_vm* vm, const char* script) {
  mvm_error* err = NULL;
  mvm_exec_result* result = NULL;
  const char* const argv[] = {"/bin/sh", "-c", script};
  const mvm_exec_options options = shell_options(argv);
  if (!CHECK_OK(mvm_vm_exec_collect(vm, &options, NULL, NULL, &result, &err))) return NULL;
  if (!CHECK(result->status->code == 0)) fprintf(stderr, "%s", (const char*)result->err.data);
  char* const output = strdup((const char*)result->out.data);
  mvm_free(result);
  return output;
}

bool shell_says(mvm_vm* vm, const char* script, const char* output) {
  char* const said = shell(vm, script);
  const bool same = said != NULL && strcmp(said, output) == 0;
  if (!same) fprintf(stderr, "%s: \"%s\", not \"%s\"\n", script, said != NULL ? said : "", output);
  free(said);
  return same;
}

const char* http_get(mvm_vm* vm) {
  static char answer[4096];
  static const char request[] = "GET / HTTP/1.0\r\n\r\n";
  mvm_error* err = NULL;
  int32_t socket = -1;
  if (!CHECK_OK(mvm_vm_connect(vm, kCounterPort, NULL, &socket, &err))) return NULL;
  size_t size = 0;
  const bool sent = write(socket, request, sizeof request - 1) == (ssize_t)sizeof request - 1;
  for (ssize_t got = 0; sent && size < sizeof answer - 1; size += (size_t)got) {
    got = read(socket, answer + size, sizeof answer - 1 - size);
    if (got <= 0) break;
  }
  answer[size] = '\0';
  close(socket);
  return CHECK(sent) ? answer : NULL;
}

mvm_vm_state state_of(mvm_vm* vm) {
  mvm_error* err = NULL;
  mvm_vm_info* info = NULL;
  if (!CHECK_OK(mvm_vm_get_info(vm, &info, &err))) return -1;
  const mvm_vm_state state = info->state;
  mvm_free(info);
  return state;
}
