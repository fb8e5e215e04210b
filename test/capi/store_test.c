// What a Runtime has and says without a guest.
#include <string.h>

#include "place.h"

static void an_empty_directory_has_nothing(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_kernel_list* kernels = NULL;
  mvm_base_list* bases = NULL;
  mvm_image_list* images = NULL;
  mvm_vm_list* vms = NULL;
  mvm_checkpoint_list* checkpoints = NULL;
  mvm_prune_report* report = NULL;
  REQUIRE_OK(mvm_runtime_kernels(runtime, NULL, &kernels, &err));
  REQUIRE_OK(mvm_runtime_bases(runtime, NULL, &bases, &err));
  REQUIRE_OK(mvm_runtime_images(runtime, NULL, &images, &err));
  REQUIRE_OK(mvm_runtime_vms(runtime, NULL, &vms, &err));
  REQUIRE_OK(mvm_runtime_checkpoints(runtime, NULL, &checkpoints, &err));
  REQUIRE_OK(mvm_runtime_prune(runtime, NULL, NULL, &report, &err));
  CHECK(kernels->count + bases->count + images->count + vms->count + checkpoints->count == 0);
  CHECK(report->struct_size >= sizeof *report);
  CHECK(report->count == 0 && report->bytes == 0);
  mvm_free(kernels);
  mvm_free(bases);
  mvm_free(images);
  mvm_free(vms);
  mvm_free(checkpoints);
  mvm_free(report);
  mvm_runtime_free(runtime);
}

static void what_is_not_there_is_not_found(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  mvm_vm* vm = UNTOUCHED;
  CHECK_REFUSED(mvm_runtime_remove_kernel(runtime, "none", NULL, &err), MVM_NOT_FOUND, "none");
  CHECK_REFUSED(mvm_runtime_remove_base(runtime, "none", NULL, &err), MVM_NOT_FOUND, "none");
  CHECK_REFUSED(mvm_runtime_remove_image(runtime, "none", NULL, &err), MVM_NOT_FOUND, "none");
  CHECK_REFUSED(mvm_runtime_warm(runtime, "none", 1, NULL, &err), MVM_NOT_FOUND, "none");
  CHECK_REFUSED(mvm_runtime_run(runtime, "none", NULL, NULL, &vm, &err), MVM_NOT_FOUND, "none");
  CHECK_REFUSED(mvm_runtime_attach(runtime, "none", NULL, &vm, &err), MVM_NOT_FOUND, "none");
  CHECK_REFUSED(mvm_runtime_remove_vm(runtime, "none", NULL, &err), MVM_NOT_FOUND, "none");
  CHECK_REFUSED(mvm_runtime_run_checkpoint(runtime, "none", NULL, NULL, &vm, &err), MVM_NOT_FOUND,
                "none");
  CHECK_REFUSED(mvm_runtime_commit(runtime, "none", "i", NULL, NULL, &err), MVM_NOT_FOUND, "none");
  CHECK_REFUSED(mvm_runtime_remove_checkpoint(runtime, "none", NULL, &err), MVM_NOT_FOUND, "none");
  CHECK_REFUSED(mvm_runtime_import_kernel(runtime, "/no/such.deb", NULL, NULL, &err), MVM_NOT_FOUND,
                "/no/such.deb");
  CHECK(vm == UNTOUCHED);
  mvm_runtime_free(runtime);
}

