// Streams without a guest: what is read when nothing is there, who waits, who gives up.
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "place.h"

static mvm_event_stream* follow_events(mvm_runtime* runtime) {
  mvm_error* err = NULL;
  mvm_event_stream* events = NULL;
  const mvm_event_options options = {.struct_size = sizeof options, .follow = 1};
  return CHECK_OK(mvm_runtime_events(runtime, &options, NULL, &events, &err)) ? events : NULL;
}

static void nothing_there_would_block(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_event_stream* const events = follow_events(runtime);
  REQUIRE(events != NULL);
  mvm_vm_event* event = UNTOUCHED;
  CHECK_FAILS(mvm_event_stream_try_next(events, &event, &err), MVM_WOULD_BLOCK);
  int32_t fd = -1;
  REQUIRE_OK(mvm_event_stream_fd(events, &fd, &err));
  // It may be readable without cause, but not for ever.
  for (int i = 0; i < 100 && readable(fd, 0); ++i) {
    CHECK_FAILS(mvm_event_stream_try_next(events, &event, &err), MVM_WOULD_BLOCK);
  }
  CHECK(!readable(fd, 100));
  const mvm_limits limits = {.struct_size = sizeof limits, .timeout_ms = 50};
  CHECK_FAILS(mvm_event_stream_next(events, &limits, &event, &err), MVM_DEADLINE_EXCEEDED);
  CHECK(event == UNTOUCHED);
  mvm_event_stream_free(events);
  mvm_runtime_free(runtime);
}

static void what_is_told_without_following_ends(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_event_stream* events = NULL;
  REQUIRE_OK(mvm_runtime_events(runtime, NULL, NULL, &events, &err));
  for (int i = 0; i < 2; ++i) {
    mvm_vm_event* event = UNTOUCHED;
    CHECK_OK(mvm_event_stream_next(events, NULL, &event, &err));
    CHECK(event == NULL);
    event = UNTOUCHED;
    CHECK_OK(mvm_event_stream_try_next(events, &event, &err));
    CHECK(event == NULL);
  }
  mvm_event_stream_free(events);
  mvm_runtime_free(runtime);
}

typedef struct {
  mvm_event_stream* events;
  mvm_cancel* cancel;
  mvm_status status;
} reader;

static void* read_events(void* argument) {
  reader* const self = argument;
  mvm_vm_event* event = NULL;
  const mvm_limits limits = {.struct_size = sizeof limits, .cancel = self->cancel};
  self->status = mvm_event_stream_next(self->events, &limits, &event, NULL);
  return NULL;
}

static bool is_taken(void* events) {
  mvm_vm_event* event = NULL;
  return mvm_event_stream_try_next(events, &event, NULL) == MVM_BUSY;
}

static bool is_gone(void* events) {
  int32_t fd = -1;
  return mvm_event_stream_fd(events, &fd, NULL) == MVM_INVALID_ARGUMENT;
}

// A second one is refused, and free() takes nothing away from who is in a call.
static void one_thread_reads(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_event_stream_free(follow_events(runtime));  // what the Runtime keeps of the first one
  const int fds = count_fds();
  reader self = {.events = follow_events(runtime)};
  REQUIRE(self.events != NULL);
  REQUIRE_OK(mvm_cancel_new(&self.cancel, &err));
  pthread_t thread;
  REQUIRE(pthread_create(&thread, NULL, read_events, &self) == 0);
  CHECK(eventually(is_taken, self.events));
  mvm_vm_event* event = UNTOUCHED;
  CHECK_FAILS(mvm_event_stream_next(self.events, NULL, &event, &err), MVM_BUSY);
  CHECK(event == UNTOUCHED);
  mvm_event_stream_free(self.events);
  CHECK(is_gone(self.events));
  CHECK(mvm_cancel_fire(self.cancel) == MVM_OK);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(self.status == MVM_CANCELLED);
  mvm_cancel_free(self.cancel);
  CHECK(count_fds() == fds);
  mvm_runtime_free(runtime);
}

static void a_start_tells_its_failure_as_often_as_asked(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_vm_start* start = NULL;
  REQUIRE_OK(mvm_runtime_start(runtime, "no-such-image", NULL, &start, &err));
  int32_t fd = -1;
  CHECK_OK(mvm_vm_start_fd(start, &fd, &err));
  CHECK(readable(fd, 20000));
  mvm_vm* vm = UNTOUCHED;
  CHECK_REFUSED(mvm_vm_start_try_take(start, &vm, &err), MVM_NOT_FOUND, "no-such-image");
  CHECK_FAILS(mvm_vm_start_take(start, NULL, &vm, &err), MVM_NOT_FOUND);
  CHECK_FAILS(mvm_vm_start_try_take(start, &vm, &err), MVM_NOT_FOUND);
  CHECK(vm == UNTOUCHED);
  CHECK_OK(mvm_vm_start_cancel(start, &err));
  mvm_vm_start_free(start);
  mvm_runtime_free(runtime);
}

static void a_start_of_a_checkpoint_too(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_vm_start* start = NULL;
  REQUIRE_OK(mvm_runtime_start_checkpoint(runtime, "none", NULL, &start, &err));
  mvm_vm* vm = UNTOUCHED;
  CHECK_FAILS(mvm_vm_start_take(start, NULL, &vm, &err), MVM_NOT_FOUND);
  mvm_vm_start_free(start);
  // Dropped at once, in any order.
  for (int i = 0; i < 50; ++i) {
    REQUIRE_OK(mvm_runtime_start(runtime, "no-such-image", NULL, &start, &err));
    if (i % 2 == 0) CHECK_OK(mvm_vm_start_cancel(start, &err));
    mvm_vm_start_free(start);
  }
  mvm_runtime_free(runtime);
}

TEST_FILE(streams_test, {"streams: nothing there would block", nothing_there_would_block},
          {"streams: what is told without following ends", what_is_told_without_following_ends},
          {"streams: one thread reads", one_thread_reads},
          {"streams: a start tells its failure as often as asked",
           a_start_tells_its_failure_as_often_as_asked},
          {"streams: a start of a checkpoint too", a_start_of_a_checkpoint_too}, );
