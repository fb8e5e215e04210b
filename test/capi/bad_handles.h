// All functions, each called with a handle that is not one of what it takes.
#pragma once

#include "check.h"

// Each refuses: MVM_INVALID_ARGUMENT, its name in the message, no output touched. Of `free`
// functions nothing happens.
void refuse_runtime(mvm_runtime* bad);
void refuse_vm(mvm_vm* bad);
void refuse_vm_start(mvm_vm_start* bad);
void refuse_exec(mvm_exec* bad);
void refuse_pty(mvm_pty* bad);
void refuse_watch(mvm_watch* bad);
void refuse_log_stream(mvm_log_stream* bad);
void refuse_flow_stream(mvm_flow_stream* bad);
void refuse_event_stream(mvm_event_stream* bad);
void refuse_keep_awake(mvm_keep_awake* bad);
void refuse_cancel(mvm_cancel* bad);
// The same value as each of them.
void refuse_all_kinds(void* bad);
