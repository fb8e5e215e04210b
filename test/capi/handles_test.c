// Handles: what is none, was freed, or is of another kind is refused everywhere, and freeing is
// safe at any time.
#include <string.h>
#include <sys/resource.h>

#include "bad_handles.h"
#include "place.h"

static mvm_cancel* new_cancel(void) {
  mvm_error* err = NULL;
  mvm_cancel* cancel = NULL;
  return CHECK_OK(mvm_cancel_new(&cancel, &err)) ? cancel : NULL;
}

static void null_is_no_handle(void) {
  refuse_all_kinds(NULL);
  mvm_free(NULL);
  mvm_error_free(NULL);
}

static void any_bits_are_no_handle(void) {
  int local = 0;
  refuse_all_kinds(&local);
  refuse_all_kinds((void*)(uintptr_t)1);
  refuse_all_kinds((void*)UINTPTR_MAX);
  uint64_t bits = 88172645463325252u;  // xorshift
  for (int i = 0; i < 10000; ++i) {
    mvm_error* err = NULL;
    char* id = UNTOUCHED;
    bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
    REQUIRE(mvm_vm_id((mvm_vm*)(uintptr_t)bits, &id, &err) == MVM_INVALID_ARGUMENT);
    mvm_error_free(err);
    REQUIRE(id == UNTOUCHED);
    mvm_vm_free((mvm_vm*)(uintptr_t)bits);
  }
}

// Near what a real handle looks like: every bit of one turned over.
static void a_changed_handle_is_none(void) {
  mvm_cancel* const cancel = new_cancel();
  for (unsigned bit = 0; bit < 64; ++bit) {
    mvm_cancel* const other = (mvm_cancel*)((uintptr_t)cancel ^ ((uintptr_t)1 << bit));
    CHECK(mvm_cancel_fire(other) == MVM_INVALID_ARGUMENT);
    mvm_cancel_free(other);
  }
  CHECK(!mvm_cancel_fired(cancel));
  CHECK(mvm_cancel_fire(cancel) == MVM_OK);
  mvm_cancel_free(cancel);
}

static void a_freed_handle_is_none(void) {
  mvm_cancel* const cancel = new_cancel();
  mvm_cancel_free(cancel);
  refuse_all_kinds(cancel);
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_runtime_free(runtime);
  refuse_all_kinds(runtime);
}

static void a_freed_handle_is_none_of_those_that_come_after_it(void) {
  for (int i = 0; i < 1000; ++i) {
    mvm_cancel* const old = new_cancel();
    mvm_cancel_free(old);
    mvm_cancel* const fresh = new_cancel();
    REQUIRE(fresh != old);
    mvm_cancel_free(old);  // a second time
    REQUIRE(mvm_cancel_fire(old) == MVM_INVALID_ARGUMENT);
    REQUIRE(!mvm_cancel_fired(fresh));
    REQUIRE(mvm_cancel_fire(fresh) == MVM_OK);
    mvm_cancel_free(fresh);
  }
}

static void a_handle_of_another_kind_is_refused(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_cancel* const cancel = new_cancel();
  mvm_event_stream* events = NULL;
  mvm_vm_start* start = NULL;
  CHECK_OK(mvm_runtime_events(runtime, NULL, NULL, &events, &err));
  CHECK_OK(mvm_runtime_start(runtime, "no-such-image", NULL, &start, &err));

  void* const handles[] = {runtime, cancel, events, start};
  for (size_t i = 0; i < sizeof handles / sizeof handles[0]; ++i) {
    if (handles[i] != runtime) refuse_runtime(handles[i]);
    if (handles[i] != cancel) refuse_cancel(handles[i]);
    if (handles[i] != events) refuse_event_stream(handles[i]);
    if (handles[i] != start) refuse_vm_start(handles[i]);
    refuse_vm(handles[i]);
    refuse_exec(handles[i]);
    refuse_pty(handles[i]);
    refuse_watch(handles[i]);
    refuse_log_stream(handles[i]);
    refuse_flow_stream(handles[i]);
    refuse_keep_awake(handles[i]);
  }

  // All of them live, in spite of all these free().
  CHECK(mvm_cancel_fire(cancel) == MVM_OK);
  mvm_vm_event* event = UNTOUCHED;
  CHECK_OK(mvm_event_stream_next(events, NULL, &event, &err));
  CHECK(event == NULL);
  mvm_vm* vm = UNTOUCHED;
  CHECK_FAILS(mvm_vm_start_take(start, NULL, &vm, &err), MVM_NOT_FOUND);
  CHECK(vm == UNTOUCHED);
  char* path = NULL;
  REQUIRE_OK(mvm_runtime_data_dir(runtime, &path, &err));
  mvm_free(path);
  mvm_vm_start_free(start);
  mvm_event_stream_free(events);
  mvm_cancel_free(cancel);
  mvm_runtime_free(runtime);
}

