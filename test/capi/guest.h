// What the cases with Linux guests share: a Runtime on the data directory that
// test/bindings/run_guest has prepared, and a Vm of its image "counter" that the cases which end
// nothing use together.
#pragma once

#include "place.h"

enum { kCounterPort = 8080 };

// NULL after a failed check, as all of these. Opened once, with the callbacks below.
mvm_runtime* guest_runtime(void);
mvm_vm* shared_vm(void);
// Frees both.
void end_guests(void);

mvm_vm* run_counter(const mvm_run_options* options_or_null);
// Ends and forgets it, and frees the handle.
void end_vm(mvm_vm* vm);

// Standard output of `sh -c script`, for free(); its exit code must be 0.
char* shell(mvm_vm* vm, const char* script);
// That it is just this.
bool shell_says(mvm_vm* vm, const char* script, const char* output);
// The counter's answer to a GET, in a buffer of its own; NULL after a failed check.
const char* http_get(mvm_vm* vm);
mvm_vm_state state_of(mvm_vm* vm);

// Options of a shell with this script.
mvm_exec_options shell_options(const char* const* argv_of_three);

// How many events of the kind on_event was told, of any Vm.
int events_told(mvm_vm_event_kind kind);
