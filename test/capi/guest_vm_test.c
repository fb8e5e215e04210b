// The life of a Vm from C: built, run, found, ended.
#include <string.h>

#include "bad_handles.h"
#include "guest.h"
#include "struct_sizes.h"

static void see_step(void* user, const mvm_progress* progress) {
  *(int*)user += strlen(progress->step) > 0 || progress->output_size > 0;
}

static void an_image_is_built_and_looked_at(void) {
  static const char dockerfile[] =
      "FROM debian:bookworm\nARG COLOUR=red\nENV PAINT=$COLOUR\nWORKDIR /work\nLABEL made=here\n"
      "CMD [\"sleep\", \"1000000\"]\n";
  mvm_error* err = NULL;
  REQUIRE(guest_runtime() != NULL);
  REQUIRE(write_test_file("Dockerfile", dockerfile, sizeof dockerfile - 1));
  const char* const arguments[] = {"COLOUR=green", "COLOUR=blue"};
  int steps = 0;
  const mvm_build_options options = {.struct_size = sizeof options,
                                     .context = test_dir(),
                                     .tag = "painted",
                                     .build_args = arguments,
                                     .build_args_count = 2,
                                     .memory_bytes = 192u << 20,
                                     .ready_timeout_ms = 180 * 1000,
                                     .progress = see_step,
                                     .progress_user = &steps};
  mvm_image_info* image = NULL;
  REQUIRE_OK(mvm_runtime_build(guest_runtime(), &options, NULL, &image, &err));
  CHECK(steps > 0);
  CHECK(strcmp(image->name, "painted") == 0 && strcmp(image->base, "debian:bookworm") == 0);
  CHECK(image->memory_bytes == options.memory_bytes && image->vcpus == 1 && image->has_app == 1);
  mvm_free(image);
  REQUIRE_OK(mvm_runtime_image(guest_runtime(), "painted", NULL, &image, &err));
  const mvm_image_config* const config = image->config;
  CHECK(config->cmd_count == 2 && strcmp(config->cmd[0], "sleep") == 0);
  CHECK(strcmp(config->workdir, "/work") == 0);
  CHECK(config->labels_count == 1 && strcmp(config->labels[0].value, "here") == 0);
  CHECK(config->env_count > 0 && strcmp(config->env[config->env_count - 1], "PAINT=blue") == 0);
  CHECK(config->hooks->struct_size >= sizeof *config->hooks && config->hooks->port == 0);
  mvm_free(image);
}

static void an_image_is_packed_and_unpacked(void) {
  mvm_error* err = NULL;
  REQUIRE(guest_runtime() != NULL);
  mvm_vm* vm = UNTOUCHED;
  CHECK_OK(mvm_runtime_pack_image(guest_runtime(), "painted", NULL, NULL, NULL, &err));
  CHECK_REFUSED(mvm_runtime_run(guest_runtime(), "painted", NULL, NULL, &vm, &err), MVM_BUSY,
                "unpack");
  CHECK(vm == UNTOUCHED);
  CHECK_OK(mvm_runtime_unpack_image(guest_runtime(), "painted", NULL, NULL, NULL, &err));
  CHECK_OK(mvm_runtime_remove_image(guest_runtime(), "painted", NULL, &err));
  mvm_image_info* image = UNTOUCHED;
  CHECK_FAILS(mvm_runtime_image(guest_runtime(), "painted", NULL, &image, &err), MVM_NOT_FOUND);
  CHECK(image == UNTOUCHED);
}

static void a_wrong_dockerfile_is_named_by_line(void) {
  static const char dockerfile[] = "FROM debian:bookworm\nBREW coffee\n";
  mvm_error* err = NULL;
  REQUIRE(guest_runtime() != NULL);
  REQUIRE(write_test_file("Wrong", dockerfile, sizeof dockerfile - 1));
  mvm_image_info* image = UNTOUCHED;
  const mvm_build_options options = {.struct_size = sizeof options,
                                     .context = test_dir(),
                                     .dockerfile = test_path("Wrong"),
                                     .tag = "wrong"};
  CHECK_REFUSED(mvm_runtime_build(guest_runtime(), &options, NULL, &image, &err), MVM_SYNTAX, ":2");
  CHECK(image == UNTOUCHED);
}

