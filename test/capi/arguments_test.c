// What arguments may be: NULL, sizes of structs, numbers and values out of range.
#include <math.h>
#include <string.h>

#include "place.h"
#include "struct_sizes.h"

static void versions_are_those_of_the_header(void) {
  CHECK(mvm_abi_version() == MVM_ABI_VERSION);
  CHECK_HAS(mvm_version(), ".");
}

static void names_of_values(void) {
  CHECK_HAS(mvm_error_code_name(MVM_OK), "ok");
  CHECK_HAS(mvm_error_code_name(MVM_INVALID_ARGUMENT), "invalid_argument");
  CHECK_HAS(mvm_error_code_name(MVM_WOULD_BLOCK), "would_block");
  CHECK_HAS(mvm_vm_state_name(MVM_VM_STATE_SUSPENDED), "suspended");
  CHECK_HAS(mvm_vm_end_name(MVM_VM_END_PANICKED), "panicked");
  CHECK_HAS(mvm_vm_event_name(MVM_VM_EVENT_FORKED), "forked");
  CHECK_HAS(mvm_flow_kind_name(MVM_FLOW_REFUSED), "refused");
  CHECK_HAS(mvm_network_mode_name(MVM_NETWORK_USER), "user");
  CHECK_HAS(mvm_network_default_name(MVM_NETWORK_DEFAULT_DENY), "deny");
  CHECK_HAS(mvm_pruned_kind_name(MVM_PRUNED_LEFTOVER), "leftover");
  CHECK_HAS(mvm_finding_state_name(MVM_FINDING_NOTICE), "notice");
  CHECK_HAS(mvm_probe_step_state_name(MVM_PROBE_STEP_SKIPPED), "skipped");
}

static void unknown_values_have_a_name_too(void) {
  static const int32_t unknown[] = {-1, 25, 99, INT32_MAX, INT32_MIN};
  for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; ++i) {
    if (unknown[i] != -1) CHECK_HAS(mvm_error_code_name(unknown[i]), "unknown");
    CHECK_HAS(mvm_vm_state_name(unknown[i]), "unknown");
    CHECK_HAS(mvm_vm_end_name(unknown[i]), "unknown");
    CHECK_HAS(mvm_vm_event_name(unknown[i]), "unknown");
    CHECK_HAS(mvm_pruned_kind_name(unknown[i]), "unknown");
    CHECK_HAS(mvm_finding_state_name(unknown[i]), "unknown");
    CHECK_HAS(mvm_probe_step_state_name(unknown[i]), "unknown");
  }
}

static void errors_say_their_code_in_one_line(void) {
  mvm_error* err = NULL;
  CHECK(mvm_error_code(NULL) == MVM_OK);
  CHECK(strcmp(mvm_error_message(NULL), "") == 0);
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_image_info* image = UNTOUCHED;
  CHECK(mvm_runtime_image(runtime, "no/Such", NULL, &image, &err) < 0);
  REQUIRE(err != NULL);
  CHECK(strchr(mvm_error_message(err), '\n') == NULL);
  mvm_error_free(err);
  CHECK(mvm_runtime_image(runtime, "none", NULL, &image, NULL) == MVM_NOT_FOUND);  // nobody asks
  // What *err held is overwritten, by success with NULL.
  mvm_image_list* images = NULL;
  err = UNTOUCHED;
  CHECK(mvm_runtime_images(runtime, NULL, &images, &err) == MVM_OK);
  CHECK(err == NULL);
  mvm_free(images);
  mvm_runtime_free(runtime);
}

