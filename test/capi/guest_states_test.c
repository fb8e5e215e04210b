// States of a Vm from C: asleep and awake, forked, kept and taken back to, what is told of it, what
// is freed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bad_handles.h"
#include "guest.h"

static void a_vm_sleeps_and_wakes(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = run_counter(NULL);
  REQUIRE(vm != NULL);
  const int suspended = events_told(MVM_VM_EVENT_SUSPENDED);
  free(shell(vm, "echo mark >/dev/shm/mark"));
  const char* const argv[] = {"sleep", "1000"};
  const mvm_exec_options sleeping = {.struct_size = sizeof sleeping, .argv = argv, .argv_count = 2};
  mvm_exec* exec = NULL;
  CHECK_OK(mvm_vm_exec(vm, &sleeping, NULL, &exec, &err));
  mvm_suspend_times* times = NULL;
  REQUIRE_OK(mvm_vm_suspend(vm, NULL, NULL, &times, &err));
  CHECK(times->durable_us >= times->acknowledged_us && times->stored_bytes > 0);
  mvm_free(times);
  CHECK(state_of(vm) == MVM_VM_STATE_SUSPENDED);
  CHECK(events_told(MVM_VM_EVENT_SUSPENDED) == suspended + 1);
  mvm_exec_output* output = UNTOUCHED;
  CHECK_FAILS(mvm_exec_read(exec, NULL, &output, &err), MVM_VM_SUSPENDED);
  CHECK(output == UNTOUCHED);
  mvm_exec_free(exec);
  const mvm_idle_policy by_hand = {.struct_size = sizeof by_hand, .no_auto_resume = 1};
  const mvm_resume_options resume = {.struct_size = sizeof resume, .idle = &by_hand};
  REQUIRE_OK(mvm_vm_resume(vm, &resume, NULL, &err));
  CHECK(shell_says(vm, "cat /dev/shm/mark", "mark\n"));
  const mvm_suspend_options at_once = {.struct_size = sizeof at_once, .no_wait_durable = 1};
  CHECK_OK(mvm_vm_suspend(vm, &at_once, NULL, NULL, &err));
  mvm_exec_result* result = UNTOUCHED;
  CHECK_FAILS(mvm_vm_exec_collect(vm, &sleeping, NULL, NULL, &result, &err),
              MVM_BUSY);  // by its new policy
  CHECK(result == UNTOUCHED);
  CHECK_OK(mvm_vm_resume(vm, NULL, NULL, &err));
  CHECK(shell_says(vm, "cat /dev/shm/mark", "mark\n"));
  end_vm(vm);
}

static void a_vm_is_forked(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = run_counter(NULL);
  REQUIRE(vm != NULL);
  free(shell(vm, "echo forked >/dev/shm/mark"));
  mvm_fork_list* forks = UNTOUCHED;
  mvm_fork_options options = {.struct_size = sizeof options, .count = 1001};
  CHECK_FAILS(mvm_vm_fork(vm, &options, NULL, &forks, &err), MVM_INVALID_ARGUMENT);
  CHECK(forks == UNTOUCHED);
  options.count = 2;
  options.name = "c-fork";
  REQUIRE_OK(mvm_vm_fork(vm, &options, NULL, &forks, &err));
  REQUIRE(forks->count == 2);
  mvm_vm* found = NULL;
  CHECK_OK(mvm_runtime_attach(guest_runtime(), "c-fork-2", NULL, &found, &err));
  mvm_vm_free(found);
  for (size_t i = 0; i < forks->count; ++i)
    CHECK(shell_says(forks->items[i], "cat /dev/shm/mark", "forked\n"));
  mvm_vm* const first = forks->items[0];
  for (size_t i = 0; i < forks->count; ++i) end_vm(forks->items[i]);
  mvm_free(forks);
  refuse_vm(first);
  CHECK(shell_says(vm, "cat /dev/shm/mark", "forked\n"));
  end_vm(vm);
}

