/* What the C interface costs; see cpp.cpp. */
#define _POSIX_C_SOURCE 200809L
#include <microvm.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void need(mvm_status status, mvm_error* err) {
  if (status == MVM_OK) return;
  fprintf(stderr, "bench: %s\n", mvm_error_message(err));
  exit(1);
}

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static long of_status(const char* name) {
  FILE* status = fopen("/proc/self/status", "re");
  char line[256];
  long value = 0;
  while (status != NULL && fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0) value = atol(line + strlen(name));
  }
  if (status != NULL) fclose(status);
  return value;
}

static void collect_true(mvm_vm* vm) {
  static const char* const kArgv[] = {"true"};
  const mvm_exec_options options = {.struct_size = sizeof options, .argv = kArgv, .argv_count = 1};
  mvm_exec_result* result = NULL;
  mvm_error* err = NULL;
  need(mvm_vm_exec_collect(vm, &options, NULL, NULL, &result, &err), err);
  mvm_free(result);
}

static void execs(mvm_vm* vm, int count) {
  printf("\"exec_us\": [");
  collect_true(vm); /* the first one also reads the program */
  for (int i = 0; i < count; ++i) {
    const double start = now_ms();
    collect_true(vm);
    printf("%s%.3f", i == 0 ? "" : ", ", (now_ms() - start) * 1e3);
  }
  printf("], ");
}

static void runs(mvm_runtime* runtime, const char* image, int count) {
  printf("\"run_ms\": [");
  for (int i = 0; i < count; ++i) {
    mvm_vm* vm = NULL;
    mvm_error* err = NULL;
    const double start = now_ms();
    need(mvm_runtime_run(runtime, image, NULL, NULL, &vm, &err), err);
    printf("%s%.3f", i == 0 ? "" : ", ", now_ms() - start);
    need(mvm_vm_terminate(vm, NULL, &err), err);
    mvm_vm_free(vm);
  }
  printf("], ");
}

static mvm_exec* start_cat(mvm_vm* vm) {
  static const char* const kArgv[] = {"cat"};
  const mvm_exec_options options = {
      .struct_size = sizeof options, .argv = kArgv, .argv_count = 1, .stdin_open = 1};
  mvm_exec* exec = NULL;
  mvm_error* err = NULL;
  need(mvm_vm_exec(vm, &options, NULL, &exec, &err), err);
  return exec;
}

/* Whether it has ended. */
static int take(mvm_exec* exec) {
  mvm_exit_status* end = NULL;
  mvm_error* err = NULL;
  const mvm_status status = mvm_exec_try_wait(exec, &end, &err);
  if (status == MVM_WOULD_BLOCK) {
    mvm_error_free(err);
    return 0;
  }
  need(status, err);
  if (end->code != 0) exit(1);
  mvm_free(end);
  return 1;
}

static void concurrent(mvm_vm* vm, int count) {
  const double start = now_ms();
  mvm_exec** programs = calloc((size_t)count, sizeof *programs);
  struct pollfd* fds = calloc((size_t)count, sizeof *fds);
  mvm_error* err = NULL;
  for (int i = 0; i < count; ++i) programs[i] = start_cat(vm);
  const long threads = of_status("Threads:");
  const long rss_kib = of_status("VmRSS:");
  for (int i = 0; i < count; ++i) {
    need(mvm_exec_close_stdin(programs[i], NULL, &err), err);
    need(mvm_exec_fd(programs[i], &fds[i].fd, &err), err);
    fds[i].events = POLLIN;
  }
  for (int left = count; left > 0;) {
    if (poll(fds, (nfds_t)count, -1) < 0) exit(1);
    for (int i = 0; i < count; ++i) {
      if (fds[i].revents == 0 || !take(programs[i])) continue;
      fds[i].fd = -1;
      --left;
    }
  }
  printf("\"concurrent\": {\"n\": %d, \"ms\": %.3f, \"threads\": %ld, \"rss_kib\": %ld}", count,
         now_ms() - start, threads, rss_kib);
  for (int i = 0; i < count; ++i) mvm_exec_free(programs[i]);
  free(programs);
  free(fds);
}

int main(int argc, char** argv) {
  if (argc != 7) {
    fprintf(stderr, "usage: c DATA_DIRECTORY VM IMAGE EXECS RUNS CONCURRENT\n");
    return 2;
  }
  const mvm_runtime_options options = {.struct_size = sizeof options, .data_dir = argv[1]};
  mvm_runtime* runtime = NULL;
  mvm_vm* vm = NULL;
  mvm_error* err = NULL;
  need(mvm_runtime_open(&options, NULL, &runtime, &err), err);
  need(mvm_runtime_attach(runtime, argv[2], NULL, &vm, &err), err);
  printf("{\"language\": \"c\", ");
  execs(vm, atoi(argv[4]));
  runs(runtime, argv[3], atoi(argv[5]));
  concurrent(vm, atoi(argv[6]));
  printf("}\n");
  mvm_vm_free(vm);
  mvm_runtime_free(runtime);
  return 0;
}