static void a_base_is_imported_listed_and_removed(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  const char* const tar = make_root_tar();
  REQUIRE(tar != NULL);
  const mvm_import_base_options small = {.struct_size = sizeof small, .disk_bytes = 64u << 20};
  CHECK_OK(mvm_runtime_import_base(runtime, "one", tar, &small, NULL, NULL, &err));
  CHECK_OK(mvm_runtime_import_base(runtime, "two", tar, &small, NULL, NULL, &err));
  mvm_base_list* bases = NULL;
  REQUIRE_OK(mvm_runtime_bases(runtime, NULL, &bases, &err));
  CHECK(bases->count == 2);
  for (size_t i = 0; i < bases->count; ++i) {
    const mvm_base_info* const base = bases->items[i];
    CHECK(base->struct_size >= sizeof *base);
    CHECK(strcmp(base->name, "one") == 0 || strcmp(base->name, "two") == 0);
    CHECK(strlen(base->digest) == 64 && base->size_bytes == small.disk_bytes);
  }
  mvm_free(bases);
  CHECK_OK(mvm_runtime_remove_base(runtime, "one", NULL, &err));
  CHECK_OK(mvm_runtime_remove_base(runtime, "two", NULL, &err));
  const mvm_import_base_options odd = {.struct_size = sizeof odd, .disk_bytes = 4097};
  CHECK_FAILS(mvm_runtime_import_base(runtime, "odd", tar, &odd, NULL, NULL, &err),
              MVM_INVALID_ARGUMENT);
  mvm_runtime_free(runtime);
}

static void the_data_directory_is_told(void) {
  mvm_error* err = NULL;
  mvm_runtime* const runtime = open_test_runtime();
  REQUIRE(runtime != NULL);
  char* path = NULL;
  REQUIRE_OK(mvm_runtime_data_dir(runtime, &path, &err));
  CHECK(strcmp(path, test_path("data")) == 0);
  mvm_free(path);
  mvm_runtime_free(runtime);
}

static void the_host_is_looked_at(void) {
  mvm_error* err = NULL;
  mvm_finding_list* findings = NULL;
  REQUIRE_OK(mvm_probe_host(NULL, NULL, &findings, &err));
  REQUIRE(findings->count > 0);
  CHECK(strcmp(findings->items[0]->name, "kvm") == 0);
  for (size_t i = 0; i < findings->count; ++i) {
    const mvm_finding* const finding = findings->items[i];
    CHECK(finding->struct_size >= sizeof *finding);
    CHECK(finding->is != NULL && finding->advice != NULL && finding->cost != NULL);
    CHECK(strcmp(mvm_finding_state_name(finding->state), "unknown") != 0);
  }
  mvm_free(findings);
  if (under_valgrind()) return;
  const mvm_status kvm = mvm_probe_kvm(NULL, &err);
  CHECK(kvm == MVM_OK || kvm == MVM_KVM_UNAVAILABLE || kvm == MVM_KVM_UNSUITABLE);
  CHECK(kvm == MVM_OK || mvm_error_code(err) == kvm);
  mvm_error_free(err);
}

static void the_deep_probe_is_done_within_its_time(void) {
  if (under_valgrind()) return;
  mvm_error* err = NULL;
  mvm_deep_report* report = NULL;
  const mvm_deep_probe_options options = {.struct_size = sizeof options,
                                          .data_dir = test_path("data"),
                                          .scratch_dir = test_dir(),
                                          .clones = 1,
                                          .suspends = 1};
  const mvm_limits limits = {.struct_size = sizeof limits, .timeout_ms = 3000};
  REQUIRE_OK(mvm_deep_probe(&options, &limits, &report, &err));
  CHECK(report->struct_size >= sizeof *report);
  CHECK(report->cpus > 0 && report->memory_bytes > 0);
  CHECK(report->findings_count > 0 && report->steps_count > 0);
  for (size_t i = 0; i < report->steps_count; ++i) CHECK(report->steps[i]->name[0] != '\0');
  mvm_free(report);
}

TEST_FILE(store_test, {"store: an empty directory has nothing", an_empty_directory_has_nothing},
          {"store: what is not there is not found", what_is_not_there_is_not_found},
          {"store: a base is imported, listed and removed", a_base_is_imported_listed_and_removed},
          {"store: the data directory is told", the_data_directory_is_told},
          {"store: the host is looked at", the_host_is_looked_at},
          {"store: the deep probe is done within its time",
           the_deep_probe_is_done_within_its_time}, );