static void a_checkpoint_is_taken_back_to_run_and_committed(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = run_counter(NULL);
  REQUIRE(vm != NULL);
  free(shell(vm, "echo before >/root/mark"));
  mvm_checkpoint_info* info = NULL;
  const mvm_checkpoint_options options = {.struct_size = sizeof options, .name = "c-kept"};
  REQUIRE_OK(mvm_vm_checkpoint(vm, &options, NULL, &info, &err));
  CHECK(strcmp(info->name, "c-kept") == 0 && strcmp(info->image, "counter:1") == 0 &&
        info->stored_bytes > 0);
  CHECK_FAILS(mvm_vm_checkpoint(vm, &options, NULL, NULL, &err), MVM_ALREADY_EXISTS);
  free(shell(vm, "echo after >/root/mark"));
  CHECK_OK(mvm_vm_rollback(vm, "c-kept", NULL, &err));
  CHECK(shell_says(vm, "cat /root/mark", "before\n"));
  CHECK_FAILS(mvm_vm_rollback(vm, "none", NULL, &err), MVM_NOT_FOUND);
  mvm_checkpoint_list* checkpoints = NULL;
  REQUIRE_OK(mvm_runtime_checkpoints(guest_runtime(), NULL, &checkpoints, &err));
  CHECK(checkpoints->count == 1 && strcmp(checkpoints->items[0]->id, info->id) == 0);
  mvm_free(checkpoints);
  mvm_free(info);

  mvm_vm* clone = NULL;
  REQUIRE_OK(mvm_runtime_run_checkpoint(guest_runtime(), "c-kept", NULL, NULL, &clone, &err));
  CHECK(shell_says(clone, "cat /root/mark", "before\n"));
  end_vm(clone);
  mvm_vm_start* start = NULL;
  REQUIRE_OK(mvm_runtime_start_checkpoint(guest_runtime(), "c-kept", NULL, &start, &err));
  REQUIRE_OK(mvm_vm_start_take(start, NULL, &clone, &err));
  mvm_vm_start_free(start);
  CHECK(shell_says(clone, "cat /root/mark", "before\n"));
  end_vm(clone);
  mvm_image_info* image = NULL;
  REQUIRE_OK(mvm_runtime_commit(guest_runtime(), "c-kept", "c-committed", NULL, &image, &err));
  CHECK(strcmp(image->name, "c-committed") == 0 && strcmp(image->version, "1") == 0);
  mvm_free(image);
  end_vm(vm);
  CHECK_OK(mvm_runtime_remove_checkpoint(guest_runtime(), "c-kept", NULL, &err));
  CHECK_OK(mvm_runtime_remove_image(guest_runtime(), "c-committed", NULL, &err));
}

static bool is_asleep(void* vm) {
  return state_of(vm) == MVM_VM_STATE_SUSPENDED;
}

static void an_idle_vm_falls_asleep_unless_it_is_kept_awake(void) {
  mvm_error* err = NULL;
  // An emulated guest is slow at doing nothing, too.
  const mvm_idle_policy idle = {
      .struct_size = sizeof idle, .idle_after_ms = 3000, .cpu_threshold = 0.4};
  const mvm_run_options options = {.struct_size = sizeof options, .idle = &idle};
  mvm_vm* const vm = run_counter(&options);
  REQUIRE(vm != NULL);
  mvm_keep_awake* awake = NULL;
  REQUIRE_OK(mvm_vm_keep_awake(vm, &awake, &err));
  sleep(8);
  CHECK(state_of(vm) == MVM_VM_STATE_RUNNING);
  mvm_keep_awake_free(awake);
  refuse_keep_awake(awake);
  for (int i = 0; i < 3 && !is_asleep(vm); ++i) eventually(is_asleep, vm);
  CHECK(is_asleep(vm));
  CHECK(shell_says(vm, "echo awake", "awake\n"));
  end_vm(vm);
}

static void ports_are_connected_to(void) {
  mvm_error* err = NULL;
  REQUIRE(shared_vm() != NULL);
  CHECK_HAS(http_get(shared_vm()), "\"in_memory\"");
  int32_t socket = -1;
  CHECK_FAILS(mvm_vm_connect(shared_vm(), 9, NULL, &socket, &err), MVM_CONNECTION_REFUSED);
  CHECK_INVALID(mvm_vm_connect(shared_vm(), 65536, NULL, &socket, &err));
  CHECK_FAILS(mvm_vm_connect(shared_vm(), 0, NULL, &socket, &err), MVM_INVALID_ARGUMENT);
  CHECK(socket == -1);
  CHECK_INVALID(mvm_vm_connect(shared_vm(), 80, NULL, NULL, &err));
}

static bool has_printed(void* vm) {
  mvm_bytes* log = NULL;
  if (mvm_vm_logs(vm, MVM_LOG_APP, NULL, &log, NULL) != MVM_OK) return false;
  const bool found = strstr((const char*)log->data, "GET /") != NULL;
  mvm_free(log);
  return found;
}

