// Files of a guest from C: whole, in pieces by callbacks that may fail, as trees and tars, watched.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bad_handles.h"
#include "guest.h"

static void files_are_written_read_and_looked_at(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = shared_vm();
  REQUIRE(vm != NULL);
  const mvm_make_directory_options parents = {
      .struct_size = sizeof parents, .has_mode = 1, .mode = 0700, .parents = 1};
  CHECK_OK(mvm_vm_make_directory(vm, "/root/c/d", &parents, NULL, &err));
  CHECK_FAILS(mvm_vm_make_directory(vm, "/root/c/d", NULL, NULL, &err), MVM_ALREADY_EXISTS);
  const mvm_write_file_options write = {
      .struct_size = sizeof write, .has_mode = 1, .mode = 0640, .owner = "1:2"};
  CHECK_OK(mvm_vm_write_file(vm, "/root/c/f", "a\0b", 3, &write, NULL, &err));
  CHECK_OK(mvm_vm_append_file(vm, "/root/c/f", "cd", 2, NULL, NULL, &err));
  CHECK_OK(mvm_vm_write_file(vm, "/root/c/empty", NULL, 0, NULL, NULL, &err));
  mvm_bytes* bytes = NULL;
  REQUIRE_OK(mvm_vm_read_file(vm, "/root/c/f", NULL, NULL, &bytes, &err));
  CHECK(bytes->size == 5 && memcmp(bytes->data, "a\0bcd\0", 6) == 0);
  mvm_free(bytes);
  const mvm_read_file_options part = {.struct_size = sizeof part, .offset = 2, .length = 2};
  REQUIRE_OK(mvm_vm_read_file(vm, "/root/c/f", &part, NULL, &bytes, &err));
  CHECK(bytes->size == 2 && memcmp(bytes->data, "bc", 2) == 0);
  mvm_free(bytes);
  REQUIRE_OK(mvm_vm_read_file(vm, "/root/c/empty", NULL, NULL, &bytes, &err));
  CHECK(bytes->size == 0 && bytes->data != NULL);
  mvm_free(bytes);
  const mvm_read_file_options small = {.struct_size = sizeof small, .max_bytes = 4};
  bytes = UNTOUCHED;
  CHECK(mvm_vm_read_file(vm, "/root/c/f", &small, NULL, &bytes, NULL) < 0);
  CHECK_FAILS(mvm_vm_read_file(vm, "/root/c/none", NULL, NULL, &bytes, &err), MVM_NOT_FOUND);
  CHECK(bytes == UNTOUCHED);
  mvm_file_info* info = NULL;
  REQUIRE_OK(mvm_vm_stat_file(vm, "/root/c/f", NULL, NULL, &info, &err));
  CHECK(info->type == MVM_FILE_REGULAR && info->mode == 0640 && info->uid == 1 && info->gid == 2);
  CHECK(info->size_bytes == 5 && info->mtime_ns > 0 && info->link_target[0] == '\0');
  mvm_free(info);
}

