#include "place.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { kPathBytes = 512, kPaths = 4 };

char untouched_mark;
static char dir[kPathBytes];

static void remove_dir(void) {
  char command[kPathBytes + 16];
  snprintf(command, sizeof command, "rm -rf '%s'", dir);
  (void)!system(command);
}

const char* test_dir(void) {
  if (dir[0] != '\0') return dir;
  const char* const place = getenv("MICROVM_TEST_DATA");
  snprintf(dir, sizeof dir, "%s/microvm-capi-XXXXXX", place != NULL ? place : "/tmp");
  if (mkdtemp(dir) == NULL) {
    perror("mkdtemp");
    exit(1);
  }
  atexit(remove_dir);
  return dir;
}

const char* test_path(const char* name) {
  static char paths[kPaths][2 * kPathBytes];
  static unsigned next;
  char* const path = paths[next++ % kPaths];
  snprintf(path, sizeof paths[0], "%s/%s", test_dir(), name);
  return path;
}

bool write_test_file(const char* name, const void* data, size_t size) {
  FILE* const file = fopen(test_path(name), "wb");
  if (file == NULL) return false;
  const bool whole = fwrite(data, 1, size, file) == size;
  return fclose(file) == 0 && whole;
}

const char* make_root_tar(void) {
  char command[4 * kPathBytes];
  const char* const root = test_path("root");
  const char* const tar = test_path("root.tar");
  snprintf(command, sizeof command,
           "mkdir -p '%s/bin' '%s/etc' && echo '#!' >'%s/bin/sh' && tar -C '%s' -cf '%s' .", root,
           root, root, root, tar);
  return system(command) == 0 ? tar : NULL;
}

mvm_runtime* open_test_runtime(void) {
  mvm_error* err = NULL;
  mvm_runtime* runtime = NULL;
  const mvm_runtime_options options = {.struct_size = sizeof options,
                                       .data_dir = test_path("data")};
  return CHECK_OK(mvm_runtime_open(&options, NULL, &runtime, &err)) ? runtime : NULL;
}

bool under_valgrind(void) {
  return getenv("MICROVM_TEST_VALGRIND") != NULL;
}

static int count_entries(const char* path) {
  DIR* const entries = opendir(path);
  if (entries == NULL) return -1;
  int count = 0;
  for (const struct dirent* entry; (entry = readdir(entries)) != NULL;)
    count += entry->d_name[0] != '.';
  closedir(entries);
  return count - (strcmp(path, "/proc/self/fd") == 0);  // its own
}

int count_fds(void) {
  return count_entries("/proc/self/fd");
}

int count_threads(void) {
  return count_entries("/proc/self/task");
}

bool eventually(bool (*holds)(void* argument), void* argument) {
  const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
  for (int i = 0; i < 1000; ++i) {
    if (holds(argument)) return true;
    nanosleep(&pause, NULL);
  }
  return false;
}

bool readable(int32_t fd, int timeout_ms) {
  struct pollfd wanted = {.fd = fd, .events = POLLIN};
  return poll(&wanted, 1, timeout_ms) == 1;
}