static void logs_are_read_and_followed_to_the_end(void) {
  mvm_error* err = NULL;
  mvm_vm* const vm = run_counter(NULL);
  REQUIRE(vm != NULL);
  mvm_log_stream* stream = NULL;
  mvm_bytes* piece = UNTOUCHED;
  CHECK_INVALID(mvm_vm_logs(vm, 99, NULL, &piece, &err));  // no such value
  CHECK_INVALID(mvm_vm_follow_logs(vm, -1, NULL, &stream, &err));
  REQUIRE_OK(mvm_vm_follow_logs(vm, MVM_LOG_APP, NULL, &stream, &err));
  CHECK(http_get(vm) != NULL);
  CHECK(eventually(has_printed, vm));
  int32_t fd = -1;
  CHECK_OK(mvm_log_stream_fd(stream, &fd, &err));
  CHECK(readable(fd, 20000));
  char seen[4096] = "";
  while (strstr(seen, "GET /") == NULL) {
    const mvm_limits limits = {.struct_size = sizeof limits, .timeout_ms = 20000};
    REQUIRE_OK(mvm_log_stream_read(stream, &limits, &piece, &err));
    REQUIRE(piece != NULL);
    strncat(seen, (const char*)piece->data, sizeof seen - strlen(seen) - 1);
    mvm_free(piece);
  }
  piece = UNTOUCHED;
  CHECK_FAILS(mvm_log_stream_try_read(stream, &piece, &err), MVM_WOULD_BLOCK);
  CHECK(piece == UNTOUCHED);
  end_vm(vm);
  while (CHECK_OK(mvm_log_stream_read(stream, NULL, &piece, &err)) && piece != NULL)
    mvm_free(piece);
  CHECK(piece == NULL);
  mvm_log_stream_free(stream);
  refuse_log_stream(stream);
}

static void events_are_told_as_they_happen(void) {
  mvm_error* err = NULL;
  REQUIRE(guest_runtime() != NULL);
  const mvm_event_options follow = {.struct_size = sizeof follow, .follow = 1};
  mvm_event_stream* events = NULL;
  REQUIRE_OK(mvm_runtime_events(guest_runtime(), &follow, NULL, &events, &err));
  mvm_vm_event* event = NULL;
  while (mvm_event_stream_try_next(events, &event, NULL) == MVM_OK) mvm_free(event);
  const int started = events_told(MVM_VM_EVENT_STARTED);
  mvm_vm* const vm = run_counter(NULL);
  REQUIRE(vm != NULL);
  CHECK(events_told(MVM_VM_EVENT_STARTED) == started + 1);
  int32_t fd = -1;
  CHECK_OK(mvm_event_stream_fd(events, &fd, &err));
  CHECK(readable(fd, 20000));
  REQUIRE_OK(mvm_event_stream_next(events, NULL, &event, &err));
  char* id = NULL;
  CHECK_OK(mvm_vm_id(vm, &id, &err));
  CHECK(event->kind == MVM_VM_EVENT_STARTED && strcmp(event->vm_id, id) == 0 && event->took_us > 0);
  CHECK(strcmp(event->cause, MVM_CAUSE_CALL) == 0);
  mvm_free(event);
  end_vm(vm);
  REQUIRE_OK(mvm_event_stream_next(events, NULL, &event, &err));
  CHECK(event->kind == MVM_VM_EVENT_TERMINATED && event->end == MVM_VM_END_TERMINATED);
  mvm_free(event);
  mvm_free(id);
  mvm_event_stream_free(events);
}

static void what_nobody_needs_is_pruned(void) {
  mvm_error* err = NULL;
  const mvm_run_options options = {.struct_size = sizeof options, .outlives_owner = 1};
  mvm_vm* const vm = run_counter(&options);
  REQUIRE(vm != NULL);
  CHECK_OK(mvm_vm_terminate(vm, NULL, &err));
  char* id = NULL;
  CHECK_OK(mvm_vm_id(vm, &id, &err));
  const mvm_prune_options look = {.struct_size = sizeof look, .dry_run = 1};
  for (int i = 0; i < 2; ++i) {
    mvm_prune_report* report = NULL;
    REQUIRE_OK(mvm_runtime_prune(guest_runtime(), i == 0 ? &look : NULL, NULL, &report, &err));
    bool found = false;
    for (size_t item = 0; item < report->count; ++item) {
      found |=
          report->items[item]->kind == MVM_PRUNED_VM && strcmp(report->items[item]->name, id) == 0;
    }
    CHECK(found);
    mvm_free(report);
  }
  mvm_vm* gone = UNTOUCHED;
  CHECK_FAILS(mvm_runtime_attach(guest_runtime(), id, NULL, &gone, &err), MVM_NOT_FOUND);
  CHECK(gone == UNTOUCHED);
  mvm_free(id);
  mvm_vm_free(vm);
}

TEST_FILE(guest_states_test, {"states: a Vm sleeps and wakes", a_vm_sleeps_and_wakes},
          {"states: a Vm is forked", a_vm_is_forked},
          {"states: a checkpoint is taken back to, run and committed",
           a_checkpoint_is_taken_back_to_run_and_committed},
          {"states: an idle Vm falls asleep unless it is kept awake",
           an_idle_vm_falls_asleep_unless_it_is_kept_awake},
          {"states: ports are connected to", ports_are_connected_to},
          {"states: logs are read and followed to the end", logs_are_read_and_followed_to_the_end},
          {"states: events are told as they happen", events_are_told_as_they_happen},
          {"states: what nobody needs is pruned", what_nobody_needs_is_pruned}, );
