// Cancelling: from other threads and from signal handlers, at any moment. And what the library does
// to signals: nothing.
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "place.h"

static mvm_cancel* volatile to_fire;  // by the handler

static void fire(int signal_number) {
  (void)signal_number;
  mvm_cancel_fire(to_fire);
  mvm_cancel_fired(to_fire);
}

static void handle_with_fire(int signal_number) {
  struct sigaction action = {.sa_handler = fire};
  sigaction(signal_number, &action, NULL);
}

static void fired_once_is_fired_for_ever(void) {
  mvm_error* err = NULL;
  mvm_cancel* cancel = NULL;
  REQUIRE_OK(mvm_cancel_new(&cancel, &err));
  int32_t fd = -1;
  REQUIRE_OK(mvm_cancel_fd(cancel, &fd, &err));
  CHECK(!mvm_cancel_fired(cancel));
  CHECK(!readable(fd, 0));
  for (int i = 0; i < 3; ++i) CHECK(mvm_cancel_fire(cancel) == MVM_OK);
  CHECK(mvm_cancel_fired(cancel) == 1);
  CHECK(readable(fd, 0));
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  const mvm_limits limits = {.struct_size = sizeof limits, .cancel = cancel};
  const mvm_event_options follow = {.struct_size = sizeof follow, .follow = 1};
  mvm_event_stream* events = NULL;
  REQUIRE_OK(mvm_runtime_events(runtime, &follow, NULL, &events, &err));
  mvm_vm_event* event = UNTOUCHED;
  mvm_base_info* base = UNTOUCHED;
  for (int i = 0; i < 3; ++i) {
    CHECK_FAILS(mvm_event_stream_next(events, &limits, &event, &err), MVM_CANCELLED);
    CHECK_FAILS(
        mvm_runtime_import_base(runtime, "cut", make_root_tar(), NULL, &limits, &base, &err),
        MVM_CANCELLED);
  }
  CHECK(event == UNTOUCHED && base == UNTOUCHED);
  mvm_event_stream_free(events);
  mvm_cancel_free(cancel);
  mvm_runtime_free(runtime);
}

static void* signal_soon(void* target) {
  const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
  nanosleep(&pause, NULL);
  pthread_kill(*(pthread_t*)target, SIGUSR1);
  return NULL;
}

static void a_signal_handler_ends_the_call_that_it_interrupts(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_cancel* cancel = NULL;
  REQUIRE_OK(mvm_cancel_new(&cancel, &err));
  to_fire = cancel;
  handle_with_fire(SIGUSR1);
  mvm_event_stream* events = NULL;
  const mvm_event_options follow = {.struct_size = sizeof follow, .follow = 1};
  REQUIRE_OK(mvm_runtime_events(runtime, &follow, NULL, &events, &err));
  pthread_t self = pthread_self();
  pthread_t sender;
  REQUIRE(pthread_create(&sender, NULL, signal_soon, &self) == 0);
  mvm_vm_event* event = UNTOUCHED;
  const mvm_limits limits = {.struct_size = sizeof limits, .cancel = cancel};
  CHECK_FAILS(mvm_event_stream_next(events, &limits, &event, &err), MVM_CANCELLED);
  CHECK(event == UNTOUCHED);
  pthread_join(sender, NULL);
  signal(SIGUSR1, SIG_DFL);
  mvm_event_stream_free(events);
  mvm_cancel_free(cancel);
  mvm_runtime_free(runtime);
}

static bool start_timer(timer_t* timer, long interval_ns) {
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
  const struct itimerspec often = {.it_interval = {.tv_nsec = interval_ns},
                                   .it_value = {.tv_nsec = interval_ns}};
  return timer_create(CLOCK_MONOTONIC, &event, timer) == 0 &&
         timer_settime(*timer, 0, &often, NULL) == 0;
}

// The handler runs in the middle of everything that makes, looks up and frees handles, also of the
// token that it fires.
static void a_signal_handler_may_come_at_any_moment(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  const int rounds = under_valgrind() ? 200 : 20000;
  mvm_cancel* cancel = NULL;
  REQUIRE_OK(mvm_cancel_new(&cancel, &err));
  to_fire = cancel;
  handle_with_fire(SIGUSR2);
  timer_t timer;
  REQUIRE(start_timer(&timer, 50 * 1000));
  for (int i = 0; i < rounds; ++i) {
    mvm_cancel* next = NULL;
    char* path = NULL;
    if (!CHECK_OK(mvm_cancel_new(&next, &err))) break;
    if (!CHECK_OK(mvm_runtime_data_dir(runtime, &path, &err))) break;
    mvm_free(path);
    mvm_cancel_free(cancel);  // what the handler goes on firing is stale then
    to_fire = cancel = next;
  }
  timer_delete(timer);
  signal(SIGUSR2, SIG_DFL);
  mvm_cancel_free(cancel);
  mvm_runtime_free(runtime);
}