static void directories_are_listed_renamed_and_removed(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = shared_vm();
  REQUIRE(vm != NULL);
  free(shell(vm,
             "mkdir -p /root/l/sub && ln -s sub /root/l/link && mkfifo /root/l/fifo && echo x "
             ">/root/l/file"));
  mvm_file_list* files = NULL;
  REQUIRE_OK(mvm_vm_list_files(vm, "/root/l", NULL, NULL, &files, &err));
  REQUIRE(files->count == 4);
  const mvm_file_type types[] = {MVM_FILE_FIFO, MVM_FILE_REGULAR, MVM_FILE_SYMLINK,
                                 MVM_FILE_DIRECTORY};
  const char* const names[] = {"fifo", "file", "link", "sub"};
  for (size_t i = 0; i < 4; ++i) {
    CHECK(strcmp(files->items[i]->name, names[i]) == 0 && files->items[i]->type == types[i]);
  }
  mvm_free(files);
  const mvm_list_files_options few = {.struct_size = sizeof few, .max_entries = 3};
  CHECK(mvm_vm_list_files(vm, "/root/l", &few, NULL, &files, NULL) < 0);
  mvm_file_info* info = NULL;
  const mvm_stat_file_options itself = {.struct_size = sizeof itself, .no_follow_link = 1};
  REQUIRE_OK(mvm_vm_stat_file(vm, "/root/l/link", &itself, NULL, &info, &err));
  CHECK(info->type == MVM_FILE_SYMLINK && strcmp(info->link_target, "sub") == 0);
  mvm_free(info);
  REQUIRE_OK(mvm_vm_stat_file(vm, "/root/l/link", NULL, NULL, &info, &err));
  CHECK(info->type == MVM_FILE_DIRECTORY);
  mvm_free(info);
  const mvm_rename_file_options keep = {.struct_size = sizeof keep, .no_replace = 1};
  CHECK_FAILS(mvm_vm_rename_file(vm, "/root/l/file", "/root/l/fifo", &keep, NULL, &err),
              MVM_ALREADY_EXISTS);
  CHECK_OK(mvm_vm_rename_file(vm, "/root/l/file", "/root/l/other", NULL, NULL, &err));
  CHECK_OK(mvm_vm_remove_file(vm, "/root/l/other", NULL, NULL, &err));
  CHECK(mvm_vm_remove_file(vm, "/root/l", NULL, NULL, NULL) < 0);  // not empty
  const mvm_remove_file_options all = {.struct_size = sizeof all, .recursive = 1};
  CHECK_OK(mvm_vm_remove_file(vm, "/root/l", &all, NULL, &err));
  CHECK_INVALID(mvm_vm_write_file(vm, NULL, "x", 1, NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_write_file(vm, "/x", NULL, 1, NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_rename_file(vm, "/x", NULL, NULL, NULL, &err));
}

// What flows through a callback, and when it fails.
typedef struct {
  unsigned char data[1 << 16];
  size_t size;
  size_t at;
  int64_t fails_with;  // 0: it does not
  int calls;
} flow;

static int32_t take_bytes(void* user, const void* data, size_t size) {
  flow* const self = user;
  ++self->calls;
  if (self->fails_with != 0) return (int32_t)self->fails_with;
  if (size > sizeof self->data - self->size) return MVM_OUT_OF_MEMORY;
  memcpy(self->data + self->size, data, size);
  self->size += size;
  return 0;
}

static int64_t give_bytes(void* user, void* buffer, size_t capacity) {
  flow* const self = user;
  ++self->calls;
  if (self->fails_with != 0) return self->fails_with;
  const size_t size = capacity < self->size - self->at ? capacity : self->size - self->at;
  memcpy(buffer, self->data + self->at, size);
  self->at += size;
  return (int64_t)size;
}

static void callbacks_carry_a_file(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = shared_vm();
  REQUIRE(vm != NULL);
  static flow given = {.size = 50000};
  static flow taken;
  for (size_t i = 0; i < given.size; ++i) given.data[i] = (unsigned char)(i * 7);
  CHECK_OK(mvm_vm_write_file_from(vm, "/root/flow", give_bytes, &given, NULL, NULL, &err));
  CHECK(given.at == given.size);
  mvm_file_info* info = NULL;
  REQUIRE_OK(mvm_vm_read_file_to(vm, "/root/flow", take_bytes, &taken, NULL, NULL, &info, &err));
  CHECK(info->size_bytes == given.size);
  mvm_free(info);
  CHECK(taken.size == given.size && memcmp(taken.data, given.data, given.size) == 0);
  CHECK_INVALID(mvm_vm_read_file_to(vm, "/root/flow", NULL, NULL, NULL, NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_write_file_from(vm, "/root/flow", NULL, NULL, NULL, NULL, &err));
}

// The call ends with what the callback said, the file is as it was, and the Vm is as good as
// before.
static void callbacks_may_fail(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = shared_vm();
  REQUIRE(vm != NULL);
  CHECK_OK(mvm_vm_write_file(vm, "/root/kept", "kept\n", 5, NULL, NULL, &err));
  static flow failing = {.fails_with = MVM_BUILD_FAILED};
  CHECK_FAILS(mvm_vm_write_file_from(vm, "/root/kept", give_bytes, &failing, NULL, NULL, &err),
              MVM_BUILD_FAILED);
  mvm_file_info* info = UNTOUCHED;
  CHECK_FAILS(mvm_vm_read_file_to(vm, "/root/kept", take_bytes, &failing, NULL, NULL, &info, &err),
              MVM_BUILD_FAILED);
  CHECK(info == UNTOUCHED && failing.calls == 2);
  mvm_transfer_totals* totals = UNTOUCHED;
  CHECK_FAILS(mvm_vm_download_tar(vm, "/etc", take_bytes, &failing, NULL, NULL, &totals, &err),
              MVM_BUILD_FAILED);
  CHECK_FAILS(mvm_vm_upload_tar(vm, give_bytes, &failing, "/root/tar", NULL, NULL, &totals, &err),
              MVM_BUILD_FAILED);
  CHECK(totals == UNTOUCHED);
  // What is no status: more than the buffer holds, a number nobody has.
  failing.fails_with = INT64_MAX;
  CHECK_FAILS(mvm_vm_write_file_from(vm, "/root/kept", give_bytes, &failing, NULL, NULL, &err),
              MVM_INVALID_ARGUMENT);
  failing.fails_with = -1000;
  CHECK(mvm_vm_write_file_from(vm, "/root/kept", give_bytes, &failing, NULL, NULL, NULL) < 0);
  failing.fails_with = INT64_MIN;
  CHECK(mvm_vm_write_file_from(vm, "/root/kept", give_bytes, &failing, NULL, NULL, NULL) < 0);
  CHECK(shell_says(vm, "cat /root/kept", "kept\n"));
}

static void trees_go_both_ways(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = shared_vm();
  REQUIRE(vm != NULL);
  char command[1024];
  const char* const tree = test_path("tree");
  snprintf(command, sizeof command,
           "mkdir -p '%s/sub' '%s' && echo one >'%s/1' && echo two >'%s/sub/2'", tree,
           test_path("back"), tree, tree);
  REQUIRE(system(command) == 0);
  mvm_transfer_totals* totals = NULL;
  REQUIRE_OK(mvm_vm_upload(vm, tree, "/root/up", NULL, NULL, &totals, &err));
  CHECK(totals->entries == 4 && totals->bytes == 8 && totals->skipped == 0);
  mvm_free(totals);
  CHECK(shell_says(vm, "cat /root/up/tree/1 /root/up/tree/sub/2", "one\ntwo\n"));
  const mvm_download_options named = {.struct_size = sizeof named, .name = "renamed"};
  CHECK_OK(mvm_vm_download(vm, "/root/up/tree", test_path("back"), &named, NULL, NULL, &err));
  snprintf(command, sizeof command, "diff -r '%s' '%s/renamed'", tree, test_path("back"));
  CHECK(system(command) == 0);
  const mvm_download_options few = {.struct_size = sizeof few, .max_entries = 2};
  CHECK(mvm_vm_download(vm, "/root/up/tree", test_path("back"), &few, NULL, NULL, NULL) < 0);

  static flow tar;
  CHECK_OK(mvm_vm_download_tar(vm, "/root/up/tree", take_bytes, &tar, NULL, NULL, NULL, &err));
  CHECK(tar.size > 0 && tar.size % 512 == 0);
  REQUIRE_OK(mvm_vm_upload_tar(vm, give_bytes, &tar, "/root/untarred", NULL, NULL, &totals, &err));
  CHECK(totals->bytes == 8);
  mvm_free(totals);
  CHECK(shell_says(vm, "cat /root/untarred/tree/sub/2", "two\n"));
}

static mvm_file_event* next_event(mvm_watch* watch) {
  mvm_error* err = NULL;
  mvm_file_event* event = NULL;
  const mvm_limits limits = {.struct_size = sizeof limits, .timeout_ms = 30000};
  CHECK_OK(mvm_watch_next(watch, &limits, &event, &err));
  return event;
}

static void changes_are_watched(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = shared_vm();
  REQUIRE(vm != NULL);
  free(shell(vm, "mkdir /root/watched"));
  mvm_watch* watch = NULL;
  const mvm_watch_options recursive = {.struct_size = sizeof recursive, .recursive = 1};
  REQUIRE_OK(mvm_vm_watch(vm, "/root/watched", &recursive, NULL, &watch, &err));
  mvm_file_event* event = UNTOUCHED;
  CHECK_FAILS(mvm_watch_try_next(watch, &event, &err), MVM_WOULD_BLOCK);
  CHECK(event == UNTOUCHED);
  int32_t fd = -1;
  CHECK_OK(mvm_watch_fd(watch, &fd, &err));
  free(shell(vm, "mkdir /root/watched/d; mv /root/watched/d /root/watched/e"));
  CHECK(readable(fd, 20000));
  event = next_event(watch);
  REQUIRE(event != NULL);
  CHECK(event->kind == MVM_FILE_EVENT_CREATED && strcmp(event->path, "d") == 0 &&
        event->is_directory == 1);
  mvm_free(event);
  // What is found in a new directory may be told twice.
  for (event = next_event(watch); event != NULL && event->kind == MVM_FILE_EVENT_CREATED;) {
    mvm_free(event);
    event = next_event(watch);
  }
  REQUIRE(event != NULL);
  CHECK(event->kind == MVM_FILE_EVENT_RENAMED);
  CHECK_HAS(event->path, "e");
  CHECK_HAS(event->old_path, "d");
  mvm_free(event);
  free(shell(vm, "rm -r /root/watched"));
  mvm_file_event_kind last = -1;
  while ((event = next_event(watch)) != NULL) {
    last = event->kind;
    mvm_free(event);
  }
  CHECK(last == MVM_FILE_EVENT_REMOVED);
  mvm_watch_free(watch);
  refuse_watch(watch);
}

TEST_FILE(guest_files_test,
          {"files: written, read and looked at", files_are_written_read_and_looked_at},
          {"files: directories are listed, renamed and removed",
           directories_are_listed_renamed_and_removed},
          {"files: callbacks carry one", callbacks_carry_a_file},
          {"files: callbacks may fail", callbacks_may_fail},
          {"files: trees go both ways", trees_go_both_ways},
          {"files: changes are watched", changes_are_watched}, );
