// Handles and options of Vms and what they have, where a guest is needed to have them.
#include "bad_handles.h"
#include "guest.h"
#include "struct_sizes.h"

// Freed while they are in use or have something of each other's: nothing crashes, what is left
// ends.
static void handles_are_freed_in_any_order(void) {
  mvm_error* err = NULL;
  const mvm_runtime_options options = {.struct_size = sizeof options};
  mvm_runtime* runtime = NULL;
  mvm_vm* vm = NULL;
  REQUIRE_OK(mvm_runtime_open(&options, NULL, &runtime, &err));
  REQUIRE_OK(mvm_runtime_run(runtime, "counter", NULL, NULL, &vm, &err));
  const char* const argv[] = {"sleep", "1000"};
  const mvm_exec_options sleeping = {.struct_size = sizeof sleeping, .argv = argv, .argv_count = 2};
  mvm_exec* exec = NULL;
  mvm_pty* pty = NULL;
  mvm_watch* watch = NULL;
  mvm_log_stream* logs = NULL;
  mvm_keep_awake* awake = NULL;
  CHECK_OK(mvm_vm_exec(vm, &sleeping, NULL, &exec, &err));
  CHECK_OK(mvm_vm_pty(vm, NULL, NULL, &pty, &err));
  CHECK_OK(mvm_vm_watch(vm, "/root", NULL, NULL, &watch, &err));
  CHECK_OK(mvm_vm_follow_logs(vm, MVM_LOG_APP, NULL, &logs, &err));
  CHECK_OK(mvm_vm_keep_awake(vm, &awake, &err));
  // Each is none of the other kinds.
  refuse_exec((mvm_exec*)vm);
  refuse_vm((mvm_vm*)exec);
  refuse_watch((mvm_watch*)pty);
  refuse_pty((mvm_pty*)watch);
  refuse_event_stream((mvm_event_stream*)logs);
  refuse_log_stream((mvm_log_stream*)awake);
  char* id = NULL;
  CHECK_OK(mvm_vm_id(vm, &id, &err));
  mvm_runtime_free(runtime);
  mvm_vm_free(vm);
  mvm_keep_awake_free(awake);
  mvm_log_stream_free(logs);
  mvm_pty_free(pty);
  mvm_watch_free(watch);
  mvm_exec_free(exec);
  refuse_all_kinds(exec);
  refuse_all_kinds(watch);
  refuse_all_kinds(awake);
  // Its owner's handles are gone, and so is it.
  mvm_vm* found = NULL;
  const mvm_status attached = mvm_runtime_attach(guest_runtime(), id, NULL, &found, NULL);
  CHECK(attached == MVM_NOT_FOUND ||
        (attached == MVM_OK && state_of(found) == MVM_VM_STATE_TERMINATED));
  mvm_vm_free(attached == MVM_OK ? found : NULL);
  mvm_free(id);
}

static void close_pty(mvm_vm* vm, mvm_pty* pty) {
  mvm_error* err = NULL;
  char* id = NULL;
  REQUIRE_OK(mvm_pty_id(pty, &id, &err));
  CHECK_OK(mvm_vm_close_pty(vm, id, NULL, &err));
  mvm_free(id);
  mvm_pty_free(pty);
}

