// Callbacks without a guest: progress, what they may do, when the last one has come.
#include <stdatomic.h>
#include <string.h>

#include "place.h"

typedef struct {
  mvm_runtime* runtime;
  mvm_cancel* cancel;  // to fire at the first call
  int calls;
  int wrong;
  uint64_t done;
  uint64_t total;
} seen;

static void see_progress(void* user, const mvm_progress* progress) {
  seen* const self = user;
  ++self->calls;
  self->wrong += progress->struct_size < sizeof *progress || progress->step == NULL;
  self->wrong += progress->done < self->done || progress->done > progress->total;
  self->done = progress->done;
  self->total = progress->total;
  // The library may be used from here.
  mvm_base_list* bases = NULL;
  self->wrong += mvm_runtime_bases(self->runtime, NULL, &bases, NULL) != MVM_OK;
  mvm_free(bases);
  if (self->cancel != NULL) mvm_cancel_fire(self->cancel);
}

static mvm_import_base_options seeing(seen* self) {
  return (mvm_import_base_options){.struct_size = sizeof(mvm_import_base_options),
                                   .disk_bytes = 64u << 20,
                                   .progress = see_progress,
                                   .progress_user = self};
}

static void progress_is_told_in_order(void) {
  mvm_error* err = NULL;
  seen self = {.runtime = open_test_runtime()};
  REQUIRE(self.runtime != NULL);
  const char* const tar = make_root_tar();
  REQUIRE(tar != NULL);
  const mvm_import_base_options options = seeing(&self);
  mvm_base_info* base = NULL;
  REQUIRE_OK(mvm_runtime_import_base(self.runtime, "seen", tar, &options, NULL, &base, &err));
  CHECK(self.calls > 0);
  CHECK(self.wrong == 0);
  CHECK(self.done == self.total);
  CHECK(base->struct_size >= sizeof *base);
  CHECK(strcmp(base->name, "seen") == 0);
  CHECK(strlen(base->digest) == 64);
  mvm_free(base);
  CHECK_OK(mvm_runtime_remove_base(self.runtime, "seen", NULL, &err));
  mvm_runtime_free(self.runtime);
}

static void a_callback_may_cancel_its_call(void) {
  mvm_error* err = NULL;
  seen self = {.runtime = open_test_runtime()};
  REQUIRE(self.runtime != NULL);
  const char* const tar = make_root_tar();
  REQUIRE(tar != NULL);
  REQUIRE_OK(mvm_cancel_new(&self.cancel, &err));
  const mvm_import_base_options options = seeing(&self);
  const mvm_limits limits = {.struct_size = sizeof limits, .cancel = self.cancel};
  mvm_base_info* base = UNTOUCHED;
  CHECK_FAILS(mvm_runtime_import_base(self.runtime, "cut", tar, &options, &limits, &base, &err),
              MVM_CANCELLED);
  CHECK(base == UNTOUCHED);
  CHECK(self.calls > 0);
  mvm_base_list* bases = NULL;
  REQUIRE_OK(mvm_runtime_bases(self.runtime, NULL, &bases, &err));
  CHECK(bases->count == 0);
  mvm_free(bases);
  mvm_cancel_free(self.cancel);
  mvm_runtime_free(self.runtime);
}

static void count_release(void* user) {
  atomic_fetch_add((atomic_int*)user, 1);
}

static bool is_released(void* count) {
  return atomic_load((atomic_int*)count) == 1;
}

static void the_last_callback_is_told_of_once(void) {
  mvm_error* err = NULL;
  atomic_int released = 0;
  mvm_runtime* runtime = NULL;
  mvm_runtime_options options = {.struct_size = sizeof options,
                                 .data_dir = test_path("data"),
                                 .user = &released,
                                 .release = count_release};
  REQUIRE_OK(mvm_runtime_open(&options, NULL, &runtime, &err));
  mvm_event_stream* events = NULL;
  CHECK_OK(mvm_runtime_events(runtime, NULL, NULL, &events, &err));
  CHECK(atomic_load(&released) == 0);
  mvm_runtime_free(runtime);
  mvm_event_stream_free(events);
  CHECK(eventually(is_released, &released));
  mvm_runtime_free(runtime);
  CHECK(atomic_load(&released) == 1);
}

static void nothing_is_released_that_was_not_opened(void) {
  mvm_error* err = NULL;
  atomic_int released = 0;
  mvm_runtime* runtime = UNTOUCHED;
  REQUIRE(write_test_file("a-file", "x", 1));
  mvm_runtime_options options = {.struct_size = sizeof options,
                                 .data_dir = test_path("a-file/data"),
                                 .user = &released,
                                 .release = count_release};
  CHECK(mvm_runtime_open(&options, NULL, &runtime, &err) < 0);
  mvm_error_free(err);
  CHECK(runtime == UNTOUCHED);
  CHECK(atomic_load(&released) == 0);
}

static void drop_line(void* user, const char* line) {
  (void)user, (void)line;
}
static void drop_event(void* user, const mvm_vm_event* event) {
  (void)user, (void)event;
}

static void a_runtime_may_tell(void) {
  mvm_error* err = NULL;
  mvm_runtime* runtime = NULL;
  const mvm_runtime_options options = {.struct_size = sizeof options,
                                       .data_dir = test_path("data"),
                                       .log = drop_line,
                                       .on_event = drop_event};
  REQUIRE_OK(mvm_runtime_open(&options, NULL, &runtime, &err));
  mvm_runtime_free(runtime);
}

TEST_FILE(callbacks_test, {"callbacks: progress is told in order", progress_is_told_in_order},
          {"callbacks: one may cancel its call", a_callback_may_cancel_its_call},
          {"callbacks: the last one is told of once", the_last_callback_is_told_of_once},
          {"callbacks: nothing is released that was not opened",
           nothing_is_released_that_was_not_opened},
          {"callbacks: a Runtime without a user of theirs", a_runtime_may_tell}, );