static void text_and_outputs_may_not_be_null(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_vm* vm = UNTOUCHED;
  mvm_image_info* image = UNTOUCHED;
  CHECK_INVALID(mvm_runtime_open(NULL, NULL, NULL, &err));
  CHECK_INVALID(mvm_cancel_new(NULL, &err));
  CHECK_INVALID(mvm_runtime_data_dir(runtime, NULL, &err));
  CHECK_INVALID(mvm_runtime_import_kernel(runtime, NULL, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_kernels(runtime, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_remove_kernel(runtime, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_import_base(runtime, NULL, "/t", NULL, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_import_base(runtime, "b", NULL, NULL, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_bases(runtime, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_remove_base(runtime, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_build(runtime, NULL, NULL, &image, &err));
  CHECK_INVALID(mvm_runtime_images(runtime, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_image(runtime, NULL, NULL, &image, &err));
  CHECK_INVALID(mvm_runtime_image(runtime, "i", NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_remove_image(runtime, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_pack_image(runtime, NULL, NULL, NULL, &image, &err));
  CHECK_INVALID(mvm_runtime_unpack_image(runtime, NULL, NULL, NULL, &image, &err));
  CHECK_INVALID(mvm_runtime_warm(runtime, NULL, 1, NULL, &err));
  CHECK_INVALID(mvm_runtime_run(runtime, NULL, NULL, NULL, &vm, &err));
  CHECK_INVALID(mvm_runtime_run(runtime, "i", NULL, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_start(runtime, NULL, NULL, UNTOUCHED, &err));
  CHECK_INVALID(mvm_runtime_start(runtime, "i", NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_vms(runtime, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_attach(runtime, NULL, NULL, &vm, &err));
  CHECK_INVALID(mvm_runtime_attach(runtime, "v", NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_remove_vm(runtime, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_checkpoints(runtime, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_run_checkpoint(runtime, NULL, NULL, NULL, &vm, &err));
  CHECK_INVALID(mvm_runtime_run_checkpoint(runtime, "c", NULL, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_start_checkpoint(runtime, NULL, NULL, UNTOUCHED, &err));
  CHECK_INVALID(mvm_runtime_start_checkpoint(runtime, "c", NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_commit(runtime, NULL, "i", NULL, &image, &err));
  CHECK_INVALID(mvm_runtime_commit(runtime, "c", NULL, NULL, &image, &err));
  CHECK_INVALID(mvm_runtime_remove_checkpoint(runtime, NULL, NULL, &err));
  CHECK_INVALID(mvm_runtime_events(runtime, NULL, NULL, NULL, &err));
  CHECK_INVALID(mvm_probe_host(NULL, NULL, NULL, &err));
  CHECK_INVALID(mvm_deep_probe(NULL, NULL, NULL, &err));
  CHECK(vm == UNTOUCHED && image == UNTOUCHED);
  mvm_runtime_free(runtime);
}

// Each answer is that of the call without options: nothing of the struct counts, or nothing is in
// what is too long.
static void structs_of_other_sizes(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_vm* vm = UNTOUCHED;
  mvm_image_info* image = UNTOUCHED;
  mvm_vm_start* start = NULL;
  mvm_event_stream* events = NULL;
  mvm_finding_list* findings = NULL;
  CHECK_SIZES(mvm_run_options, MVM_NOT_FOUND,
              mvm_runtime_run(runtime, "none", options, NULL, &vm, &err), );
  CHECK_SIZES(mvm_run_options, MVM_NOT_FOUND,
              mvm_runtime_run_checkpoint(runtime, "none", options, NULL, &vm, &err), );
  CHECK_SIZES(mvm_run_options, MVM_OK, mvm_runtime_start(runtime, "none", options, &start, &err),
              mvm_vm_start_free(start));
  CHECK_SIZES(mvm_pack_options, MVM_NOT_FOUND,
              mvm_runtime_pack_image(runtime, "none", options, NULL, &image, &err), );
  CHECK_SIZES(mvm_pack_options, MVM_NOT_FOUND,
              mvm_runtime_unpack_image(runtime, "none", options, NULL, &image, &err), );
  CHECK_SIZES(mvm_import_base_options, MVM_NOT_FOUND,
              mvm_runtime_import_base(runtime, "b", "/no/such.tar", options, NULL, NULL, &err), );
  CHECK_SIZES(mvm_build_options, MVM_INVALID_ARGUMENT,
              mvm_runtime_build(runtime, options, NULL, &image, &err), );
  CHECK_SIZES(mvm_prune_options, MVM_OK, mvm_runtime_prune(runtime, options, NULL, NULL, &err), );
  CHECK_SIZES(mvm_event_options, MVM_OK, mvm_runtime_events(runtime, options, NULL, &events, &err),
              mvm_event_stream_free(events));
  CHECK_SIZES(mvm_limits, MVM_NOT_FOUND,
              mvm_runtime_image(runtime, "none", options, &image, &err), );
  CHECK_SIZES(mvm_probe_options, MVM_OK, mvm_probe_host(options, NULL, &findings, &err),
              mvm_free(findings));
  CHECK(vm == UNTOUCHED && image == UNTOUCHED);
  mvm_runtime_free(runtime);
}

static void structs_in_structs_of_other_sizes(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_vm* vm = UNTOUCHED;
  mvm_run_options run = {.struct_size = sizeof run};
  CHECK_SIZES(mvm_idle_policy, MVM_NOT_FOUND,
              (run.idle = options, mvm_runtime_run(runtime, "none", &run, NULL, &vm, &err)), );
  run.idle = NULL;
  CHECK_SIZES(mvm_network_options, MVM_NOT_FOUND,
              (run.network = options, mvm_runtime_run(runtime, "none", &run, NULL, &vm, &err)), );
  mvm_network_options network = {.struct_size = sizeof network};
  run.network = &network;
  CHECK_SIZES(
      mvm_network_policy, MVM_NOT_FOUND,
      (network.policy = options, mvm_runtime_run(runtime, "none", &run, NULL, &vm, &err)), );
  network.policy = NULL;
  CHECK_SIZES(mvm_tap_options, MVM_NOT_FOUND,
              (network.tap = options, mvm_runtime_run(runtime, "none", &run, NULL, &vm, &err)), );
  mvm_build_options build = {.struct_size = sizeof build, .context = "/no/such", .tag = "t"};
  const mvm_status without = mvm_runtime_build(runtime, &build, NULL, NULL, NULL);
  CHECK_SIZES(mvm_hooks, without,
              (build.hooks = options, mvm_runtime_build(runtime, &build, NULL, NULL, &err)), );
  mvm_runtime_free(runtime);
}

// data_dir is named by the environment then.
static void runtime_options_of_other_sizes(void) {
  mvm_error* err = NULL;
  mvm_runtime* runtime = NULL;
  CHECK_SIZES(mvm_runtime_options, MVM_OK, mvm_runtime_open(options, NULL, &runtime, &err),
              mvm_runtime_free(runtime));
}

static void reserved_fields_are_zero(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_image_info* image = UNTOUCHED;
  const mvm_limits limits = {.struct_size = sizeof limits, .reserved = 1};
  CHECK_REFUSED(mvm_runtime_image(runtime, "none", &limits, &image, &err), MVM_UNSUPPORTED,
                "reserved");
  CHECK(image == UNTOUCHED);
  mvm_runtime_free(runtime);
}

static void times_out_of_range(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_image_info* image = UNTOUCHED;
  mvm_vm* vm = UNTOUCHED;
  mvm_limits limits = {.struct_size = sizeof limits, .timeout_ms = -1};
  CHECK_INVALID(mvm_runtime_image(runtime, "none", &limits, &image, &err));
  limits.timeout_ms = INT64_MIN;
  CHECK_INVALID(mvm_runtime_image(runtime, "none", &limits, &image, &err));
  limits.timeout_ms = INT64_MAX;  // in nanoseconds too many for 64 bits
  CHECK_FAILS(mvm_runtime_image(runtime, "none", &limits, &image, &err), MVM_NOT_FOUND);
  mvm_run_options run = {.struct_size = sizeof run, .start_timeout_ms = -1};
  CHECK_INVALID(mvm_runtime_run(runtime, "none", &run, NULL, &vm, &err));
  run.start_timeout_ms = INT64_MAX;
  CHECK_FAILS(mvm_runtime_run(runtime, "none", &run, NULL, &vm, &err), MVM_NOT_FOUND);
  mvm_idle_policy idle = {.struct_size = sizeof idle, .idle_after_ms = -1};
  run = (mvm_run_options){.struct_size = sizeof run, .idle = &idle};
  CHECK_FAILS(mvm_runtime_run(runtime, "none", &run, NULL, &vm, &err), MVM_INVALID_ARGUMENT);
  idle = (mvm_idle_policy){.struct_size = sizeof idle, .lifetime_ms = INT64_MAX};
  CHECK_FAILS(mvm_runtime_run(runtime, "none", &run, NULL, &vm, &err), MVM_NOT_FOUND);
  mvm_runtime_free(runtime);
}

static void numbers_out_of_range(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_vm* vm = UNTOUCHED;
  mvm_idle_policy idle = {.struct_size = sizeof idle, .idle_after_ms = 1000, .cpu_threshold = NAN};
  const mvm_run_options run = {.struct_size = sizeof run, .idle = &idle};
  CHECK_FAILS(mvm_runtime_run(runtime, "none", &run, NULL, &vm, &err), MVM_INVALID_ARGUMENT);
  mvm_network_options network = {.struct_size = sizeof network, .mode = MVM_NETWORK_TAP + 1};
  const mvm_run_options with_network = {.struct_size = sizeof with_network, .network = &network};
  CHECK_INVALID(mvm_runtime_run(runtime, "none", &with_network, NULL, &vm, &err));
  const char* const rules[] = {"allow *", NULL};
  mvm_network_policy policy = {
      .struct_size = sizeof policy, .otherwise = -1, .rules = rules, .rules_count = 2};
  network = (mvm_network_options){.struct_size = sizeof network, .policy = &policy};
  CHECK_INVALID(mvm_runtime_run(runtime, "none", &with_network, NULL, &vm, &err));
  policy.otherwise = MVM_NETWORK_DEFAULT_DENY;  // a rule is NULL
  CHECK_INVALID(mvm_runtime_run(runtime, "none", &with_network, NULL, &vm, &err));
  policy.rules_count = 1;
  CHECK_FAILS(mvm_runtime_run(runtime, "none", &with_network, NULL, &vm, &err), MVM_NOT_FOUND);
  idle.cpu_threshold = -1;
  CHECK_FAILS(mvm_runtime_run(runtime, "none", &run, NULL, &vm, &err), MVM_INVALID_ARGUMENT);
  mvm_hooks hooks = {.struct_size = sizeof hooks, .port = 65536, .run_ms = 1000};
  mvm_build_options build = {
      .struct_size = sizeof build, .context = "/", .tag = "t", .hooks = &hooks};
  CHECK_INVALID(mvm_runtime_build(runtime, &build, NULL, NULL, &err));
  build = (mvm_build_options){
      .struct_size = sizeof build, .context = "/", .tag = "t", .ready_port = 65536};
  CHECK_INVALID(mvm_runtime_build(runtime, &build, NULL, NULL, &err));
  mvm_runtime_free(runtime);
}

static void lists_of_text(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  const char* const with_null[] = {"A=1", NULL};
  const char* const without_value[] = {"A"};
  mvm_build_options build = {.struct_size = sizeof build, .context = "/", .tag = "t"};
  build.build_args = NULL, build.build_args_count = 1;
  CHECK_INVALID(mvm_runtime_build(runtime, &build, NULL, NULL, &err));
  build.build_args = with_null, build.build_args_count = 2;
  CHECK_INVALID(mvm_runtime_build(runtime, &build, NULL, NULL, &err));
  build.build_args = without_value, build.build_args_count = 1;
  CHECK_INVALID(mvm_runtime_build(runtime, &build, NULL, NULL, &err));
  mvm_runtime_free(runtime);
}

TEST_FILE(arguments_test,
          {"arguments: versions are those of the header", versions_are_those_of_the_header},
          {"arguments: names of values", names_of_values},
          {"arguments: unknown values have a name too", unknown_values_have_a_name_too},
          {"arguments: errors say their code in one line", errors_say_their_code_in_one_line},
          {"arguments: text and outputs may not be NULL", text_and_outputs_may_not_be_null},
          {"arguments: structs of other sizes", structs_of_other_sizes},
          {"arguments: structs in structs of other sizes", structs_in_structs_of_other_sizes},
          {"arguments: options of a Runtime of other sizes", runtime_options_of_other_sizes},
          {"arguments: reserved fields are 0", reserved_fields_are_zero},
          {"arguments: times out of range", times_out_of_range},
          {"arguments: numbers out of range", numbers_out_of_range},
          {"arguments: lists of text", lists_of_text}, );
