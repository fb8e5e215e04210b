// 64 threads that share handles and free them under each other.
#include <pthread.h>
#include <stdatomic.h>

#include "place.h"

enum { kThreads = 64, kShared = 16 };

static _Atomic(mvm_cancel*) shared[kShared];
static _Atomic(mvm_event_stream*) shared_streams[kShared];
static mvm_runtime* shared_runtime;
static atomic_uint wrong;  // answers that nobody may get

static unsigned rounds(unsigned usual) {
  return under_valgrind() ? usual / 50 + 1 : usual;
}

static void count_unless(bool right) {
  if (!right) atomic_fetch_add(&wrong, 1);
}

static bool ok_or_stale(mvm_status status) {
  return status == MVM_OK || status == MVM_INVALID_ARGUMENT;
}

// Puts a new token into a slot and frees the one that was there, which others may be using, or free
// too.
static void replace_token(unsigned slot, bool twice) {
  mvm_cancel* fresh = NULL;
  count_unless(mvm_cancel_new(&fresh, NULL) == MVM_OK);
  mvm_cancel* const old = atomic_exchange(&shared[slot], fresh);
  mvm_cancel_free(old);
  if (twice) mvm_cancel_free(old);
}

static void use_token(unsigned slot) {
  mvm_cancel* const cancel = atomic_load(&shared[slot]);
  const mvm_limits limits = {.struct_size = sizeof limits, .cancel = cancel};
  mvm_image_list* images = NULL;
  int32_t fd = -1;
  const mvm_status listed = mvm_runtime_images(shared_runtime, &limits, &images, NULL);
  count_unless(cancel == NULL || ok_or_stale(listed) || listed == MVM_CANCELLED);
  mvm_free(images);
  count_unless(ok_or_stale(mvm_cancel_fd(cancel, &fd, NULL)));
  count_unless(ok_or_stale(mvm_cancel_fire(cancel)));
}

static void use_stream(unsigned slot, bool fresh) {
  const mvm_event_options follow = {.struct_size = sizeof follow, .follow = 1};
  mvm_event_stream* made = NULL;
  if (fresh) {
    count_unless(mvm_runtime_events(shared_runtime, &follow, NULL, &made, NULL) == MVM_OK);
    mvm_event_stream_free(atomic_exchange(&shared_streams[slot], made));
    return;
  }
  mvm_event_stream* const stream = atomic_load(&shared_streams[slot]);
  const mvm_limits limits = {.struct_size = sizeof limits, .timeout_ms = 1};
  mvm_vm_event* event = NULL;
  const mvm_status tried = mvm_event_stream_try_next(stream, &event, NULL);
  count_unless(tried == MVM_WOULD_BLOCK || tried == MVM_BUSY || tried == MVM_INVALID_ARGUMENT);
  const mvm_status waited = mvm_event_stream_next(stream, &limits, &event, NULL);
  count_unless(waited == MVM_DEADLINE_EXCEEDED || waited == MVM_BUSY ||
               waited == MVM_INVALID_ARGUMENT);
}

static void* make_use_and_free(void* argument) {
  unsigned random = (unsigned)(uintptr_t)argument * 2654435761u + 1;
  for (unsigned i = 0; i < rounds(1000); ++i) {
    random = random * 1664525u + 1013904223u;
    const unsigned slot = random >> 28;
    switch ((random >> 16) % 8) {
      case 0:
        replace_token(slot, false);
        break;
      case 1:
        replace_token(slot, true);
        break;
      case 2:
        use_stream(slot, true);
        break;
      case 3:
        use_stream(slot, false);
        break;
      default:
        use_token(slot);
    }
  }
  return NULL;
}

static bool run_threads(void* (*work)(void*)) {
  pthread_t threads[kThreads];
  for (uintptr_t i = 0; i < kThreads; ++i) {
    if (pthread_create(&threads[i], NULL, work, (void*)i) != 0) return false;
  }
  for (int i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
  return true;
}

static void threads_share_and_free_handles(void) {
  const int fds_before = count_fds();
  atomic_store(&wrong, 0);
  shared_runtime = open_test_runtime();
  REQUIRE(shared_runtime != NULL);
  REQUIRE(run_threads(make_use_and_free));
  CHECK(atomic_load(&wrong) == 0);
  for (int i = 0; i < kShared; ++i) {
    mvm_cancel_free(atomic_exchange(&shared[i], NULL));
    mvm_event_stream_free(atomic_exchange(&shared_streams[i], NULL));
  }
  mvm_runtime_free(shared_runtime);
  CHECK(count_fds() == fds_before);
}

static mvm_runtime* to_free;

static void* use_then_free(void* argument) {
  (void)argument;
  for (unsigned i = 0; i < 20; ++i) {
    mvm_kernel_list* kernels = NULL;
    count_unless(ok_or_stale(mvm_runtime_kernels(to_free, NULL, &kernels, NULL)));
    mvm_free(kernels);
  }
  mvm_runtime_free(to_free);
  return NULL;
}

static void threads_free_one_runtime(void) {
  const int fds_before = count_fds();
  const int threads_before = count_threads();
  atomic_store(&wrong, 0);
  for (unsigned i = 0; i < rounds(20); ++i) {
    to_free = open_test_runtime();
    REQUIRE(to_free != NULL);
    REQUIRE(run_threads(use_then_free));
  }
  CHECK(atomic_load(&wrong) == 0);
  CHECK(count_fds() == fds_before);
  CHECK(count_threads() == threads_before);
}

static void* open_and_free(void* argument) {
  (void)argument;
  const mvm_runtime_options options = {.struct_size = sizeof options, .data_dir = test_dir()};
  for (unsigned i = 0; i < rounds(50); ++i) {
    mvm_runtime* runtime = NULL;
    count_unless(mvm_runtime_open(&options, NULL, &runtime, NULL) == MVM_OK);
    mvm_runtime_free(runtime);
  }
  return NULL;
}

static void threads_open_one_directory(void) {
  const int fds_before = count_fds();
  atomic_store(&wrong, 0);
  REQUIRE(run_threads(open_and_free));
  CHECK(atomic_load(&wrong) == 0);
  CHECK(count_fds() == fds_before);
}

TEST_FILE(threads_test, {"threads: 64 share and free handles", threads_share_and_free_handles},
          {"threads: 64 free one Runtime", threads_free_one_runtime},
          {"threads: 64 open one directory", threads_open_one_directory}, );