static void* wait_for_event(void* limits) {
  mvm_runtime* const runtime = open_test_runtime();
  const mvm_event_options follow = {.struct_size = sizeof follow, .follow = 1};
  mvm_event_stream* events = NULL;
  mvm_vm_event* event = NULL;
  if (mvm_runtime_events(runtime, &follow, NULL, &events, NULL) != MVM_OK) return NULL;
  const mvm_status status = mvm_event_stream_next(events, limits, &event, NULL);
  mvm_event_stream_free(events);
  mvm_runtime_free(runtime);
  return status == MVM_CANCELLED ? limits : NULL;
}

static void one_token_ends_many_calls(void) {
  enum { kThreads = 16 };
  mvm_error* err = NULL;
  mvm_cancel* cancel = NULL;
  REQUIRE_OK(mvm_cancel_new(&cancel, &err));
  mvm_limits limits = {.struct_size = sizeof limits, .cancel = cancel};
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i)
    REQUIRE(pthread_create(&threads[i], NULL, wait_for_event, &limits) == 0);
  usleep(100 * 1000);
  CHECK(mvm_cancel_fire(cancel) == MVM_OK);
  for (int i = 0; i < kThreads; ++i) {
    void* result = NULL;
    CHECK(pthread_join(threads[i], &result) == 0);
    CHECK(result == &limits);
  }
  mvm_cancel_free(cancel);
}

static void* free_soon(void* cancel) {
  usleep(100 * 1000);
  mvm_cancel_free(cancel);
  return NULL;
}

static void a_token_freed_under_a_call_ends_nothing(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_cancel* cancel = NULL;
  REQUIRE_OK(mvm_cancel_new(&cancel, &err));
  const mvm_event_options follow = {.struct_size = sizeof follow, .follow = 1};
  mvm_event_stream* events = NULL;
  REQUIRE_OK(mvm_runtime_events(runtime, &follow, NULL, &events, &err));
  pthread_t freeing;
  REQUIRE(pthread_create(&freeing, NULL, free_soon, cancel) == 0);
  mvm_vm_event* event = UNTOUCHED;
  const mvm_limits limits = {.struct_size = sizeof limits, .cancel = cancel, .timeout_ms = 500};
  CHECK_FAILS(mvm_event_stream_next(events, &limits, &event, &err), MVM_DEADLINE_EXCEEDED);
  pthread_join(freeing, NULL);
  mvm_event_stream_free(events);
  mvm_runtime_free(runtime);
}

static void dispositions_and_masks_are_as_they_were(void) {
  struct sigaction before[65];
  sigset_t mask_before;
  sigset_t mask_after;
  for (int i = 1; i < 65; ++i) sigaction(i, NULL, &before[i]);
  pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_finding_list* findings = NULL;
  mvm_image_list* images = NULL;
  REQUIRE_OK(mvm_probe_host(NULL, NULL, &findings, &err));
  REQUIRE_OK(mvm_runtime_images(runtime, NULL, &images, &err));
  mvm_free(findings);
  mvm_free(images);
  mvm_runtime_free(runtime);
  for (int i = 1; i < 65; ++i) {
    struct sigaction after;
    if (sigaction(i, NULL, &after) == 0) CHECK(after.sa_handler == before[i].sa_handler);
  }
  pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
  for (int i = 1; i < 65; ++i) CHECK(sigismember(&mask_before, i) == sigismember(&mask_after, i));
}

TEST_FILE(
    cancel_test, {"cancel: fired once is fired for ever", fired_once_is_fired_for_ever},
    {"cancel: a signal handler ends the call that it interrupts",
     a_signal_handler_ends_the_call_that_it_interrupts},
    {"cancel: a signal handler may come at any moment", a_signal_handler_may_come_at_any_moment},
    {"cancel: one token ends many calls", one_token_ends_many_calls},
    {"cancel: a token freed under a call ends nothing", a_token_freed_under_a_call_ends_nothing},
    {"cancel: dispositions and masks are as they were", dispositions_and_masks_are_as_they_were}, );