static void structs_of_other_sizes(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = shared_vm();
  REQUIRE(vm != NULL);
  mvm_exec* exec = UNTOUCHED;
  mvm_exec_result* result = NULL;
  mvm_bytes* bytes = UNTOUCHED;
  mvm_file_info* file = UNTOUCHED;
  mvm_file_list* files = UNTOUCHED;
  mvm_pty* pty = NULL;
  mvm_watch* watch = NULL;
  const char* const argv[] = {"true"};
  const mvm_exec_options program = {.struct_size = sizeof program, .argv = argv, .argv_count = 1};
  CHECK_SIZES(mvm_exec_options, MVM_INVALID_ARGUMENT,
              mvm_vm_exec(vm, options, NULL, &exec, &err), );
  CHECK_SIZES(mvm_collect_options, MVM_OK,
              mvm_vm_exec_collect(vm, &program, options, NULL, &result, &err), mvm_free(result));
  CHECK_SIZES(mvm_exec_attach_options, MVM_NOT_FOUND,
              mvm_vm_attach_exec(vm, "none", options, NULL, &exec, &err), );
  CHECK_SIZES(mvm_pty_options, MVM_OK, mvm_vm_pty(vm, options, NULL, &pty, &err),
              close_pty(vm, pty));
  CHECK_SIZES(mvm_pty_attach_options, MVM_NOT_FOUND,
              mvm_vm_attach_pty(vm, "none", options, NULL, &pty, &err), );
  CHECK_SIZES(mvm_read_file_options, MVM_NOT_FOUND,
              mvm_vm_read_file(vm, "/none", options, NULL, &bytes, &err), );
  CHECK_SIZES(mvm_stat_file_options, MVM_NOT_FOUND,
              mvm_vm_stat_file(vm, "/none", options, NULL, &file, &err), );
  CHECK_SIZES(mvm_list_files_options, MVM_NOT_FOUND,
              mvm_vm_list_files(vm, "/none", options, NULL, &files, &err), );
  CHECK_SIZES(mvm_write_file_options, MVM_OK,
              mvm_vm_write_file(vm, "/root/s", "x", 1, options, NULL, &err), );
  CHECK_SIZES(mvm_make_directory_options, MVM_ALREADY_EXISTS,
              mvm_vm_make_directory(vm, "/etc", options, NULL, &err), );
  CHECK_SIZES(mvm_remove_file_options, MVM_NOT_FOUND,
              mvm_vm_remove_file(vm, "/none", options, NULL, &err), );
  CHECK_SIZES(mvm_rename_file_options, MVM_NOT_FOUND,
              mvm_vm_rename_file(vm, "/none", "/n", options, NULL, &err), );
  CHECK_SIZES(mvm_download_options, MVM_NOT_FOUND,
              mvm_vm_download(vm, "/none", test_dir(), options, NULL, NULL, &err), );
  CHECK_SIZES(mvm_upload_options, MVM_NOT_FOUND,
              mvm_vm_upload(vm, "/no/such", "/d", options, NULL, NULL, &err), );
  CHECK_SIZES(mvm_watch_options, MVM_OK, mvm_vm_watch(vm, "/root", options, NULL, &watch, &err),
              mvm_watch_free(watch));
  CHECK_SIZES(mvm_resume_options, MVM_OK, mvm_vm_resume(vm, options, NULL, &err), );
  CHECK(exec == UNTOUCHED && bytes == UNTOUCHED && file == UNTOUCHED && files == UNTOUCHED);
}

// Of calls that cost more: what they refuse is seen before.
static void structs_of_other_sizes_are_refused_before_anything_happens(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = shared_vm();
  REQUIRE(vm != NULL);
  mvm_fork_list* forks = UNTOUCHED;
  const mvm_suspend_options suspend = {.struct_size = 0};
  const mvm_fork_options fork_options = {.struct_size = 0};
  const mvm_checkpoint_options checkpoint = {.struct_size = 0};
  CHECK_INVALID(mvm_vm_suspend(vm, &suspend, NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_fork(vm, &fork_options, NULL, &forks, &err));
  CHECK_INVALID(mvm_vm_checkpoint(vm, &checkpoint, NULL, NULL, &err));
  CHECK(forks == UNTOUCHED && state_of(vm) == MVM_VM_STATE_RUNNING);
}

TEST_FILE(guest_handles_test, {"handles: freed in any order", handles_are_freed_in_any_order},
          {"handles: structs of other sizes", structs_of_other_sizes},
          {"handles: structs of other sizes are refused before anything happens",
           structs_of_other_sizes_are_refused_before_anything_happens}, );