static void limits_with_a_bad_cancel_are_refused(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_cancel* const freed = new_cancel();
  mvm_cancel_free(freed);
  mvm_image_list* images = UNTOUCHED;
  const mvm_limits limits[] = {{.struct_size = sizeof limits[0], .cancel = freed},
                               {.struct_size = sizeof limits[0], .cancel = (mvm_cancel*)runtime}};
  for (size_t i = 0; i < 2; ++i) {
    CHECK_INVALID(mvm_runtime_images(runtime, &limits[i], &images, &err));
  }
  CHECK(images == UNTOUCHED);
  mvm_runtime_free(runtime);
}

static void what_a_freed_runtime_gave_is_still_there(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_event_stream* events = NULL;
  REQUIRE_OK(mvm_runtime_events(runtime, NULL, NULL, &events, &err));
  mvm_runtime_free(runtime);
  mvm_vm_event* event = NULL;
  REQUIRE_OK(mvm_event_stream_next(events, NULL, &event, &err));
  mvm_free(event);
  mvm_event_stream_free(events);
}

// By the objects' fds, which go with them.
static void freed_handles_hold_nothing(void) {
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  int before = 0;
  for (int i = 0; i < 100; ++i) {
    if (i == 1) before = count_fds();  // the Runtime keeps something of the first one
    mvm_error* err = NULL;
    mvm_event_stream* events = NULL;
    const mvm_event_options options = {.struct_size = sizeof options, .follow = 1};
    mvm_cancel* const cancel = new_cancel();
    REQUIRE_OK(mvm_runtime_events(runtime, &options, NULL, &events, &err));
    mvm_event_stream_free(events);
    mvm_cancel_free(cancel);
  }
  CHECK(count_fds() == before);
  mvm_runtime_free(runtime);
}

static void a_process_without_fds_left_is_told_so(void) {
  struct rlimit usual;
  REQUIRE(getrlimit(RLIMIT_NOFILE, &usual) == 0);
  const struct rlimit none = {.rlim_cur = 3, .rlim_max = usual.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  mvm_error* err = NULL;
  mvm_cancel* cancel = UNTOUCHED;
  const mvm_status status = mvm_cancel_new(&cancel, &err);
  REQUIRE(setrlimit(RLIMIT_NOFILE, &usual) == 0);
  if (status == MVM_OK) {  // an eventfd is made later, or the limit came too late
    CHECK_OK(status);
    mvm_cancel_free(cancel);
    return;
  }
  CHECK_FAILS(status, MVM_IO);
  CHECK(cancel == UNTOUCHED);
}

TEST_FILE(handles_test, {"handles: NULL is none", null_is_no_handle},
          {"handles: any bits are none", any_bits_are_no_handle},
          {"handles: one with a bit changed is none", a_changed_handle_is_none},
          {"handles: a freed one is none", a_freed_handle_is_none},
          {"handles: a freed one is none of those after it",
           a_freed_handle_is_none_of_those_that_come_after_it},
          {"handles: one of another kind is refused", a_handle_of_another_kind_is_refused},
          {"handles: limits with a bad cancel are refused", limits_with_a_bad_cancel_are_refused},
          {"handles: what a freed Runtime gave is still there",
           what_a_freed_runtime_gave_is_still_there},
          {"handles: freed ones hold nothing", freed_handles_hold_nothing},
          {"handles: a process without fds left is told so",
           a_process_without_fds_left_is_told_so}, );
