#include "bad_handles.h"

#include <stddef.h>

#include "place.h"

// What the calls give outputs to; checked after each group.
typedef struct {
  void* pointer;
  size_t size;
  uint64_t wide;
  uint32_t word;
  int32_t number;
} outputs;

static const outputs kFresh = {UNTOUCHED, 11, 12, 13, 14};

static void check_untouched(const outputs* out) {
  CHECK(out->pointer == UNTOUCHED);
  CHECK(out->size == kFresh.size && out->wide == kFresh.wide);
  CHECK(out->word == kFresh.word && out->number == kFresh.number);
}

static int32_t no_sink(void* user, const void* data, size_t size) {
  (void)user, (void)data, (void)size;
  CHECK(!"called in spite of a bad handle");
  return 0;
}

static int64_t no_source(void* user, void* buffer, size_t capacity) {
  (void)user, (void)buffer, (void)capacity;
  CHECK(!"called in spite of a bad handle");
  return 0;
}

#define OUT ((void*)&out.pointer)

static void refuse_runtime_store(mvm_runtime* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  const mvm_build_options build = {.struct_size = sizeof build, .context = "/", .tag = "t"};
  CHECK_INVALID(mvm_runtime_data_dir(bad, OUT, &err));
  CHECK_INVALID(mvm_runtime_import_kernel(bad, "/k", NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_kernels(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_remove_kernel(bad, "k", NULL, &err));
  CHECK_INVALID(mvm_runtime_import_base(bad, "b", "/t", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_bases(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_remove_base(bad, "b", NULL, &err));
  CHECK_INVALID(mvm_runtime_build(bad, &build, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_images(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_image(bad, "i", NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_remove_image(bad, "i", NULL, &err));
  CHECK_INVALID(mvm_runtime_pack_image(bad, "i", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_unpack_image(bad, "i", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_prune(bad, NULL, NULL, OUT, &err));
  check_untouched(&out);
}

static void refuse_runtime_vms(mvm_runtime* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK_INVALID(mvm_runtime_warm(bad, "i", 1, NULL, &err));
  CHECK_INVALID(mvm_runtime_run(bad, "i", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_start(bad, "i", NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_vms(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_attach(bad, "v", NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_remove_vm(bad, "v", NULL, &err));
  CHECK_INVALID(mvm_runtime_checkpoints(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_run_checkpoint(bad, "c", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_start_checkpoint(bad, "c", NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_commit(bad, "c", "i", NULL, OUT, &err));
  CHECK_INVALID(mvm_runtime_remove_checkpoint(bad, "c", NULL, &err));
  CHECK_INVALID(mvm_runtime_events(bad, NULL, NULL, OUT, &err));
  check_untouched(&out);
}

void refuse_runtime(mvm_runtime* bad) {
  refuse_runtime_store(bad);
  refuse_runtime_vms(bad);
  mvm_runtime_free(bad);
}

static void refuse_vm_life(mvm_vm* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK_INVALID(mvm_vm_copy(bad, OUT, &err));
  CHECK_INVALID(mvm_vm_id(bad, OUT, &err));
  CHECK_INVALID(mvm_vm_get_info(bad, OUT, &err));
  CHECK_INVALID(mvm_vm_launch_times(bad, OUT, &err));
  CHECK_INVALID(mvm_vm_get_counters(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_keep_awake(bad, OUT, &err));
  CHECK_INVALID(mvm_vm_suspend(bad, NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_resume(bad, NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_fork(bad, NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_checkpoint(bad, NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_rollback(bad, "c", NULL, &err));
  CHECK_INVALID(mvm_vm_terminate(bad, NULL, &err));
  CHECK_INVALID(mvm_vm_wait(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_try_wait(bad, OUT, &err));
  CHECK_INVALID(mvm_vm_end_fd(bad, &out.number, &err));
  check_untouched(&out);
}

static void refuse_vm_streams(mvm_vm* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  const char* const argv[] = {"true"};
  const mvm_exec_options exec = {.struct_size = sizeof exec, .argv = argv, .argv_count = 1};
  CHECK_INVALID(mvm_vm_connect(bad, 80, NULL, &out.number, &err));
  CHECK_INVALID(mvm_vm_logs(bad, MVM_LOG_APP, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_follow_logs(bad, MVM_LOG_APP, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_network(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_set_network_policy(bad, NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_flows(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_exec(bad, &exec, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_attach_exec(bad, "e", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_execs(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_signal_exec(bad, "e", 15, NULL, &err));
  CHECK_INVALID(mvm_vm_wait_exec(bad, "e", NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_exec_collect(bad, &exec, NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_pty(bad, NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_attach_pty(bad, "p", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_ptys(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_close_pty(bad, "p", NULL, &err));
  CHECK_INVALID(mvm_vm_watch(bad, "/", NULL, NULL, OUT, &err));
  check_untouched(&out);
}

static void refuse_vm_files(mvm_vm* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK_INVALID(mvm_vm_read_file(bad, "/f", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_read_file_to(bad, "/f", no_sink, NULL, NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_write_file(bad, "/f", "x", 1, NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_write_file_from(bad, "/f", no_source, NULL, NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_append_file(bad, "/f", "x", 1, NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_stat_file(bad, "/f", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_list_files(bad, "/", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_make_directory(bad, "/d", NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_remove_file(bad, "/f", NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_rename_file(bad, "/f", "/g", NULL, NULL, &err));
  CHECK_INVALID(mvm_vm_download(bad, "/f", "/tmp", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_download_tar(bad, "/f", no_sink, NULL, NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_upload(bad, "/f", "/d", NULL, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_upload_tar(bad, no_source, NULL, "/d", NULL, NULL, OUT, &err));
  check_untouched(&out);
}

void refuse_vm(mvm_vm* bad) {
  refuse_vm_life(bad);
  refuse_vm_streams(bad);
  refuse_vm_files(bad);
  mvm_vm_free(bad);
}

void refuse_vm_start(mvm_vm_start* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK_INVALID(mvm_vm_start_take(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_vm_start_try_take(bad, OUT, &err));
  CHECK_INVALID(mvm_vm_start_fd(bad, &out.number, &err));
  CHECK_INVALID(mvm_vm_start_cancel(bad, &err));
  mvm_vm_start_free(bad);
  check_untouched(&out);
}

void refuse_exec(mvm_exec* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK_INVALID(mvm_exec_read(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_exec_try_read(bad, OUT, &err));
  CHECK_INVALID(mvm_exec_write_stdin(bad, "x", 1, NULL, &err));
  CHECK_INVALID(mvm_exec_try_write_stdin(bad, "x", 1, &out.size, &err));
  CHECK_INVALID(mvm_exec_close_stdin(bad, NULL, &err));
  CHECK_INVALID(mvm_exec_try_close_stdin(bad, &err));
  CHECK_INVALID(mvm_exec_signal(bad, 15, NULL, &err));
  CHECK_INVALID(mvm_exec_detach(bad, NULL, &err));
  CHECK_INVALID(mvm_exec_wait(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_exec_try_wait(bad, OUT, &err));
  CHECK_INVALID(mvm_exec_id(bad, OUT, &err));
  CHECK_INVALID(mvm_exec_pid(bad, &out.word, &err));
  CHECK_INVALID(mvm_exec_position(bad, &out.wide, &err));
  CHECK_INVALID(mvm_exec_writer(bad, &out.word, &err));
  CHECK_INVALID(mvm_exec_fd(bad, &out.number, &err));
  mvm_exec_free(bad);
  check_untouched(&out);
}

void refuse_pty(mvm_pty* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK_INVALID(mvm_pty_read(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_pty_try_read(bad, OUT, &err));
  CHECK_INVALID(mvm_pty_write(bad, "x", 1, NULL, &err));
  CHECK_INVALID(mvm_pty_try_write(bad, "x", 1, &out.size, &err));
  CHECK_INVALID(mvm_pty_resize(bad, 24, 80, NULL, &err));
  CHECK_INVALID(mvm_pty_signal(bad, 15, NULL, &err));
  CHECK_INVALID(mvm_pty_detach(bad, &err));
  CHECK_INVALID(mvm_pty_wait(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_pty_try_wait(bad, OUT, &err));
  CHECK_INVALID(mvm_pty_id(bad, OUT, &err));
  CHECK_INVALID(mvm_pty_pid(bad, &out.word, &err));
  CHECK_INVALID(mvm_pty_writer(bad, &out.word, &err));
  CHECK_INVALID(mvm_pty_position(bad, &out.wide, &err));
  CHECK_INVALID(mvm_pty_fd(bad, &out.number, &err));
  mvm_pty_free(bad);
  check_untouched(&out);
}

void refuse_watch(mvm_watch* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK_INVALID(mvm_watch_next(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_watch_try_next(bad, OUT, &err));
  CHECK_INVALID(mvm_watch_fd(bad, &out.number, &err));
  mvm_watch_free(bad);
  check_untouched(&out);
}

void refuse_log_stream(mvm_log_stream* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK_INVALID(mvm_log_stream_read(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_log_stream_try_read(bad, OUT, &err));
  CHECK_INVALID(mvm_log_stream_fd(bad, &out.number, &err));
  mvm_log_stream_free(bad);
  check_untouched(&out);
}

void refuse_flow_stream(mvm_flow_stream* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK_INVALID(mvm_flow_stream_next(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_flow_stream_try_next(bad, OUT, &err));
  CHECK_INVALID(mvm_flow_stream_fd(bad, &out.number, &err));
  mvm_flow_stream_free(bad);
  check_untouched(&out);
}

void refuse_event_stream(mvm_event_stream* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK_INVALID(mvm_event_stream_next(bad, NULL, OUT, &err));
  CHECK_INVALID(mvm_event_stream_try_next(bad, OUT, &err));
  CHECK_INVALID(mvm_event_stream_fd(bad, &out.number, &err));
  mvm_event_stream_free(bad);
  check_untouched(&out);
}

void refuse_keep_awake(mvm_keep_awake* bad) {
  mvm_keep_awake_free(bad);
}

void refuse_cancel(mvm_cancel* bad) {
  mvm_error* err = NULL;
  outputs out = kFresh;
  CHECK(mvm_cancel_fire(bad) == MVM_INVALID_ARGUMENT);
  CHECK(mvm_cancel_fired(bad) == 0);
  CHECK_INVALID(mvm_cancel_fd(bad, &out.number, &err));
  mvm_cancel_free(bad);
  check_untouched(&out);
}

void refuse_all_kinds(void* bad) {
  refuse_runtime(bad);
  refuse_vm(bad);
  refuse_vm_start(bad);
  refuse_exec(bad);
  refuse_pty(bad);
  refuse_watch(bad);
  refuse_log_stream(bad);
  refuse_flow_stream(bad);
  refuse_event_stream(bad);
  refuse_keep_awake(bad);
  refuse_cancel(bad);
}