static void a_vm_is_run_found_and_ended(void) {
  mvm_error* err = NULL;
  const mvm_run_options options = {
      .struct_size = sizeof options, .name = "c-life", .outlives_owner = 7};
  mvm_vm* const vm = run_counter(&options);
  REQUIRE(vm != NULL);
  mvm_vm_info* info = NULL;
  REQUIRE_OK(mvm_vm_get_info(vm, &info, &err));
  CHECK(info->struct_size >= sizeof *info);
  CHECK(strlen(info->id) == 12 && strcmp(info->name, "c-life") == 0);
  CHECK(strcmp(info->image, "counter:1") == 0);
  CHECK(info->state == MVM_VM_STATE_RUNNING && info->end == MVM_VM_END_NONE);
  CHECK(info->worker_pid > 1 && info->memory_bytes == 192u << 20 && info->dies_with_owner == 0);
  mvm_launch_times* times = NULL;
  REQUIRE_OK(mvm_vm_launch_times(vm, &times, &err));
  CHECK(times->ready_us >= times->agent_us && times->agent_us > 0);
  mvm_vm_counters* counters = NULL;
  REQUIRE_OK(mvm_vm_get_counters(vm, NULL, &counters, &err));
  CHECK(counters->exits > 0 && counters->paused == 0);
  mvm_free(times);
  mvm_free(counters);

  mvm_vm* other = NULL;
  CHECK_OK(mvm_runtime_attach(guest_runtime(), "c-life", NULL, &other, &err));
  CHECK(shell_says(other, "echo here", "here\n"));
  mvm_vm* copy = NULL;
  CHECK_OK(mvm_vm_copy(vm, &copy, &err));
  mvm_vm_free(other);
  mvm_vm_list* vms = NULL;
  REQUIRE_OK(mvm_runtime_vms(guest_runtime(), NULL, &vms, &err));
  CHECK(vms->count >= 1);
  mvm_free(vms);
  const mvm_run_options again = {.struct_size = sizeof again, .name = "c-life"};
  other = UNTOUCHED;
  CHECK_FAILS(mvm_runtime_run(guest_runtime(), "counter", &again, NULL, &other, &err),
              MVM_ALREADY_EXISTS);
  CHECK(other == UNTOUCHED);

  int32_t fd = -1;
  CHECK_OK(mvm_vm_end_fd(vm, &fd, &err));
  CHECK(!readable(fd, 0));
  mvm_vm_ending* ending = UNTOUCHED;
  CHECK_FAILS(mvm_vm_try_wait(vm, &ending, &err), MVM_WOULD_BLOCK);
  CHECK(ending == UNTOUCHED);
  CHECK_OK(mvm_vm_terminate(copy, NULL, &err));
  CHECK(readable(fd, 10000));
  REQUIRE_OK(mvm_vm_try_wait(vm, &ending, &err));
  CHECK(ending->end == MVM_VM_END_TERMINATED && ending->reason[0] != '\0');
  mvm_free(ending);
  CHECK_OK(mvm_vm_wait(vm, NULL, NULL, &err));
  CHECK(state_of(vm) == MVM_VM_STATE_TERMINATED);
  int32_t socket = -1;
  CHECK_FAILS(mvm_vm_connect(vm, kCounterPort, NULL, &socket, &err), MVM_VM_GONE);
  CHECK(socket == -1);
  CHECK_OK(mvm_runtime_remove_vm(guest_runtime(), info->id, NULL, &err));
  mvm_free(info);
  mvm_vm_free(copy);
  refuse_vm(copy);
  mvm_vm_free(vm);
}

static void a_vm_is_started_beside(void) {
  mvm_error* err = NULL;
  REQUIRE(guest_runtime() != NULL);
  mvm_vm_start* start = NULL;
  REQUIRE_OK(mvm_runtime_start(guest_runtime(), "counter", NULL, &start, &err));
  int32_t fd = -1;
  CHECK_OK(mvm_vm_start_fd(start, &fd, &err));
  mvm_vm* vm = UNTOUCHED;
  CHECK_FAILS(mvm_vm_start_try_take(start, &vm, &err), MVM_WOULD_BLOCK);
  CHECK(vm == UNTOUCHED);
  CHECK(readable(fd, 60000));
  REQUIRE_OK(mvm_vm_start_try_take(start, &vm, &err));
  CHECK(shell_says(vm, "echo started", "started\n"));
  mvm_vm* none = UNTOUCHED;
  CHECK_FAILS(mvm_vm_start_take(start, NULL, &none, &err), MVM_INVALID_ARGUMENT);
  mvm_vm_start_free(start);
  refuse_vm_start(start);
  end_vm(vm);
}

static int count_vms(void) {
  mvm_error* err = NULL;
  mvm_vm_list* vms = NULL;
  if (!CHECK_OK(mvm_runtime_vms(guest_runtime(), NULL, &vms, &err))) return -1;
  const int count = (int)vms->count;
  mvm_free(vms);
  return count;
}

static bool are_left(void* count) {
  return count_vms() == *(int*)count;
}

static void a_start_that_is_dropped_leaves_nothing(void) {
  mvm_error* err = NULL;
  REQUIRE(guest_runtime() != NULL);
  int before = count_vms();
  mvm_vm_start* start = NULL;
  REQUIRE_OK(mvm_runtime_start(guest_runtime(), "counter", NULL, &start, &err));
  mvm_vm_start_free(start);
  REQUIRE_OK(mvm_runtime_start(guest_runtime(), "counter", NULL, &start, &err));
  CHECK_OK(mvm_vm_start_cancel(start, &err));
  mvm_vm* vm = NULL;
  const mvm_status taken = mvm_vm_start_take(start, NULL, &vm, NULL);
  CHECK(taken == MVM_CANCELLED || taken == MVM_OK);
  if (taken == MVM_OK) end_vm(vm);
  mvm_vm_start_free(start);
  CHECK(eventually(are_left, &before));
}

static void a_run_that_is_cut_short_leaves_nothing(void) {
  mvm_error* err = NULL;
  REQUIRE(guest_runtime() != NULL);
  int before = count_vms();
  mvm_vm* vm = UNTOUCHED;
  const mvm_limits limits = {.struct_size = sizeof limits, .timeout_ms = 5};
  CHECK_FAILS(mvm_runtime_run(guest_runtime(), "counter", NULL, &limits, &vm, &err),
              MVM_DEADLINE_EXCEEDED);
  CHECK(vm == UNTOUCHED);
  CHECK(eventually(are_left, &before));
}

static void workers_are_started_before(void) {
  mvm_error* err = NULL;
  REQUIRE(guest_runtime() != NULL);
  CHECK_OK(mvm_runtime_warm(guest_runtime(), "counter", 1, NULL, &err));
  mvm_vm* const vm = run_counter(NULL);
  REQUIRE(vm != NULL);
  CHECK_HAS(http_get(vm), "\"in_memory\": 1");
  end_vm(vm);
}

TEST_FILE(guest_vm_test, {"vm: an image is built and looked at", an_image_is_built_and_looked_at},
          {"vm: it is packed, unpacked and removed", an_image_is_packed_and_unpacked},
          {"vm: a wrong Dockerfile is named by its line", a_wrong_dockerfile_is_named_by_line},
          {"vm: one is run, found and ended", a_vm_is_run_found_and_ended},
          {"vm: one is started beside", a_vm_is_started_beside},
          {"vm: a start that is dropped leaves nothing", a_start_that_is_dropped_leaves_nothing},
          {"vm: a run that is cut short leaves nothing", a_run_that_is_cut_short_leaves_nothing},
          {"vm: workers are started before", workers_are_started_before}, );
